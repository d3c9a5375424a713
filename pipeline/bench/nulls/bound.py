"""Does the bound hold, kind by kind of null and however the stream is cut? And how far down, by importance sampling."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.bakeoff.crashes import FRIDAY_MS, ORDINARY_CAUSE
from pipeline.bakeoff.hosts import Floats, Ints
from pipeline.bakeoff.spec import Family, Fault
from pipeline.bakeoff.stream import FLEET, Stream
from pipeline.bakeoff.world import World, make
from pipeline.bench.nulls.kinds import TELLINGS, null_family
from pipeline.bench.nulls.silences import quieted
from pipeline.decide.detector import Detector
from pipeline.decide.policy import Policy, PolicySet
from pipeline.runtime.errors import AndonError
from pipeline.wire.spans import MINUTE_MS

LEVELS = (10.0, 100.0, 1000.0)
DEEP_LEVELS = (*LEVELS, 1e4, 1e5, 1e6)
CUTS_SECONDS = (10, 50, 100)
CONFIDENCE = 0.99
DEEP_RISK = 6.0  # importance sampling draws one update's crashes at so many times its harmless odds
DEEP_NATS = 26.0  # 10^6, an explanation's weight, what the others of a mixture cost, and some that land elsewhere
DEEP_PUSHES = 4
DEEP_HOSTS = 12_000
DEEP_SHARE = 0.3
ONE_RING = (("broad", 1.0),)
MOST_CRASHES_A_DAY = 4.0
# There it cannot be done: installations follow crashes, something else than the one rollout makes the evidence, or
# there are too few crashes for it to get far however they are drawn.
NOT_TILTED = frozenset(
    {
        "repair", "outage", "outage-new", "renamed", "simpson-unmeasured", "fast", "tiny", "sparse", "night",
        "unheard", "one-site", "skewed",
    }
)  # fmt: skip
FEWEST_REACHED = 5  # fleets, as telling as so many of equal weight, before anything is said of how rarely it happens
NO_LIMIT = PolicySet(default=Policy(max_halts_per_hour=0))


class Tops(NamedTuple):
    """The highest log10 evidence that each rollout of a fleet ever reached, by number of update."""

    kind: str
    cut_seconds: int
    seed: int
    highest: tuple[float, ...]


class Deep(NamedTuple):
    """A fleet of which one rollout was drawn at `tilt` times its harmless odds: by level, the likelihood ratio of what
    had happened when evidence against it reached the level, 0 where it never did. Its mean is how often a harmless one
    gets there."""

    kind: str
    seed: int
    tilt: float
    weights: tuple[float, ...]


def tops(kind: str, cut_seconds: int, seed: int) -> Tops:
    """One fleet of a kind through fold and detector."""
    world = quieted(make(null_family(kind, seed), seed), kind)
    highest = np.full(len(world.updates), -np.inf)
    for _, found in _evidence(world, cut_seconds):
        np.maximum(highest, found, out=highest)
    return Tops(kind, cut_seconds, seed, tuple(np.round(highest, 4).tolist()))


def _evidence(world: World, cut_seconds: int) -> Iterator[tuple[int, Floats]]:
    """After each partial that can have changed it: when it was cut (ms since the first event), and log10 evidence by
    update."""
    detector, before = Detector(FLEET, NO_LIMIT), None
    for partial in Stream(world, cut_seconds * 1000).partials():
        detector.step(partial)
        weighed = detector.weighed
        if weighed is None or weighed is before:
            continue
        before, total = weighed, weighed.explained.log10
        place = np.array([detector.state.names.updates.get(update) for update in world.updates])
        known = (place >= 0) & (place < len(total))
        yield partial.ingested_at_ms - FRIDAY_MS, np.where(known, total[np.where(known, place, 0)], -np.inf)


def deep(kind: str, cut_seconds: int, seed: int) -> Deep:
    """One fleet of which the crashes are drawn as if the first rollout were guilty, and weighed back to what is
    harmless: as many of them in all, more on it and fewer on the others, which is how the harmless get far if ever."""
    family = deep_family(kind, seed)
    tilt = tilt_of(family)
    tilted = family.pushes[0]._replace(fault=Fault(risk=tilt.exposed, signature=None))
    world = make(family._replace(pushes=(tilted, *family.pushes[1:])), seed, tilt.control)
    weights, reached = [0.0] * len(DEEP_LEVELS), 0
    for at_ms, found in _evidence(world, cut_seconds):
        while reached < len(DEEP_LEVELS) and found[0] >= np.log10(DEEP_LEVELS[reached]):
            weights[reached] = likelihood_ratio(world, at_ms, tilt)
            reached += 1
        if reached == len(DEEP_LEVELS):
            break
    return Deep(kind, seed, tilt.risk, tuple(weights))


class Tilt(NamedTuple):
    """How crashes are drawn: `exposed` and `control` times the ordinary rate, where `harmless` and 1 are the truth;
    `risk` is how many times the harmless odds that is."""

    risk: float
    exposed: float
    control: float
    harmless: float


def tilt_of(family: Family) -> Tilt:
    """Of a fleet's first rollout: so that as many crash in all as ever."""
    push = family.pushes[0]
    harmless = push.fault.risk if push.fault is not None else 1.0
    share = min(push.share, 0.95)
    control = (harmless * share + 1 - share) / (DEEP_RISK * harmless * share + 1 - share)
    return Tilt(DEEP_RISK, DEEP_RISK * harmless * control, control, harmless)


