"""One simulated rollout through the combiner's fold and the detector, until it is halted or its time is over."""

from typing import NamedTuple

import numpy as np

from pipeline.bakeoff.crashes import FRIDAY_MS
from pipeline.bakeoff.stream import FLEET, Stream
from pipeline.bakeoff.world import World, make
from pipeline.canary.asked import CANARY, UPDATE, Asked, Harm, Layout, family_of
from pipeline.decide.detector import Detector
from pipeline.decide.policy import Policy, PolicySet
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

# A longer rollout is cut every two minutes and not at crashes, too: two thirds of the time.
LONG_HOURS, LONG_CUT_MS = 2.0, 2 * MINUTE_MS


class Task(NamedTuple):
    """One rollout: of a fault to a canary of so many hosts, followed for `hours`, under a seed."""

    asked: Asked
    harm: Harm
    layout: Layout
    canary: int
    hours: float
    seed: int
    policy: Policy


class Outcome(NamedTuple):
    """What came of it; hours since the rollout began. `crashed_hours`: when the fault crashed each host for the first
    time, in order, whether that was told or not. `innocents` were halted beside it, by themselves."""

    halted_hours: float | None
    cleared_hours: float | None
    crashed_hours: tuple[float, ...]
    innocents: int

    def crashed_by(self, hours: float) -> int:
        """Hosts that the fault had crashed then, or at the halt when that came first."""
        until = min(hours, hours if self.halted_hours is None else self.halted_hours)
        return int(np.searchsorted(self.crashed_hours, until, side="right"))


def rehearse(task: Task) -> Outcome:
    """Every partial, into the detector that the line runs."""
    world = make(family_of(task.asked, task.harm, task.layout, task.canary, task.hours), task.seed)
    detector = Detector(FLEET, PolicySet(default=task.policy))
    halted: float | None = None
    cleared: float | None = None
    innocents = set[str]()
    for partial in Stream(world, LONG_CUT_MS if task.hours > LONG_HOURS else 0).partials():
        decided = detector.step(partial)
        now = _hours(task, partial.ingested_at_ms - FRIDAY_MS)
        for halt in decided.halts:
            if halt.product == UPDATE:
                halted = now
            elif "inseparable" not in halt.evidence.flags:
                innocents.add(halt.product)
        if cleared is None and any(
            verdict.product == UPDATE and verdict.ring == CANARY and verdict.state == "cleared"
            for verdict in decided.verdicts
        ):
            cleared = now
        if halted is not None:
            break
    return Outcome(halted, cleared, _crashed(task, world), len(innocents))


def _hours(task: Task, at_ms: int) -> float:
    return at_ms / HOUR_MS - task.asked.history_hours


def _crashed(task: Task, world: World) -> tuple[float, ...]:
    truth = world.truth
    faulty = truth.crash_update == world.installs.update[0]
    _, first = np.unique(truth.crash_host[faulty], return_index=True)  # they stand in the order of time
    hours = truth.crash_ms[faulty][np.sort(first)] / HOUR_MS - task.asked.history_hours
    return tuple(hours.tolist())
