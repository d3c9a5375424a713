"""What of the input became no evidence is counted by fleet, with the first example, and survives a restart."""

import json

from msgspec.structs import replace
from support.decide_world import GUILTY, KERNEL_FAULT, T0, crash, heartbeat
from support.folding import partials_all

from pipeline.decide import notes
from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet
from pipeline.wire.events import AnyEvent
from pipeline.wire.partials import Notes, Partial
from pipeline.wire.spans import DAY_MS, HOUR_MS

HAD = replace(GUILTY, installed_at=T0 - HOUR_MS)


def partial(*events: AnyEvent, at: int = T0) -> Partial:
    """The partial of these events."""
    (found,) = partials_all(list(events), at)
    return found


def test_crashes_that_are_no_evidence_are_counted_by_why() -> None:
    """Late, of a host that counts already, beyond three of a site and minute; with the first host of each."""
    detector = Detector("acme", PolicySet())
    detector.step(partial(*(heartbeat(host, T0, ()) for host in range(50))))
    detector.step(partial(crash(1, T0 - 2 * DAY_MS, (), KERNEL_FAULT)))
    detector.step(partial(crash(2, T0, (HAD,), KERNEL_FAULT)))
    detector.step(partial(crash(2, T0 + 1, (HAD,), KERNEL_FAULT)))
    detector.step(partial(*(crash(3 + 40 * n, T0 + n, (), KERNEL_FAULT) for n in range(5))))
    shown = detector.summary()
    assert shown["noted"] == {"crashes_late": 1, "crashes_repeated": 1, "crashes_capped": 2}
    assert shown["noted_first"] == {
        "crashes_late": {"host": "h1", "at": T0 - 2 * DAY_MS},
        "crashes_repeated": {"host": "h2", "at": T0 + 1},
        "crashes_capped": {"host": "h123", "at": T0 + 3},
    }
    json.dumps(shown)


def test_what_the_combiner_noted_adds_up_and_is_kept() -> None:
    """Words of a later version are left out; a snapshot holds the rest."""
    detector = Detector("acme", PolicySet())
    noted = Notes({"updates_cut": 3, "a_word_of_tomorrow": 9}, {"h1": 7_200_000})
    for _ in range(2):
        detector.step(replace(partial(heartbeat(1, T0, (HAD,))), tail=noted))
    again = Detector.restore(detector.snapshot(), PolicySet()).summary()
    assert again["noted"] == {"updates_cut": 6}
    assert again["clocks_ahead"] == {"hosts": 1, "furthest": [{"host": "h1", "ahead_seconds": 7_200}]}


def test_clocks_are_bounded_and_forgotten_after_a_day() -> None:
    """Whoever invents hosts does not make the state grow, and a clock set right is not held against its host."""
    detector = Detector("acme", PolicySet())
    start = partial(heartbeat(1, T0, ()))
    for first in range(0, 2 * notes.MAX_CLOCKS, 100):
        detector.step(replace(start, tail=Notes({}, {f"h{n}": 7_200_000 for n in range(first, first + 100)})))
    assert detector.summary()["clocks_ahead"]["hosts"] == notes.MAX_CLOCKS  # type: ignore[index]
    detector.step(partial(*(heartbeat(n, T0 + DAY_MS + HOUR_MS, ()) for n in range(10)), at=T0 + DAY_MS + HOUR_MS))
    assert detector.summary()["clocks_ahead"] == {"hosts": 0, "furthest": []}


def test_excluded_and_unwatched_exposures_are_counted() -> None:
    """An update past its window is neither exposed nor control for its host: trials and crashes that count say how
    often."""
    detector = Detector("acme", PolicySet())
    old = replace(GUILTY, installed_at=T0 - 5 * DAY_MS)
    detector.step(partial(heartbeat(1, T0, (old,)), heartbeat(2, T0, (HAD,)), crash(3, T0, (old,), KERNEL_FAULT)))
    assert detector.summary()["noted"] == {"exposures_excluded": 2}
    detector.step(partial(crash(3, T0 + 1, (old,), KERNEL_FAULT)))
    late = replace(GUILTY, installed_at=T0 - 9 * DAY_MS)
    detector.step(partial(crash(4, T0 - 2 * DAY_MS, (late,), KERNEL_FAULT)))
    assert detector.summary()["noted"] == {"exposures_excluded": 2, "crashes_late": 1, "crashes_repeated": 1}