def deep_family(kind: str, seed: int) -> Family:
    """A fleet of a kind that is so large, and in which so much crashes, that evidence can get far at all: of a few
    rollouts the first begins with the story."""
    family = null_family(kind, seed)
    first = family.pushes[0]._replace(at=min(family.pushes[0].at, 0.0), share=DEEP_SHARE)
    # Told at once, crashes are judged at the share of now, the nearest there is.
    family = family._replace(pushes=(first, *family.pushes[1:DEEP_PUSHES]), telling=TELLINGS[0])
    fleet = family.fleet._replace(hosts=DEEP_HOSTS, rings=ONE_RING)
    fleet = fleet if fleet.trait_in_model else fleet._replace(models=1)
    tilt, share = tilt_of(family), min(first.share, 0.95)
    mean = tilt.harmless * share + 1 - share
    p, q = tilt.harmless * share / mean, tilt.exposed * share / mean
    gain = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))  # nats a crash
    hours = family.hours - first.over_minutes / 60 / 2
    needed = DEEP_NATS / gain / (fleet.hosts * mean * hours / 24)
    rate = float(np.clip(needed, fleet.crashes_a_day, MOST_CRASHES_A_DAY))
    return family._replace(fleet=fleet._replace(crashes_a_day=rate))


def likelihood_ratio(world: World, at_ms: int, tilt: Tilt) -> float:
    """How much likelier, or less, what happened by then was if the first update is harmless than as it was drawn.
    Crashes of shocks and other faults are as likely under both."""
    truth, installed = world.truth, world.installs.at[0]
    begun = np.full(installed.size, installed.min())
    host, at = truth.crash_host, truth.crash_ms
    own = np.isin(truth.crash_update, (ORDINARY_CAUSE, 0)) & (at < at_ms)
    exposed = int((own & (at >= installed[host])).sum())
    control = int((own & (at >= begun[host]) & (at < installed[host])).sum())
    result = exposed * np.log(tilt.harmless / tilt.exposed) - control * np.log(tilt.control)
    result += (tilt.exposed - tilt.harmless) * _expected(world, installed, np.full(installed.size, at_ms))
    result += (tilt.control - 1) * _expected(world, begun, np.minimum(installed, at_ms))
    return float(np.exp(result))


