"""How far a comparison with hosts that lack the update can get at best: the limit of who fears a cause common to all.

It knows every share at every moment, and the fault's signature; no history, for what was never seen may begin anywhere.
Against "the update raises no rate by more than is tolerated" a crash that had it is worth 1/p at most, p being a
harmless update's share of the crashes; here all is on one bet, the best one in hindsight. So no rule that compares,
bets alike all along and keeps the same alpha, is sooner.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.bakeoff import crashes as c
from pipeline.bakeoff.contest.oracle import ALPHA, LEAST_HOSTS
from pipeline.bakeoff.hosts import NEVER, Floats, Ints
from pipeline.bakeoff.spec import SYSTEMS, Family
from pipeline.bakeoff.world import CRASH, CRASH_BOOT, TOLERATED, World, make
from pipeline.wire.spans import MINUTE_MS

BETS = np.array([1.5, 2, 2.5, 3, 4, 6, 8, 12, 20, 40, 80, 160, 400, 1024], dtype=np.float64)  # relative risks
SMALLEST_SHARE = 1e-4  # where hardly a host has it, nobody can know how few


class Limit(NamedTuple):
    """Of one fault: hosts that it had crashed when the best bet reached 1/alpha with three of them (all that it ever
    crashed, when it never did), and the highest evidence (log10) that the bet reached until then."""

    family: str
    hosts: int
    push: str
    crashed: int
    found: bool
    highest: float


class Told(NamedTuple):
    """Crashes as they are told, each host's first that looks like the fault: when (ms), whether the host had the
    update, and the share of hosts like it that had."""

    sent: Ints
    exposed: Floats
    share: Floats
    is_named: bool


def limits(families: Sequence[Family], seed: int) -> Iterator[Limit]:
    """Of every fault of these families under a seed."""
    for family in families:
        if not family.is_innocent:
            world = make(family, seed)
            yield from (limit_of(world, row) for row, push in enumerate(world.pushes) if push.fault is not None)


def limit_of(world: World, row: int) -> Limit:
    """Of the fault of one push."""
    update, truth, family = world.installs.update[row], world.truth, world.family
    told = told_of(world, row)
    odds = TOLERATED * told.share
    null = odds / (odds + 1.0 - told.share)
    increments = told.exposed[:, None] * np.log(BETS) - np.log(1.0 + null[:, None] * (BETS - 1.0))
    by_bet = np.cumsum(increments, axis=0).max(axis=1, initial=0.0)
    if told.is_named:  # it never comes without the update: that is the best bet of all
        sure = np.where(told.exposed > 0, -np.log(null), -np.inf)
        by_bet = np.maximum(by_bet, np.cumsum(sure))
    enough = (by_bet >= -np.log(ALPHA)) & (np.cumsum(told.exposed) >= LEAST_HOSTS)
    place = int(enough.argmax()) if enough.any() else len(enough)
    until = int(told.sent[place]) if place < len(enough) else NEVER
    mine = (truth.crash_update == update) & (truth.crash_ms <= until)
    highest = float(by_bet[: place + 1].max(initial=0.0)) / np.log(10.0)
    crashed = len(np.unique(truth.crash_host[mine]))
    return Limit(family.name, family.fleet.hosts, world.pushes[row].name, crashed, until < NEVER, highest)


def told_of(world: World, row: int) -> Told:
    """What is told of crashes that look like the fault of one push."""
    family, installs = world.family, world.installs
    fault = world.pushes[row].fault
    assert fault is not None, "asked of guilty pushes only"
    rows = np.flatnonzero(installs.update == installs.update[row])
    is_named = fault.signature is not None and family.telling.by in ("both", "crash")
    chosen = np.isin(world.events.kind, (CRASH, CRASH_BOOT))  # undated ones speak for no update
    if is_named:
        chosen &= np.isin(world.events.look, c.looks_of(fault, world.sources[0])[0])
    host = world.events.host[chosen]
    _, first = np.unique(host, return_index=True)  # events come in the order in which they are told
    first = np.sort(first)
    host, sent = host[first], world.events.sent[chosen][first]
    at = np.maximum(world.events.at[chosen][first] - world.skew_ms[host], 0)
    had = ((installs.at[rows][:, host] <= at) & (at < installs.removed[rows][:, host])).any(axis=0)
    stratum = world.hosts.stratum(family.fleet.models)
    share = _shares(world, rows, stratum)[np.minimum(at // MINUTE_MS, _minutes(world)), stratum[host]]
    compared = had | (share > 0)
    share = np.clip(share, SMALLEST_SHARE, 1.0)
    return Told(sent[compared], had[compared].astype(np.float64), share[compared], is_named)


def _minutes(world: World) -> int:
    return int(world.events.sent.max()) // MINUTE_MS + 1


def _shares(world: World, rows: Ints, stratum: Ints) -> Floats:
    """(minutes + 1, strata) share of the hosts that have what these rows install."""
    fleet, last = world.family.fleet, _minutes(world)
    strata = len(world.hosts.rings) * len(SYSTEMS) * fleet.models
    changes = np.zeros((last + 1, strata))
    for row in rows:
        for when, step in ((world.installs.at[row], 1.0), (world.installs.removed[row], -1.0)):
            real = (when < NEVER) & (world.installs.at[row] < NEVER)
            minute = np.clip(when[real] // MINUTE_MS, 0, last)
            np.add.at(changes, (minute, stratum[real]), step)
    hosts = np.maximum(np.bincount(stratum, minlength=strata), 1)
    result: Floats = np.clip(np.cumsum(changes, axis=0) / hosts, 0.0, 1.0)
    return result
