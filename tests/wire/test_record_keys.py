"""Keys of records say what a record is by their parts."""

import pytest

from pipeline.wire.record_keys import fleet_of, heartbeat_key, is_heartbeat, update_key, verdict_key


@pytest.mark.parametrize("fleet", ["acme", "a/b", "-", "heartbeat", "猫 %2F", "a/-/heartbeat"])
def test_a_heartbeats_key_is_known_by_its_three_parts(fleet: str) -> None:
    """Whatever the fleet is called; and it is found again."""
    key = heartbeat_key(fleet).encode()
    assert is_heartbeat(key)
    assert fleet_of(key) == fleet


@pytest.mark.parametrize(
    "key",
    [
        verdict_key("acme", "v", "p", "-", "heartbeat").encode(),
        verdict_key("acme", "-", "heartbeat", "1", "r").encode(),
        update_key("acme", "x", "-", "heartbeat").encode(),
        b"acme/heartbeat",
        b"/-/heartbeat/",
        b"\xff/heartbeat",
        b"",
        None,
    ],
)
def test_nothing_else_is_a_heartbeat(key: bytes | None) -> None:
    """Not a version "-" in a ring "heartbeat", not a vendor "-" with a product "heartbeat"."""
    assert not is_heartbeat(key)
