"""By which names a view may be called: no page in a browser can lend it a name of its own."""

import pytest

from pipeline.runtime.web.hosts import is_loopback, is_meant


@pytest.mark.parametrize(
    "host", ["127.0.0.1:6066", "localhost", "LOCALHOST:1", "[::1]:6066", "::1", "10.0.0.7:6066", "andon.example:80"]
)
def test_addresses_and_names_that_are_given_are_meant(host: str) -> None:
    """An address cannot be rebound."""
    assert is_meant(host, ["127.0.0.1", " Andon.Example "])


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:6066", "127.0.0.1.evil.example", "[x", "a:b:c"])
def test_other_names_are_not(host: str) -> None:
    """Also none, and what only looks like an address."""
    assert not is_meant(host, ["", "andon.example"])


def test_loopback() -> None:
    """What only this machine reaches."""
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))
