"""What of a null fleet is not heard of: machines that are off at night, and reports that are lost for a time. Pure."""

from collections.abc import Callable

import numpy as np

from pipeline.bakeoff.hosts import Mask, span_ms
from pipeline.bakeoff.spec import REGIONS
from pipeline.bakeoff.world import Events, World
from pipeline.wire.spans import DAY_MS, HOUR_MS

OFFICE_MODELS = 2  # of machines that people switch off
EVENING, MORNING = 18.0, 8.0  # o'clock, on average
PAUSES_A_DAY, PAUSE_HOURS = 0.15, 3.0  # of any machine of the first model, and as often again of each further one

Draw = np.random.Generator


def quieted(world: World, kind: str) -> World:
    """The world as it is heard of, if its kind is about that."""
    if kind not in _LOST:
        return world
    rng = np.random.default_rng([world.seed, *kind.encode(), 1])
    lost = _LOST[kind](world, rng) | _pausing(world, rng)
    return world._replace(events=Events(*(column[~lost] for column in world.events)))


def _at_night(world: World, rng: Draw) -> Mask:
    """Each host's evening comes when it usually does, to within a quarter of an hour."""
    size, events = len(world.hosts.ring), world.events
    evening, morning = rng.normal(EVENING, 1.0, size), rng.normal(MORNING, 0.5, size)
    hour = events.sent % DAY_MS / HOUR_MS
    off = (hour >= evening[events.host] + rng.uniform(-0.25, 0.25, hour.size)) | (hour < morning[events.host])
    result: Mask = off & (world.hosts.model[events.host] < OFFICE_MODELS)
    return result


def _pausing(world: World, rng: Draw) -> Mask:
    """Machines that are off for some hours at any time, those of some models oftener than others."""
    events, hosts, end = world.events, world.hosts, span_ms(world.family)
    count = rng.poisson(PAUSES_A_DAY * (1 + hosts.model) * end / DAY_MS)
    host = np.repeat(np.arange(count.size), count)
    start = rng.integers(0, end, host.size)
    stop = start + (rng.exponential(PAUSE_HOURS, host.size) * HOUR_MS).astype(np.int64)
    order = np.lexsort((events.sent, events.host))
    key = events.host[order] * (1 << 40) + events.sent[order]
    first, last = (np.searchsorted(key, host * (1 << 40) + at) for at in (start, stop))
    lost = np.zeros(events.sent.size, np.bool_)
    for low, high in zip(first.tolist(), last.tolist(), strict=True):
        lost[order[low:high]] = True
    return lost


def _cut_off(world: World, rng: Draw) -> Mask:
    """For a quarter of an hour to three hours; of whom is drawn."""
    events, hosts = world.events, world.hosts
    start = round((world.family.warm_hours + rng.uniform(0.5, 2.0)) * HOUR_MS)
    lasts = round(np.exp(rng.uniform(np.log(0.25), np.log(3.0))) * HOUR_MS)
    site, region = hosts.site == rng.integers(hosts.site.max() + 1), hosts.site % len(REGIONS) == 0
    where = (site, region, np.ones(len(hosts.ring), np.bool_))[rng.integers(3)]
    some = rng.random(len(hosts.ring)) < rng.choice([0.2, 0.4, 1.0])
    result: Mask = (events.sent >= start) & (events.sent < start + lasts) & (where & some)[events.host]
    return result


_LOST: dict[str, Callable[[World, Draw], Mask]] = {"night": _at_night, "unheard": _cut_off}
