"""What is not whole is flagged: a crash list that was cut off, samples that may leave hosts out. And signs outlive a
restart, and leave with their updates."""

import msgspec
import numpy as np
import pytest
from support.decide_world import GUILTY, T0, Fed, fault, feed, life
from support.folding import partials_all

from pipeline.decide.blind.flags import is_sampled
from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet
from pipeline.wire.events import AnyEvent, Update
from pipeline.wire.partials import BUCKET_MS, UpdateId
from pipeline.wire.spans import DAY_MS, HOUR_MS, MINUTE_MS

NAME = UpdateId(GUILTY.vendor, GUILTY.product, GUILTY.version)
TRAVELLER = Update("crowdstrike", "falcon-sensor", "7.16", T0)


@pytest.fixture(scope="module")
def crashing() -> bytes:
    """The snapshot of a fleet in which two hosts with the update have crashed."""
    detector = Detector("acme", PolicySet())
    events = life(T0 - HOUR_MS, T0 + 20 * MINUTE_MS, GUILTY)
    feed(detector, [*events, *fault(2, T0 + 10 * MINUTE_MS, T0 + 11 * MINUTE_MS, GUILTY)], MINUTE_MS)
    return detector.snapshot()


def flags(fed: Fed, version: str) -> set[str]:
    """As last told."""
    return set([verdict.flags for verdict in fed.verdicts if verdict.version == version][-1])


def test_crashes_that_were_cut_off_are_flagged_for_a_day(crashing: bytes) -> None:
    """Also of hosts without the update: then control is counted too low."""
    detector, at = Detector.restore(crashing, PolicySet()), T0 + 20 * MINUTE_MS
    before = feed(detector, life(at, at + 6 * MINUTE_MS, GUILTY), MINUTE_MS)
    assert "crashes_cut" not in flags(before, GUILTY.version)
    (partial,) = partials_all(fault(1, at + 6 * MINUTE_MS, at + 7 * MINUTE_MS, GUILTY), at)
    cut = np.array([(at + 6 * MINUTE_MS) // BUCKET_MS, 0, 40], "<i4").tobytes()
    detector.step(msgspec.structs.replace(partial, cut=cut))
    after = feed(detector, life(at + 7 * MINUTE_MS, at + 13 * MINUTE_MS, GUILTY), MINUTE_MS)
    assert "crashes_cut" in flags(after, GUILTY.version)
    detector.state.signs.cut_at -= DAY_MS // BUCKET_MS
    later = feed(detector, life(at + 13 * MINUTE_MS, at + 19 * MINUTE_MS, GUILTY), MINUTE_MS)
    assert "crashes_cut" not in flags(later, GUILTY.version)


def travelling(event: AnyEvent) -> AnyEvent:
    """Every host with the update has another one with it."""
    if GUILTY not in event.updates:
        return event
    return msgspec.structs.replace(event, updates=(*event.updates, TRAVELLER))


@pytest.mark.parametrize("travels", [True, False])
def test_what_rests_on_samples_is_flagged(travels: bool) -> None:
    """Two that travel together are told apart by samples; what nothing is to be told apart from is judged by all hosts.
    A sample that can have left nobody out is no sample."""
    events = life(T0 - HOUR_MS, T0 + 20 * MINUTE_MS, GUILTY)
    events += fault(8, T0 + 10 * MINUTE_MS, T0 + 12 * MINUTE_MS, GUILTY)
    fed = feed(Detector("acme", PolicySet()), [travelling(e) if travels else e for e in events], MINUTE_MS)
    assert fed.evidence(GUILTY) > 2
    assert ("sampled" in flags(fed, GUILTY.version)) == travels
    assert (is_sampled([3, 16]), is_sampled([15]), is_sampled([])) == (True, False, False)


def test_signs_outlive_a_restart_and_leave_with_their_updates(crashing: bytes) -> None:
    """What was gathered is in the snapshot; whoever gets a freed place begins anew; a state of before has none."""
    detector = Detector.restore(crashing, PolicySet())
    signs, update = (
        detector.state.signs,
        detector.state.names.updates.get(UpdateId("crowdstrike", "falcon-content", "291")),
    )
    signs.crashed["dirty_boot_burst"][update] = 5
    signs.shared["win-golden"] = signs.bucket
    again = Detector.restore(detector.snapshot(), PolicySet())
    assert again.summary()["half_blind"] == detector.summary()["half_blind"]
    assert again.summary()["half_blind"] == {
        "reasons": {"dirty_boot_burst": {"updates": 1, "such_as": ["crowdstrike/falcon-content/291"]}},
        "shared_host_names": {"hosts": 1, "such_as": ["win-golden"]},
    }
    assert again.snapshot() == detector.snapshot()
    again.state.forget([update])
    assert not any(update in counts for counts in again.state.signs.crashed.values())
    assert not any(update in versions for versions in again.state.signs.installers.values())
