"""The hosts of a family and what is installed on them when. Every draw comes from a generator that is handed in."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.bakeoff.spec import EVERYWHERE, REGIONS, SYSTEMS, Family, Fleet, Push, Where
from pipeline.wire.partials import UpdateId
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

NEVER = 1 << 52  # ms: no story lasts so long


class Hosts(NamedTuple):
    """What each host is: codes (H,) of ring, system, model, site; `risk`: its crash rate over that of the fleet's
    ordinary ones; `born` and `gone` in ms since the first event."""

    rings: tuple[str, ...]
    ring: Ints
    system: Ints
    model: Ints
    site: Ints
    trait: Mask
    risk: Floats
    born: Ints
    gone: Ints

    def match(self, where: Where) -> Mask:
        """The hosts that are so."""
        chosen: Mask = np.ones(len(self.ring), np.bool_)
        if where.ring:
            chosen &= self.ring == self.rings.index(where.ring)
        if where.system:
            chosen &= self.system == list(SYSTEMS).index(where.system)
        if where.model:
            chosen &= self.model == int(where.model.rpartition("-")[2])
        if where.region:
            chosen &= self.site % len(REGIONS) == REGIONS.index(where.region)
        if where.site:
            chosen &= self.site == int(where.site.rpartition("-")[2])
        return chosen & self.trait if where.trait else chosen

    def stratum(self, models: int) -> Ints:
        """One number for ring, system and model."""
        number: Ints = (self.ring * len(SYSTEMS) + self.system) * models + self.model
        return number


class Installs(NamedTuple):
    """Pushes as they came about: `update` (P,) numbers the update that each row installs; `at` and `removed` (P, H) in
    ms since the first event, NEVER where it does not."""

    updates: tuple[UpdateId, ...]
    update: Ints
    at: Ints
    removed: Ints


def populate(family: Family, rng: np.random.Generator) -> Hosts:
    """Draw what each host is. A re-imaged host is two: one that goes when the other is born."""
    fleet, end = family.fleet, span_ms(family)
    size = fleet.hosts
    rings, ring = dict(fleet.rings), _rings(fleet, rng)
    system = rng.choice(len(SYSTEMS), size, p=list(SYSTEMS.values()))
    if fleet.zipf:
        model, site = (rng.choice(kinds, size, p=zipf(kinds, fleet.zipf)) for kinds in (fleet.models, fleet.sites))
    else:
        model = np.minimum(rng.exponential(fleet.models / 3, size).astype(np.int64), fleet.models - 1)
        site = rng.integers(0, fleet.sites, size)
    trait = _trait(fleet, model, rng)
    risk = np.where(trait, fleet.trait_risk, 1.0)
    if fleet.model_spread:
        risk = risk * np.exp(fleet.model_spread * rng.standard_normal(fleet.models))[model]
    born, gone = np.zeros(size, np.int64), np.full(size, NEVER)
    hosts = Hosts(tuple(rings), ring, system, model, site, trait, risk, born, gone)
    again = np.flatnonzero(rng.random(size) < fleet.reimaged_share)
    if not again.size:
        return hosts
    when = rng.integers(round(family.warm_hours * HOUR_MS), end, again.size)
    gone[again] = when
    twice = np.concatenate((np.arange(size), again))
    born, gone = np.concatenate((born, when)), np.concatenate((gone, np.full(again.size, NEVER)))
    return Hosts(
        hosts.rings, ring[twice], system[twice], model[twice], site[twice], trait[twice], risk[twice], born, gone
    )


def zipf(kinds: int, power: float) -> Floats:
    """The share of each of so many kinds, the commonest first."""
    weights = np.arange(1, kinds + 1, dtype=np.float64) ** -power
    shares: Floats = weights / weights.sum()
    return shares


def _rings(fleet: Fleet, rng: np.random.Generator) -> Ints:
    """(H,): drawn by their shares, or as many of each as there are to be."""
    sizes = [size for _, size in fleet.rings]
    if sum(sizes) > 1.5:  # numbers
        return rng.permutation(np.repeat(np.arange(len(sizes)), np.array(sizes, np.int64)))
    return rng.choice(len(sizes), fleet.hosts, p=sizes)


def _trait(fleet: Fleet, model: Ints, rng: np.random.Generator) -> Mask:
    if not fleet.trait_in_model:
        return rng.random(len(model)) < fleet.trait_share
    has: Mask = rng.permutation(fleet.models) < round(fleet.trait_share * fleet.models)
    return has[model]


def span_ms(family: Family) -> int:
    """How long a family lasts, its warm-up included."""
    return round((family.warm_hours + family.hours) * HOUR_MS)


def background(family: Family, rng: np.random.Generator) -> list[Push]:
    """Innocent rollouts of all paces and sizes, begun at any time."""
    return [
        Push(
            f"routine-{number}",
            at=float(rng.uniform(-family.warm_hours, family.hours * 0.8)),
            over_minutes=float(np.exp(rng.uniform(np.log(20), np.log(600)))),
            share=float(rng.choice([0.05, 0.2, 0.5, 0.9])),
            where=Where(ring="canary") if number == 1 and "canary" in dict(family.fleet.rings) else EVERYWHERE,
        )
        for number in range(family.background)
    ]


def install(family: Family, pushes: list[Push], hosts: Hosts, rng: np.random.Generator) -> Installs:
    """When each push reaches each host. A push that follows crashes is filled in later, when those are known."""
    updates = dict.fromkeys(UpdateId("vendor", push.product, push.version or "1") for push in pushes)
    number = {update: place for place, update in enumerate(updates)}
    size, names = len(hosts.ring), {push.name: place for place, push in enumerate(pushes)}
    at = np.full((len(pushes), size), NEVER)
    removed = np.full((len(pushes), size), NEVER)
    for row, push in enumerate(pushes):
        start = round((family.warm_hours + push.at) * HOUR_MS)
        if push.after_crash_minutes:
            continue
        if push.with_push:
            leader = at[names[push.with_push]]
            alone = start + (rng.random(size) * push.over_minutes * MINUTE_MS).astype(np.int64)
            after = start - round((family.warm_hours + pushes[names[push.with_push]].at) * HOUR_MS)
            along = np.where((rng.random(size) < push.overlap) & (leader != NEVER), leader + after, NEVER)
            at[row] = np.where(leader != NEVER, along, np.where(rng.random(size) < push.alone, alone, NEVER))
        else:
            at[row] = _own(push, start, hosts, rng)
        late = hosts.born > 0  # what was pushed before is installed half an hour after its birth
        at[row] = np.where(late & (at[row] < hosts.born), hosts.born + 30 * MINUTE_MS, at[row])
        at[row] = np.where(at[row] < hosts.gone, at[row], NEVER)
        if push.removed_at is not None:
            removed[row] = round((family.warm_hours + push.removed_at) * HOUR_MS)
            at[row] = np.where(at[row] < removed[row], at[row], NEVER)
    update = np.array([number[UpdateId("vendor", p.product, p.version or "1")] for p in pushes], np.int64)
    return Installs(tuple(updates), update, at, removed)


def _own(push: Push, start: int, hosts: Hosts, rng: np.random.Generator) -> Ints:
    size = len(hosts.ring)
    delay = np.zeros(size)
    chosen = hosts.match(push.where)
    if push.stages:
        by_ring = np.array([dict(push.stages).get(ring, np.nan) for ring in hosts.rings])[hosts.ring] * HOUR_MS
        chosen, delay = chosen & ~np.isnan(by_ring), np.nan_to_num(by_ring)
    share = np.full(size, push.share)
    if push.trait_share is not None:
        share[hosts.trait] = push.trait_share
    chosen &= rng.random(size) < share
    if push.hosts:
        chosen[np.flatnonzero(chosen)[push.hosts :]] = False
    when = start + delay + rng.random(size) * push.over_minutes * MINUTE_MS
    return np.where(chosen, when.astype(np.int64), NEVER)
