"""Snapshots: one that an earlier version wrote is read, and goes on; columns have the names that snapshots know."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import zstandard
from support.decide_world import GUILTY, T0, feed, heartbeat, installed

from pipeline.decide.arrays import Part, pack, unpack
from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet
from pipeline.decide.state import DetectorState
from pipeline.wire.partials import UpdateId
from pipeline.wire.spans import MINUTE_MS

# Written by version 2: 240 hosts, 25 of which crash with an update that is halted for it; a browser that operators have
# halted in one ring.
VERSION_2 = Path(__file__).parent / "snapshot_version_2.zst"
CHROME = UpdateId("google", "chrome", "126")
FALCON = UpdateId(GUILTY.vendor, GUILTY.product, GUILTY.version)


@pytest.fixture
def before() -> Detector:
    """Restored from what version 2 wrote."""
    return Detector.restore(zstandard.decompress(VERSION_2.read_bytes()), PolicySet())


def test_what_an_earlier_version_wrote_is_all_there(before: Detector) -> None:
    """Names, counts, standing, samples, archive, hosts that count already: as they were."""
    state = before.state
    falcon, chrome = state.names.updates.get(FALCON), state.names.updates.get(CHROME)
    assert (state.fleet, state.bucket, state.clock.events) == ("acme", 172_136_325, 2_547)
    assert (state.standing.halted, state.standing.forced) == ({falcon: 172_136_236}, {chrome: ["canary"]})
    assert (state.counts.crashed[falcon].sum(), state.counts.crashed[chrome].sum()) == (23, 7)
    assert round(state.counts.exposed_trials[chrome].sum()) == 888
    assert state.ages.since[[chrome, falcon]].tolist() == [172_135_440, 172_136_160]
    assert (len(state.names.strata), len(state.samples.bins), len(state.crashes.crashes)) == (9, 21, 49)
    assert (len(state.archive.shares), len(state.hosts.seen) + len(state.host_signatures.seen)) == (21, 94)
    assert state.notes.noted == {"crashes_repeated": 1, "crashes_undated": 3, "exposures_excluded": 2}
    assert (state.spreading.told, state.spreading.said) == (True, {falcon: "flat"})
    assert state.history.ready()


def test_what_an_earlier_version_wrote_goes_on(before: Detector) -> None:
    """The next minutes are judged on it: what was halted is, and the evidence is that of its crashes (17.576 as
    version 2 judged its open ones)."""
    moments = range(T0 + 29 * MINUTE_MS, T0 + 35 * MINUTE_MS, MINUTE_MS)
    fed = feed(before, [heartbeat(host, at, installed(host, T0, GUILTY, 4)) for at in moments for host in range(240)])
    told = {verdict.version: verdict for verdict in fed.verdicts if verdict.ring == "canary"}
    assert fed.halts == []
    assert {version: verdict.state for version, verdict in told.items()} == {"126": "halted", "291": "halted"}
    assert told["291"].log10_evidence == pytest.approx(15.364, abs=0.01)
    again = Detector.restore(before.snapshot(), PolicySet())
    assert again.snapshot() == before.snapshot()


def test_a_ring_s_hours_of_an_earlier_version_are_the_update_s(before: Detector) -> None:
    """Version 3 knew no hours by ring, nor what was compared with history: both follow from what it knew."""
    data = unpack(before.snapshot())
    data["version"] = 3
    younger = [name for name in data["parts"]["past"] if name.startswith("past_") or name == "ring_since"]
    for name in {*younger} - {"past_expected", "past_exposure"}:
        del data["parts"]["past"][name]
    again = Detector.restore(pack(data), PolicySet()).state
    falcon = again.names.updates.get(FALCON)
    reached = again.counts.exposed_trials[falcon] > 0
    assert reached.any()
    assert set(again.past.ring_since[falcon][reached].tolist()) == {again.ages.since[falcon]}
    assert again.past.crashed[falcon] == again.book.exposed[falcon] > 0
    assert again.past.trials[falcon] == again.counts.exposed_trials[falcon].sum()


def test_a_snapshot_holds_the_declared_names() -> None:
    """No attribute is a storage format: columns and values are stored by the names that they declare, once each."""
    for part in vars(DetectorState("acme")).values():
        if isinstance(part, Part):
            declared = [each.name for each in (*part.columns.values(), *part.plain.values())]
            assert Counter(part.pack().keys()) == Counter(declared)


def test_whatever_has_a_place_by_update_forgets_it() -> None:
    """Every column along the updates holds after `forget` what it holds where nobody has been."""
    state = DetectorState("acme")
    for part in vars(state).values():
        if isinstance(part, Part):
            for name in part.columns:
                getattr(part, name)[...] = 7
            part.forget(np.array([3]))
            for name, column in part.columns.items():
                if "updates" in column.axes:
                    place = np.take(getattr(part, name), 3, column.axes.index("updates"))
                    assert np.array_equal(place, np.full_like(place, column.fill), equal_nan=True), name
