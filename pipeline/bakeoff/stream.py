"""Events as columns into partials, by the combiner's own fold, without an object per event.

What differs from the live path is only that clean trials never were messages; a test compares the partials. A partial
is cut where the backtest cuts: at a host's first crash while the budget for that lasts, else by time.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.bakeoff.crashes import CUT, FRIDAY_MS
from pipeline.bakeoff.folding import ColumnFold
from pipeline.bakeoff.hosts import Ints
from pipeline.bakeoff.spec import REGIONS, SIGNATURES, SYSTEMS
from pipeline.bakeoff.world import CRASH, UNDATED_BOOT, Events, World
from pipeline.combine.admitted import CRASH as DATED
from pipeline.combine.admitted import UNDATED, CrashReport, Rows
from pipeline.combine.hashing import hash_names
from pipeline.wire.cells import HEARTBEAT, place_of
from pipeline.wire.events import MAX_UPDATES, Boot, Crash, Update
from pipeline.wire.partials import Partial
from pipeline.wire.spans import DAY_MS

FLEET = "bakeoff"
LISTED_MS = 7 * DAY_MS
CALM_MS = 60_000  # the longest that a partial spans
CROWDED_MS = 10_000  # and one with a crash in it, when the budget for cuts is spent
EVENTS_PER_CUT = 500
RESERVED_CUTS = 128


class Stream:
    """The partials of a world, in order. `cut_ms`: cut every so often instead, wherever crashes are."""

    def __init__(self, world: World, cut_ms: int = 0) -> None:
        self._world, self._cut_ms, self._forms = world, cut_ms, world.family.telling.spellings
        hosts, size = world.hosts, len(world.hosts.ring)
        self.names = [f"h{number:07d}" for number in range(size)]
        self._hash = hash_names(self.names)  # however they are spelled
        models = world.family.fleet.models
        self._stratum = hosts.stratum(models)
        self._place = np.array([place_of(*self._site(site)) for site in range(world.family.fleet.sites)], np.int64)
        shape = (len(hosts.rings), len(SYSTEMS), models)
        systems = tuple(SYSTEMS)
        usual = [(hosts.rings[ring], systems[system], f"model-{model}") for ring, system, model in np.ndindex(*shape)]
        moved = [(ring, f"{system} (22631.3880)", model) for ring, system, model in usual]
        unknown = [(ring, "", "") for ring in hosts.rings]
        self._strata = tuple((FLEET, *place) for place in (*usual, *moved, *unknown))
        self._installed = world.installs.at + FRIDAY_MS + world.skew_ms
        self._folding = ColumnFold(FLEET, self._strata, world.updates)

    def partials(self) -> Iterator[Partial]:
        """One or more for each cut; `ingested_at_ms` is when (unix ms) its last event arrived."""
        events, first = self._world.events, 0
        for last in self.cuts():
            chunk = Events(*(column[first:last] for column in events))
            yield from self._fold(chunk, first)
            first = last

    def cuts(self) -> Iterator[int]:
        """Where a partial ends: the number of events before."""
        sent, kind, host = self._world.events.sent, self._world.events.kind, self._world.events.host
        if not sent.size:
            return
        if self._cut_ms:
            ends = np.searchsorted(sent, self._edges(sent[0], sent[-1], sent[kind >= CRASH]))
            yield from (int(end) for end in np.unique(np.append(ends, sent.size)) if end)
            return
        crashed = np.flatnonzero(kind >= CRASH)
        _, once = np.unique(host[crashed], return_index=True)
        news = np.zeros(sent.size + 1, np.bool_)
        news[crashed[once]] = True
        candidates = np.union1d(np.flatnonzero(news) + 1, np.searchsorted(sent, np.arange(0, sent[-1], CROWDED_MS)))
        begun, budget, before = 0, float(RESERVED_CUTS), 0
        holds = False
        for place in [*candidates[(candidates > 0) & (candidates < sent.size)].tolist(), sent.size]:
            budget = min(budget + (place - before) / EVENTS_PER_CUT, RESERVED_CUTS)
            before, is_news = place, bool(news[place - 1])
            holds |= is_news
            span = sent[place - 1] - sent[begun]
            due = span >= CALM_MS or (holds and span >= CROWDED_MS)
            if is_news and budget >= 1:
                budget, due = budget - 1, True
            if due or place == sent.size:
                yield place
                begun, holds = place, False

    def _edges(self, first: int, last: int, crashed: Ints) -> Ints:
        """When it is cut (ms). Finer than CALM_MS only around crashes: clean trials alone decide nothing, and their
        counts do not depend on it."""
        edges = np.arange(first, last + self._cut_ms, self._cut_ms)[1:]
        if self._cut_ms >= CALM_MS // 2:
            return edges
        near = np.searchsorted(crashed, edges + CALM_MS // 2) > np.searchsorted(crashed, edges - 2 * CALM_MS)
        chosen: Ints = edges[near | (np.arange(edges.size) % (CALM_MS // self._cut_ms) == 0) | (edges >= last)]
        return chosen

    def _fold(self, chunk: Events, offset: int) -> list[Partial]:
        if not chunk.sent.size:
            return []
        is_clean = chunk.kind <= HEARTBEAT
        clean, crashes = np.flatnonzero(is_clean), np.flatnonzero(~is_clean)
        at = chunk.at + FRIDAY_MS
        counts = self._folding.admit(chunk.kind[clean], at[clean], self._hash[chunk.host[clean]])
        rows = self._rows(chunk, np.concatenate((clean[counts], crashes)))
        reports, now_ms = self._reports(chunk, crashes, offset), int(chunk.sent[-1]) + FRIDAY_MS
        return self._folding.fold(rows, reports, int((~counts).sum()), int(at.max()), now_ms)

    def _rows(self, chunk: Events, kept: Ints) -> Rows:
        host, at, kind = chunk.host[kept], chunk.at[kept] + FRIDAY_MS, chunk.kind[kept]
        # What a report lists is what the host had when it sent it; a crash lists what it had when it crashed.
        event, row = self.listed(host, at, kind)
        listed = np.bincount(event, minlength=kept.size)
        return Rows(
            kind=np.where(kind <= HEARTBEAT, kind, np.where(kind == UNDATED_BOOT, UNDATED, DATED)),
            stratum=self._places(host, at, kind),
            time_ms=at,
            host_hash=self._hash[host],
            place=self._place[self._world.hosts.site[host]],
            listed=listed,
            update=self._world.installs.update[row],
            installed_ms=self._installed[row, host[event]],
        )

    def _places(self, host: Ints, at: Ints, kind: Ints) -> Ints:
        """The stratum that events of these kinds name."""
        telling, places = self._world.family.telling, self._stratum[host]
        usual = (len(self._strata) - len(self._world.hosts.rings)) // 2
        if telling.moving_system:
            places = places + np.where(self._installed[0, host] <= at, usual, 0)
        if telling.bare_crashes:
            places = np.where(kind >= CRASH, 2 * usual + self._world.hosts.ring[host], places)
        return places

    def listed(self, host: Ints, at: Ints, kind: Ints) -> tuple[Ints, Ints]:
        """Which pushes (rows) hosts list at these times (unix ms) in events of these kinds: (place of the host, row),
        MAX_UPDATES of a host."""
        block = self._installed[:, host]
        removed = self._world.installs.removed[:, host] + FRIDAY_MS + self._world.skew_ms[host]
        live = (block <= at) & (block > at - LISTED_MS) & (removed > at)
        if live.shape[0] > MAX_UPDATES:
            raise ValueError(f"{live.shape[0]} pushes: a host lists at most {MAX_UPDATES}")
        if self._world.family.telling.bare_heartbeats:
            live &= kind != HEARTBEAT
        event, row = np.nonzero(live.T)
        return event, row

    def _site(self, site: int) -> tuple[str, str]:
        """Its region and its name, as events have them."""
        return REGIONS[site % len(REGIONS)], "" if self._world.family.telling.nameless_sites else f"site-{site}"

    def _reports(self, chunk: Events, crashes: Ints, offset: int) -> tuple[CrashReport, ...]:
        names = [self.names[host] for host in chunk.host[crashes].tolist()]
        crashed = zip(crashes.tolist(), names, strict=True)
        return tuple(CrashReport(self.crash(chunk, place), name, 0, offset + place) for place, name in crashed)

    def crash(self, chunk: Events, place: int, updates: tuple[Update, ...] = ()) -> Boot | Crash:
        """The event itself, of a crash."""
        host, at = int(chunk.host[place]), int(chunk.at[place]) + FRIDAY_MS
        where = self._places(chunk.host[place : place + 1], chunk.at[place : place + 1] + FRIDAY_MS, chunk.kind[place])
        _, ring, system, model = self._strata[int(where[0])]
        form = 0 if chunk.kind[place] <= HEARTBEAT else place % self._forms
        region, site = self._site(int(self._world.hosts.site[host]))
        common: dict[str, Any] = {
            "v": 1, "id": f"{host}-{place}", "fleet": FLEET, "host": spelled(self.names[host], form), "ring": ring,
            "os": system, "model": model, "region": region, "site": site, "updates": updates,
        }  # fmt: skip
        if chunk.kind[place] == CRASH:
            look = int(chunk.look[place])
            return Crash(**common, ts=at, signature=SIGNATURES[look if look != CUT else 0])
        ended = None if chunk.kind[place] == UNDATED_BOOT else at
        sent = max(int(chunk.sent[place]) + FRIDAY_MS + int(self._world.skew_ms[host]), at)
        return Boot(**common, ts=at if ended is None else sent, prior="crash", prior_ended_at=ended)


def spelled(name: str, form: int) -> str:
    """A host's name as three sources write it."""
    return (name, name.upper(), f"{name}.corp.example")[form]
