"""One family under one seed: every contender on the same partials, and what each of them did beside the truth."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.bakeoff.contenders import table
from pipeline.bakeoff.contest.oracle import Oracle
from pipeline.bakeoff.crashes import FRIDAY_MS
from pipeline.bakeoff.hosts import NEVER
from pipeline.bakeoff.protocol import Contender
from pipeline.bakeoff.reading import Reader, past_of
from pipeline.bakeoff.spec import Family
from pipeline.bakeoff.stream import Stream
from pipeline.bakeoff.world import World, make
from pipeline.wire.spans import MINUTE_MS

ORACLE = "oracle"


class Stop(NamedTuple):
    """A halt: the update's number, when (ms since the first event), and whether it names it alone."""

    update: int
    at_ms: int
    together: bool


class Score(NamedTuple):
    """What a contender did in one run. Of `wanted` faults it found `found`; `crashed` are the hosts that the faults had
    crashed when the first was halted (all that they ever crashed, when none was), `delay_seconds` runs from the first
    crashed host. `innocents` were halted alone, `beside` as inseparable from a guilty one. Of `harmless` updates
    `cleared` were, after `clear_minutes` each."""

    family: str
    kind: str
    seed: int
    contender: str
    wanted: int
    found: int
    crashed: int
    delay_seconds: float | None
    innocents: int
    beside: int
    tolerated: int
    harmless: int
    cleared: int
    clear_minutes: tuple[float, ...]
    wrongly_cleared: int


ALL = (*(entry.name for entry in table.CONTENDERS), ORACLE)


def run(family: Family, seed: int, names: Sequence[str] = ALL) -> list[Score]:
    """The scores of these contenders, in the order of ALL."""
    world = make(family, seed)
    past = past_of(world)
    runners: dict[str, Contender] = {entry.name: entry.make(past) for entry in table.CONTENDERS if entry.name in names}
    if ORACLE in names:
        runners[ORACLE] = Oracle(past, world)
    reader = Reader(past)
    stops: dict[str, dict[int, Stop]] = {name: {} for name in runners}
    clears: dict[str, dict[int, int]] = {name: {} for name in runners}
    for partial in Stream(world).partials():
        step = reader.read(partial)
        at = step.now_ms - FRIDAY_MS
        for name, runner in runners.items():
            for call in runner.see(step):
                if call.kind == "halt":
                    stops[name].setdefault(call.update, Stop(call.update, at, call.together))
                else:
                    clears[name].setdefault(call.update, at)
    return [score(world, name, list(stops[name].values()), clears[name]) for name in runners]


def score(world: World, name: str, stops: list[Stop], clears: dict[int, int]) -> Score:
    """Judge what a contender did. A halt before an update does harm is a false one."""
    truth = world.truth
    right = [stop for stop in stops if stop.at_ms >= truth.harmful_ms[stop.update]]
    found = [min((s.at_ms for s in right if s.update in wanted), default=None) for wanted in truth.wanted]
    halted = [at for at in found if at is not None]
    first = min(halted, default=None)
    guilty = np.isin(truth.crash_update, list(truth.guilty))
    before = guilty & (truth.crash_ms <= (NEVER if first is None else first))
    begun = int(truth.crash_ms[guilty].min(initial=NEVER))
    tried = [u for u, at in enumerate(truth.released_ms.tolist()) if at != NEVER]
    harmless = [u for u in tried if u not in truth.guilty | truth.tolerated]
    wrong = [stop for stop in stops if stop not in right and stop.update not in truth.tolerated]
    beside = [stop for stop in wrong if stop.together and _has_guilty(stop, right)]
    cleared = {u: at for u, at in clears.items() if u in harmless}
    return Score(
        world.family.name, world.family.kind, world.seed, name, len(truth.wanted), len(halted),
        len(np.unique(truth.crash_host[before])), None if first is None else max(first - begun, 0) / 1000,
        len(wrong) - len(beside), len(beside), sum(stop.update in truth.tolerated for stop in stops),
        len(harmless), len(cleared), tuple((at - int(truth.released_ms[u])) / MINUTE_MS for u, at in cleared.items()),
        sum(u in truth.guilty for u in clears),
    )  # fmt: skip


def _has_guilty(stop: Stop, right: list[Stop]) -> bool:
    """Whether a guilty update was halted with it, as one of several that cannot be told apart."""
    return any(other.together and abs(other.at_ms - stop.at_ms) <= MINUTE_MS for other in right)