def _expected(world: World, since: Ints, until: Ints) -> float:
    """Ordinary crashes of hosts between two moments (ms), while they are up."""
    truth, source = world.truth, world.sources[0]
    clock = np.concatenate(([0.0], np.cumsum(source.level))) * MINUTE_MS

    def passed(start: Ints, stop: Ints) -> Floats:
        """Ordinary time, by host."""
        ends = (np.interp(ms / MINUTE_MS, np.arange(clock.size), clock) for ms in (start, np.maximum(start, stop)))
        first, last = ends
        spent: Floats = last - first
        return spent

    host = truth.crash_host
    down = passed(np.maximum(truth.crash_ms, since[host]), np.minimum(truth.back_ms, until[host]))
    return float((source.rate * passed(since, until)).sum() - (source.rate[host] * down).sum())


def limits(crossed: Sequence[int], sizes: Sequence[int]) -> tuple[float, float]:
    """One-sided limits of a rate, at CONFIDENCE, from crossings and rollouts by fleet: Clopper and Pearson's at the
    number of rollouts that would be as telling if they were independent (Korn and Graubard 1998), for what happens to
    a fleet happens to all its rollouts.

    Raises:
        AndonError: when scipy is not installed.
    """
    try:
        from scipy.stats import beta
    except ImportError:
        raise AndonError("scipy is not installed: pip install 'andon[dev]'") from None
    hits, size = np.array(crossed, float), np.array(sizes, float)
    total, fleets = float(size.sum()), len(size)
    rate = float(hits.sum() / total)
    effective = total
    if 0 < rate < 1 and fleets > 1:
        spread = float(((hits - rate * size) ** 2).sum()) / total**2 * fleets / (fleets - 1)
        effective = min(total, rate * (1 - rate) / spread) if spread else total
    hit, missed = rate * effective, (1 - rate) * effective
    low = float(beta.ppf(1 - CONFIDENCE, hit, missed + 1)) if hit > 0 else 0.0
    return low, float(beta.ppf(CONFIDENCE, hit + 1, missed)) if missed > 0 else 1.0


def row(found: Sequence[Tops]) -> dict[str, Any]:
    """The figures of one kind and cut: by level how many rollouts ever reached it, and whether its bound holds: it does
    unless the lower limit of their share is above it."""
    sizes = [len(tops.highest) for tops in found]
    levels = {}
    for level in LEVELS:
        crossed = [sum(bool(top >= np.log10(level)) for top in tops.highest) for tops in found]
        low, high = limits(crossed, sizes)
        levels[str(int(level))] = {
            "bound": 1 / level, "crossed": sum(crossed), "rate": sum(crossed) / sum(sizes),
            "lower_limit_99": round(low, 6), "upper_limit_99": round(high, 6), "holds": low <= 1 / level,
        }  # fmt: skip
    highest = max(max(tops.highest) for tops in found)
    of = {"kind": found[0].kind, "cut_seconds": found[0].cut_seconds, "rollouts": sum(sizes), "fleets": len(found)}
    return {**of, "highest": round(highest, 3), "levels": levels}


def deep_row(found: Sequence[Deep]) -> dict[str, Any]:
    """How often a harmless rollout of a kind gets to each level, by importance sampling, with limits (normal). `holds`
    is None where too few got there to tell, or a few weigh nearly everything."""
    weights = np.array([deep.weights for deep in found])
    mean, error = weights.mean(axis=0), weights.std(axis=0, ddof=1) / np.sqrt(len(found))
    levels = {}
    for place, level in enumerate(DEEP_LEVELS):
        one = weights[:, place]
        low = max(float(mean[place] - 2.33 * error[place]), 0.0)
        telling = float(one.sum() ** 2 / (one**2).sum()) if one.any() else 0.0  # Kish's effective number
        levels[f"{level:.0f}"] = {
            "bound": 1 / level, "rate": float(mean[place]), "lower_limit_99": low,
            "upper_limit_99": float(mean[place] + 2.33 * error[place]), "reached": int((one > 0).sum()),
            "effective": round(telling, 1), "holds": bool(low <= 1 / level) if telling >= FEWEST_REACHED else None,
        }  # fmt: skip
    tilts = [deep.tilt for deep in found]
    of = {"kind": found[0].kind, "fleets": len(found), "tilt": round(float(np.median(tilts)), 1)}
    return {**of, "levels": levels}
