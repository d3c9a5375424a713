"""Ordinary harmless rollouts, by the dozen in small fleets, through the real fold, sampling, dedup and detector."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from pipeline.combine.emit import partials_of
from pipeline.combine.event_batch import EventBatch
from pipeline.combine.memory import Memory
from pipeline.decide.detector import Detector
from pipeline.decide.evidence import LN10
from pipeline.decide.policy import Policy, PolicySet
from pipeline.runtime.errors import AndonError
from pipeline.simulate.nulls import NullFleet, null_fleet

LEVELS = (10.0, 100.0, 1000.0)
STEP_MS = 120_000
CONFIDENCE = 0.99
SHOWN = 10  # of the highest, by name


class Outcome(NamedTuple):
    """The highest log10 evidence that one harmless rollout ever reached, and whether it was halted at the default
    policy's alpha; `beside_guilty`: a guilty update was in its fleet, with which it may have been inseparable."""

    seed: int
    update: str
    shape: str
    relative_risk: float
    highest: float
    halted: bool
    beside_guilty: bool


def run_fleet(seed: int, policies: PolicySet | None = None) -> tuple[list[Outcome], int]:
    """Every harmless rollout of one fleet, and the number of events that it took."""
    fleet = null_fleet(seed)
    detector = Detector("null", policies or PolicySet(default=Policy(max_halts_per_hour=0)))
    highest = np.full(len(fleet.rollouts), -np.inf)
    memory = Memory(1 << 14)
    cuts = np.searchsorted(fleet.sent, np.arange(fleet.sent[0], fleet.sent[-1] + STEP_MS, STEP_MS))
    for first, last in pairwise(cuts):
        if first == last:
            continue
        batch = EventBatch(memory)
        batch.add(fleet.events[first:last], lambda i, first=first: (0, int(first) + i))  # type: ignore[misc]
        fold = batch.fold()
        memory.commit(fold)
        for partial in partials_of(fold, "calibrate", 0):
            detector.step(partial)
            _note(detector, fleet, highest)
    names = detector.state.names.updates
    halted = {names.names[update] for update in detector.state.standing.halted}
    beside = any(not plan.harmless for plan in fleet.rollouts)
    harmless = [
        Outcome(
            seed, plan.update.product, plan.shape, float(plan.relative_risk), float(top), plan.update in halted, beside
        )
        for plan, top in zip(fleet.rollouts, highest, strict=True)
        if plan.harmless
    ]
    return harmless, len(fleet.events)


def _note(detector: Detector, fleet: NullFleet, highest: "np.ndarray[Any, Any]") -> None:
    weighed, names = detector.weighed, detector.state.names.updates
    if weighed is None:
        return
    guilty = [names.get(plan.update) for plan in fleet.rollouts if not plan.harmless]
    for number, plan in enumerate(fleet.rollouts):
        update = names.get(plan.update)
        if update < 0 or not detector.state.ages.since[update]:
            continue
        value = float(weighed.explained.total[update]) / LN10
        for other in guilty:
            # on the hosts without the guilty update an innocent one is innocent: only that is evidence against it
            if value > max(highest[number], 0.5) and other not in (-1, update):
                value = min(value, weighed.without(update, other).log_evidence / LN10)
        highest[number] = max(highest[number], value)


def lower_limit(hits: int, trials: int) -> float:
    """Clopper-Pearson: the exact one-sided lower limit of a rate, at CONFIDENCE.

    Raises:
        AndonError: when scipy is not installed.
    """
    try:
        from scipy.stats import binomtest
    except ImportError:
        raise AndonError("scipy is not installed: pip install 'andon[dev]'") from None
    exact = binomtest(hits, trials, alternative="greater").proportion_ci(CONFIDENCE, "exact")
    return float(exact.low)


def report(outcomes: list[Outcome], events: int) -> dict[str, Any]:
    """The figures, and whether the bound holds."""
    top = np.array([o.highest for o in outcomes])
    levels = {}
    for level in LEVELS:
        hits = int((top >= np.log10(level)).sum())
        limit = lower_limit(hits, len(top))
        levels[str(int(level))] = {
            "bound": 1 / level,
            "crossed": hits,
            "rate": hits / len(top),
            "lower_limit_99": round(limit, 6),
            "holds": bool(limit <= 1 / level),
        }
    shapes = sorted({o.shape for o in outcomes})
    return {
        "rollouts": len(outcomes),
        "at_tolerated_risk": int(sum(o.relative_risk == 1.5 for o in outcomes)),
        "events": events,
        "levels": levels,
        "halted": sum(o.halted and not o.beside_guilty for o in outcomes),
        "halted_beside_guilty": sum(o.halted and o.beside_guilty for o in outcomes),
        "false_halts": [_shown(o) for o in outcomes if o.halted],
        "highest": [_shown(o) for o in sorted(outcomes, key=lambda o: -o.highest)[:SHOWN]],
        "by_shape": {
            shape: {
                "rollouts": sum(o.shape == shape for o in outcomes),
                **{
                    str(int(level)): int(sum(o.shape == shape and o.highest >= np.log10(level) for o in outcomes))
                    for level in LEVELS
                },
            }
            for shape in shapes
        },
    }


def _shown(outcome: Outcome) -> dict[str, Any]:
    return {**outcome._asdict(), "highest": round(outcome.highest, 3)}
