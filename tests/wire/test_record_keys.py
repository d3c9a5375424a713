"""Keys of records say what a record is by their parts."""

import pytest

from pipeline.wire.record_keys import (
    alarm_key,
    fleet_of,
    heartbeat_key,
    is_alarm,
    is_heartbeat,
    is_of_fleet,
    update_key,
    verdict_key,
)


@pytest.mark.parametrize("fleet", ["acme", "a/b", "-", "heartbeat", "猫 %2F", "a/-/heartbeat"])
def test_a_heartbeats_key_is_known_by_its_three_parts(fleet: str) -> None:
    """Whatever the fleet is called; and it is found again."""
    key, alarm = heartbeat_key(fleet).encode(), alarm_key(fleet).encode()
    assert (is_heartbeat(key), is_alarm(key), is_heartbeat(alarm), is_alarm(alarm)) == (True, False, False, True)
    assert is_of_fleet(key)
    assert is_of_fleet(alarm)
    assert fleet_of(key) == fleet_of(alarm) == fleet


@pytest.mark.parametrize(
    "key",
    [
        verdict_key("acme", "v", "p", "-", "heartbeat").encode(),
        verdict_key("acme", "-", "heartbeat", "1", "r").encode(),
        update_key("acme", "x", "-", "heartbeat").encode(),
        verdict_key("acme", "v", "p", "-", "alarm").encode(),
        verdict_key("acme", "-", "alarm", "1", "r").encode(),
        verdict_key("acme", "-", "alarm", "", "").encode(),
        update_key("acme", "-", "alarm", "1").encode(),
        b"acme/alarm",
        b"acme/heartbeat",
        b"/-/heartbeat/",
        b"\xff/heartbeat",
        b"",
        None,
    ],
)
def test_nothing_else_is_a_heartbeat_or_an_alarm(key: bytes | None) -> None:
    """Not a version "-" in a ring "heartbeat", not a vendor "-" with a product "heartbeat", or "alarm": no endpoint can
    forge either."""
    assert not is_heartbeat(key)
    assert not is_of_fleet(key)
