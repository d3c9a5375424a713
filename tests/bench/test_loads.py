"""Loads and figures of the benches of deciding: the fleet is one as fleets look, a state stays small."""

from pipeline.bench.backtest_load import FleetLoad, lines
from pipeline.bench.decide import state_bytes
from pipeline.wire.decode import decode_event
from pipeline.wire.events import Crash

MOST_BYTES_PER_UPDATE = 50_000


def test_the_fleet_is_as_long_and_as_wide_as_asked_for() -> None:
    """Each host beats as often as it should and lists so many updates, some of which are replaced; events are in
    order, and the share of crashes is what it should be."""
    events = [decode_event(line) for line in lines(FleetLoad(40, 240, 60, 16, 0.05, 1))]
    crashes = [event for event in events if isinstance(event, Crash)]
    assert len(events) - len(crashes) == 40 * 240
    assert 0.03 < len(crashes) / len(events) < 0.07
    assert {len(event.updates) for event in events} == {16}
    assert len({update.version for event in events for update in event.updates}) >= 2
    times = [event.ts for event in events]
    assert times == sorted(times)


def test_a_state_is_linear_in_updates_times_strata() -> None:
    """Four times the updates, or the strata, take no more than four times the bytes, and an update in as many strata
    as there can be under 50 kB."""
    small, updates, strata = state_bytes(8, 8, 1), state_bytes(32, 8, 1), state_bytes(8, 32, 1)
    assert updates["bytes"] <= 4.1 * small["bytes"]
    assert strata["bytes"] <= 4.1 * small["bytes"]
    assert state_bytes(8, 59, 1)["bytes_per_update"] <= MOST_BYTES_PER_UPDATE
