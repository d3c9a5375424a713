"""`andon bench scale`: two fleets of which one is a hundred times the other."""

import pytest

from pipeline.bench.scale import main
from pipeline.bench.scale.fleet import START_MS, FleetSize, ScaleFleet
from pipeline.wire.spans import MINUTE_MS


@pytest.mark.service
def test_partials_are_small_however_many_hosts_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event that was folded is counted by the detector (or `measure` raises); a hundred times the events are no
    more partials than batches, of fewer bytes for each event, and hardly more state; and the incident is halted."""
    monkeypatch.setattr(main, "WARM_MS", 10 * MINUTE_MS)
    small, large = (main.measure(FleetSize(hosts, 10.0, 10, 1), 2, 1.0) for hosts in (60_000, 6_000_000))
    events, size = (large["steady"][name] / small["steady"][name] for name in ("events_per_second", "bytes_per_second"))
    assert events > 90
    assert size < events
    assert small["steady"]["partials_per_second"] <= large["steady"]["partials_per_second"] <= 2_000 / main.BATCH_MS
    assert large["seconds_to_halt"] is not None
    assert large["state_bytes"] < 3 * small["state_bytes"]


def test_hosts_are_computed_and_not_kept() -> None:
    """A billion of them begin to report at once; each name is another's, and what hosts are is the same in each run."""
    fleets = [ScaleFleet(FleetSize(1_000_000_000, 60.0, 10, 1)) for _ in range(2)]
    first, again = (list(fleet.reports(START_MS, 500)) for fleet in fleets)
    assert first == again
    assert len({event.host for _, event in first}) == 500
    assert {update.installed_at <= START_MS for _, event in first for update in event.updates} == {True}
