"""`andon bench calibrate`: how often does evidence against a harmless rollout EVER reach 10, 100, 1000?

Null rollouts go through the real fold, sampling, dedup and detector: ordinary ones, and those of each kind that hurts
(`kinds`), the stream cut in three ways; by importance sampling, also as rarely as one in a million. Fails (exit 1) when
the one-sided 99 % lower limit of a crossing rate exceeds its error bound, for any kind and cut.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import click
import numpy as np

from pipeline.bench.bound import CUTS_SECONDS, NOT_TILTED, deep, deep_row, row, tops
from pipeline.bench.brokers import python
from pipeline.bench.kinds import KINDS
from pipeline.bench.kinds import ROLLOUTS as KIND_ROLLOUTS
from pipeline.combine.emit import partials_of
from pipeline.combine.event_batch import EventBatch
from pipeline.combine.memory import Memory
from pipeline.decide.detector import Detector
from pipeline.decide.evidence import LN10
from pipeline.decide.policy import Policy, PolicySet
from pipeline.runtime.errors import AndonError
from pipeline.simulate.nulls import ROLLOUTS, NullFleet, null_fleet

LEVELS = (10.0, 100.0, 1000.0)
STEP_MS = 120_000
CONFIDENCE = 0.99
ORDINARY = "ordinary"
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


def report(outcomes: list[Outcome], events: int, seconds: float, seed: int) -> dict[str, Any]:
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
        "seconds": round(seconds, 1),
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
        "on": {**python(), "numpy": np.__version__, "cpus": os.cpu_count(), "seed": seed},
    }


def _shown(outcome: Outcome) -> dict[str, Any]:
    return {**outcome._asdict(), "highest": round(outcome.highest, 3)}


def calibrate(rollouts: int, seed: int, workers: int) -> dict[str, Any]:
    """Run ordinary fleets until there are so many harmless rollouts."""
    began = time.monotonic()
    outcomes: list[Outcome] = []
    events = 0
    with ProcessPoolExecutor(workers) as pool:
        fleets = -(-rollouts // ROLLOUTS)
        for found, count in pool.map(run_fleet, range(seed, seed + fleets), chunksize=4):
            outcomes += found
            events += count
    return report(outcomes[:rollouts], events, time.monotonic() - began, seed)


def by_kind(kinds: Sequence[str], rollouts: int, seed: int, workers: int) -> list[dict[str, Any]]:
    """The rows of each kind and cut, of so many rollouts in all; each cell has the same number of fleets."""
    cells = [(kind, cut) for kind in kinds for cut in CUTS_SECONDS]
    fleets = max(2, -(-rollouts // (len(cells) * KIND_ROLLOUTS)))
    todo = [(kind, cut, seed + number) for kind, cut in cells for number in range(fleets)]
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(tops, *zip(*todo, strict=True), chunksize=2))
    return [row([one for one in found if (one.kind, one.cut_seconds) == cell]) for cell in cells]


def to_the_depth(kinds: Sequence[str], fleets: int, seed: int, workers: int) -> list[dict[str, Any]]:
    """The rows of importance sampling, at the middle cut."""
    kinds = [kind for kind in kinds if kind not in NOT_TILTED]
    todo = [(kind, CUTS_SECONDS[1], seed + number) for kind in kinds for number in range(fleets)]
    if not todo or fleets < 2:
        return []
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(deep, *zip(*todo, strict=True), chunksize=2))
    return [deep_row([one for one in found if one.kind == kind]) for kind in kinds]


@click.command("calibrate")
@click.option("--rollouts", default=20_000, show_default=True, help="Harmless rollouts to simulate, a fifth ordinary.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice([ORDINARY, *KINDS]), help="Only these.")
@click.option("--deep", "deep_fleets", default=100, show_default=True, help="Fleets a kind for importance sampling.")
@click.option("--seed", default=1, show_default=True, help="First seed; every fleet takes the next.")
@click.option("--workers", default=os.cpu_count() or 1, show_default=True, help="Processes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    rollouts: int, kinds: tuple[str, ...], deep_fleets: int, seed: int, workers: int, as_json: bool
) -> None:  # fmt: skip
    """Crossing rates of evidence over simulated null rollouts, kind by kind, against their bounds."""
    lower_limit(0, 1)  # says so now if it cannot
    hard = [kind for kind in kinds or KINDS if kind != ORDINARY]
    result: dict[str, Any] = {}
    if not kinds or ORDINARY in kinds:
        result = calibrate(rollouts // 5 if hard else rollouts, seed, workers)
    if hard:
        result["by_kind"] = by_kind(hard, rollouts - result.get("rollouts", 0), seed, workers)
        result["deep"] = to_the_depth(hard, deep_fleets, seed, workers)
    cells = [result, *result.get("by_kind", ()), *result.get("deep", ())]
    result["broken"] = [
        f"{cell.get('kind', ORDINARY)} at {level}"
        + (f", cut every {cell['cut_seconds']} s" if "cut_seconds" in cell else "")
        for cell in cells
        for level, found in cell.get("levels", {}).items()
        if found["holds"] is False
    ]
    if as_json:
        click.echo(json.dumps(result))
    else:
        for line in lines(result):
            click.echo(line)
    if result["broken"]:
        sys.exit(1)


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    if "rollouts" in result:
        yield f"ordinary: {result['rollouts']} harmless rollouts, {result['at_tolerated_risk']} at the tolerated risk"
        yield from _levels(result["levels"])
    for cell in result.get("by_kind", ()):
        of = f"{cell['rollouts']} rollouts in {cell['fleets']} fleets, highest 10^{cell['highest']:.1f}"
        yield f"{cell['kind']}, cut every {cell['cut_seconds']} s: {of}"
        yield from _levels(cell["levels"])
    for cell in result.get("deep", ()):
        yield f"{cell['kind']}, by importance sampling from {cell['fleets']} fleets at {cell['tilt']:g} times the risk"
        yield from _levels(cell["levels"])
    yield f"BROKEN: {'; '.join(result['broken'])}" if result["broken"] else "no bound is broken"


def _levels(levels: dict[str, Any]) -> Iterator[str]:
    for level, found in levels.items():
        hits = found.get("crossed", found.get("reached"))
        at_least = f"at least {found['lower_limit_99']:.2g}"
        word = {True: "", False: "  BROKEN", None: "  unknown: too few got there"}[found["holds"]]
        yield f"  ever {level:>7}: {hits:>5} = {found['rate']:.2g} ({at_least}), bound {found['bound']:g}{word}"
