"""One name for a host, however it is spelled: what is merged, what is not, and that it is the same everywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.wire.events import MAX_TEXT_CHARS
from pipeline.wire.hosts import HostNames, HostsConfig, is_plain, one_host


@pytest.mark.parametrize(
    "name",
    [
        "host-1", "HOST-1", "Host-1.", "host-1.corp.example", "HOST-1.CORP.EXAMPLE.", "host-1.local", "CORP\\HOST-1",
        "corp.example\\Host-1$", "HOST-1$", " host-1 ", "host-1.münchen", "host-1.xn--mnchen-3ya",
    ],
)  # fmt: skip
def test_case_and_domain_make_no_other_host(name: str) -> None:
    """As the event log, an inventory and a directory name one machine."""
    assert one_host(name) == "host-1"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("10.0.0.7:443", "10.0.0.7:443"),
        ("FE80::1", "fe80::1"),
        ("::ffff:10.0.0.7", "::ffff:10.0.0.7"),
        ("{5D1F0A22-77B1-4C5E-9E9C-1B0B8C0F4A11}", "{5d1f0a22-77b1-4c5e-9e9c-1b0b8c0f4a11}"),
        ("pump.1", "pump.1"),
        ("AA.BB.C", "aa.bb.c"),
        ("line-2.cell-7", "line-2.cell-7"),
        ("00:1B:44:11:3A:B7", "00:1b:44:11:3a:b7"),
        ("a host with spaces.example", "a host with spaces.example"),
    ],
)
def test_what_only_looks_like_a_domain_stays(name: str, kept: str) -> None:
    """Addresses, ids, and parts that are numbers: cut at a dot, many machines would be one."""
    assert one_host(name) == kept


def test_letters_are_the_same_however_unicode_writes_them() -> None:
    """Composed or not, large or small; and a name that folding would make too long for a text stays as it came."""
    assert one_host("BU\u0308RO-1") == one_host("B\u00dcRO-1") == one_host("b\u00fcro-1.example") == "b\u00fcro-1"
    long = "\u0130" * MAX_TEXT_CHARS
    assert one_host(long) == long


@pytest.mark.parametrize("name", [".", "$", "  ", "..."])
def test_what_would_leave_nothing_stays(name: str) -> None:
    """A text must not be empty."""
    assert one_host(name) == name


@pytest.mark.parametrize(
    ("domains", "name"),
    [
        ("eu.example, US.example.", "web-1.eu.example"),
        ("eu.example", "web-1.fra.eu.example"),
        ("*", "web-1.eu.example"),
    ],
)
def test_domains_in_which_names_repeat_stay_part_of_the_name(domains: str, name: str) -> None:
    """Two machines called web-1 are two; in capitals each is still itself."""
    kept = HostsConfig(keep_domains=domains).kept
    assert one_host(name.upper(), kept) == name
    assert one_host("web-1.corp.example", kept) == ("web-1.corp.example" if domains == "*" else "web-1")


TEXT = st.text(min_size=1, max_size=MAX_TEXT_CHARS) | st.from_regex(r"[A-Z.$\\ a-z0-9ßİΣ-]{1,40}", fullmatch=True)


@given(TEXT)
def test_a_name_is_its_own_name(name: str) -> None:
    """Found again from itself, so whoever reads what was counted finds the same; never empty, never too long."""
    found = one_host(name)
    assert one_host(found) == found
    assert 0 < len(found) <= MAX_TEXT_CHARS


@given(st.lists(TEXT | st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True), max_size=8))
def test_many_at_once_are_each_one(names: list[str]) -> None:
    """The look at a whole batch decides nothing."""
    assert list(HostNames().of(names)) == [one_host(name) for name in names]


def test_a_batch_of_plain_names_is_not_gone_through() -> None:
    """That is what it costs where senders agree."""
    names = [f"h-{number:06d}" for number in range(100)]
    assert HostNames().of(names) is names
    assert not any(map(is_plain, ("H1", "h1.eu", "h1$", "hü", "")))
    assert HostNames().of(["H1", "h2.corp.example"]) == ["h1", "h2"]


@pytest.mark.parametrize("kept", [(), ("eu",), ("*",)])
@given(names=st.lists(st.from_regex(r"[A-Za-z0-9.\n-]{1,70}", fullmatch=True), max_size=6))
def test_plain_letters_with_domains_are_the_same_at_once(kept: tuple[str, ...], names: list[str]) -> None:
    """Batches of names in capitals or with domains take a way of their own, to the same end."""
    assert list(HostNames(kept).of(names)) == [one_host(name, kept) for name in names]
