"""From events to arrays: what the fold needs of each event, taken out while the event is still in the cache. Pure.

Hosts, times and fleets are read of every event; strata and updates only of those that admission lets count.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate, chain, compress
from operator import ne
from typing import NamedTuple

import numpy as np

from pipeline.combine.admit import Bools, trial_keys
from pipeline.combine.admitted import UNDATED, Admitted, CrashReport, Ints, Names, Part, Rows, own_numbers, products_of
from pipeline.combine.hashing import Hashes, hash_names
from pipeline.combine.listing import Index, Updates, integers
from pipeline.combine.noting import Noting, furthest
from pipeline.wire.cells import BOOT, HEARTBEAT, place_of
from pipeline.wire.events import LATEST_MS, MAX_SKEW_MS, AnyEvent, Boot, Heartbeat
from pipeline.wire.hosts import HostNames
from pipeline.wire.mending import Mends
from pipeline.wire.noted import Noted

Position = Callable[[int], tuple[int, int]]  # of the event's index: its Kafka partition and offset


class Trials(NamedTuple):
    """Clean trials on their way to admission, one entry each; `keys` hash (fleet, host, kind). They come in batches
    that end at `ends`."""

    events: list[Boot | Heartbeat]
    kind: Ints
    time_ms: Ints
    fleet: Ints
    host_hash: Hashes
    keys: Hashes
    part: Ints
    ends: Sequence[int]


class _Sealed(NamedTuple):
    """Trials that wait for admission, boots before heartbeats."""

    events: list[Boot | Heartbeat]
    boots: int
    hosts: Sequence[str]
    fleet: list[int]
    times_ms: list[int]
    part: int


class _OpenPart:
    """What is known of a part beside its rows; `fleets` in order of first appearance."""

    def __init__(self) -> None:
        self.fleets: dict[int, None] = {}
        self.crashes: list[CrashReport] = []
        self.noting = Noting()
        self.newest_ms = 0


class Gather:
    """Takes events apart. Clean trials keep their order within a kind, and that is all that matters of it. From here on
    a host has one name, however it is spelled."""

    def __init__(self, hosts: HostNames | None = None) -> None:
        self._hosts = hosts or HostNames()
        self._fleets: Index[str] = Index()
        self._strata: Index[tuple[str, ...]] = Index()
        self._updates = Updates()
        self._boots: list[Boot] = []
        self._heartbeats: list[Heartbeat] = []
        self._sealed: list[_Sealed] = []
        self._kept: list[Rows] = []
        self._counted: list[tuple[Ints, Ints, Bools]] = []  # of clean trials: part, fleet, whether it counts
        self._parts = [_OpenPart()]
        self._is_cut = False

    @property
    def waiting(self) -> int:
        """Clean trials of the open part that may still change their order."""
        return len(self._boots) + len(self._heartbeats)

    @property
    def sealed(self) -> int:
        """Clean trials that have not been taken yet, beside those."""
        return sum([len(sealed.events) for sealed in self._sealed])

    def add(self, events: Sequence[AnyEvent], position: Position) -> None:
        """Take in events."""
        boots, heartbeats, crashes = self._boots, self._heartbeats, self._open().crashes
        for index, event in enumerate(events):
            if type(event) is Heartbeat:
                heartbeats.append(event)
            elif type(event) is Boot and event.prior != "crash":
                boots.append(event)
            else:
                assert not isinstance(event, Heartbeat)
                crashes.append(CrashReport(event, self._hosts.one(event.host), *position(index)))

    def note(self, fleet: str, mends: Mends) -> None:
        """What was mended in an event of this fleet."""
        part = self._open()
        part.fleets[self._fleets[fleet]] = None  # has a place from now on
        part.noting.count(fleet, mends)

    def note_clock(self, fleet: str, host: str, ahead_ms: int) -> None:
        """An event was refused: its host's clock is ahead."""
        part = self._open()
        part.fleets[self._fleets[fleet]] = None
        part.noting.clock_ahead(fleet, self._hosts.one(host), ahead_ms)

    def cut(self) -> None:
        """What comes from now on goes into another partial."""
        self._open()
        self.seal()
        self._is_cut = True

    def seal(self) -> None:
        """The trials that wait are taken as they are, before any that come."""
        if not self.waiting:
            return
        events: list[Boot | Heartbeat] = [*self._boots, *self._heartbeats]
        boots, self._boots, self._heartbeats = len(self._boots), [], []
        part, fleets = self._parts[-1], self._fleets
        fleet, times_ms = [fleets[event.fleet] for event in events], [event.ts for event in events]
        part.fleets |= dict.fromkeys(fleet)
        part.newest_ms = max(part.newest_ms, *times_ms)
        spelled = [event.host for event in events]
        hosts = self._hosts.of(spelled)
        if hosts is not spelled:
            changed = np.fromiter(map(ne, spelled, hosts), np.bool_, len(spelled))
            counts = np.bincount(integers(fleet)[changed], minlength=len(fleets)).tolist()
            for name, times in zip(fleets, counts, strict=True):
                _count_respelled(part.noting, name, times)
        self._sealed.append(_Sealed(events, boots, hosts, fleet, times_ms, len(self._parts) - 1))

    def take_trials(self) -> Trials:
        """The clean trials since the last call; `keep` is told which of them count."""
        self.seal()
        sealed, self._sealed = self._sealed, []
        sizes = integers([size for each in sealed for size in (each.boots, len(each.events) - each.boots)])
        kind = np.repeat(integers([BOOT, HEARTBEAT] * len(sealed)), sizes)
        fleet = integers([*chain.from_iterable([each.fleet for each in sealed])])
        host_hash = hash_names([*chain.from_iterable([each.hosts for each in sealed])])
        return Trials(
            events=[*chain.from_iterable([each.events for each in sealed])],
            kind=kind,
            time_ms=integers([*chain.from_iterable([each.times_ms for each in sealed])]),
            fleet=fleet,
            host_hash=host_hash,
            keys=trial_keys(_hashes_of(tuple(self._fleets))[fleet], host_hash, kind.astype(np.uint64)),
            part=np.repeat(integers([each.part for each in sealed]), integers([len(each.events) for each in sealed])),
            ends=[*accumulate([len(each.events) for each in sealed])],
        )

    def keep(self, trials: Trials, counts: Bools) -> None:
        """Those of the trials that count go on as rows; the others are only counted."""
        self._counted.append((trials.part, trials.fleet, counts))
        events = list(compress(trials.events, counts.tolist()))
        rows = self._rows(events, trials.kind[counts], trials.time_ms[counts], trials.host_hash[counts])
        self._kept.append(rows)
        self._look_at_clocks(events, rows, trials.part[counts])

    def admitted(self) -> Admitted:
        """Everything that was kept, and every crash."""
        reports = [report for part in self._parts for report in part.crashes]
        events = [report.event for report in reports]
        kind, time_ms = np.array([report.moment for report in reports], np.int64).reshape(-1, 2).T
        hashes = hash_names([report.host for report in reports])
        rows = Rows(*map(np.concatenate, zip(*self._kept, self._rows(events, kind, time_ms, hashes), strict=True)))
        for part in self._parts:
            for report in part.crashes:
                part.fleets[self._fleets[report.event.fleet]] = None
                part.newest_ms = max(part.newest_ms, report.moment[1])
                _count_respelled(part.noting, report.event.fleet, report.event.host != report.host)
        return self._by_part(rows, self._totals(kind == UNDATED))

    def _totals(self, undated: Bools) -> Ints:
        """(3, parts, fleets) events, repeats and undated crashes; the latter are told of each crash."""
        fleets, places = len(self._fleets), len(self._parts) * len(self._fleets)
        crashes = [(at, report.event.fleet) for at, part in enumerate(self._parts) for report in part.crashes]
        crashed = integers([at * fleets + self._fleets[fleet] for at, fleet in crashes])
        totals = np.zeros((3, places), np.int64)
        totals[0] += np.bincount(crashed, minlength=places)
        totals[2] += np.bincount(crashed[undated], minlength=places)
        for part, fleet, counts in self._counted:
            totals[0] += np.bincount(part * fleets + fleet, minlength=places)
            totals[1] += np.bincount((part * fleets + fleet)[~counts], minlength=places)
        return totals.reshape(3, len(self._parts), fleets)

    def _by_part(self, rows: Rows, totals: Ints) -> Admitted:
        """With the numbers that names have in each part."""
        fleets, strata, updates = tuple(self._fleets), tuple(self._strata), tuple(self._updates)
        clean = np.zeros(len(self._parts), np.int64)
        for part, _, counts in self._counted:
            clean += np.bincount(part[counts], minlength=len(clean))
        product = products_of(updates)[rows.update] if updates else rows.update
        named = [Names(fleets, strata, updates)]
        if len(self._parts) > 1:
            part = np.concatenate([np.repeat(np.arange(len(clean)), n) for n in (clean, self._crashes_of_parts())])
            own, strata_of = own_numbers(part, rows.stratum, len(clean), len(strata))
            listed, updates_of = own_numbers(np.repeat(part, rows.listed), rows.update, len(clean), len(updates))
            rows = rows._replace(stratum=own, update=listed)
            named = [
                Names(
                    tuple([fleets[number] for number in each.fleets]),
                    tuple([strata[number] for number in strata_of[at]]),
                    tuple([updates[number] for number in updates_of[at]]),
                )
                for at, each in enumerate(self._parts)
            ]
        of = [
            Part(named[at], n, tuple(each.crashes), totals[:, at, list(each.fleets)], each.newest_ms, each.noting)
            for at, (each, n) in enumerate(zip(self._parts, clean.tolist(), strict=True))
        ]
        return Admitted(rows, product, tuple(of))

    def _crashes_of_parts(self) -> list[int]:
        return [len(part.crashes) for part in self._parts]

    def _open(self) -> _OpenPart:
        if self._is_cut:
            self._parts.append(_OpenPart())
            self._is_cut = False
        return self._parts[-1]

    def _look_at_clocks(self, events: Sequence[AnyEvent], rows: Rows, part: Ints) -> None:
        """A host that is up and lists what is installed only later has a clock, or a time zone, that is ahead. A crash
        is no such sign: it is reported later, with what came after it."""
        if rows.installed_ms.max(initial=0) <= rows.time_ms.min(initial=LATEST_MS) + MAX_SKEW_MS:
            return
        ahead_ms = rows.installed_ms - np.repeat(rows.time_ms, rows.listed)
        if ahead_ms.max() <= MAX_SKEW_MS:
            return
        worst = furthest(rows.listed.size, np.repeat(np.arange(rows.listed.size), rows.listed), ahead_ms)
        for place in np.flatnonzero(worst > MAX_SKEW_MS).tolist():
            event, noting = events[place], self._parts[part[place]].noting
            noting.clock_ahead(event.fleet, self._hosts.one(event.host), int(worst[place]))

    def _rows(self, events: Sequence[AnyEvent], kind: Ints, time_ms: Ints, host_hash: Hashes) -> Rows:
        strata = self._strata
        listed, update, installed_ms = self._updates.listed([event.updates for event in events])
        return Rows(
            kind=kind,
            stratum=integers([strata[event.fleet, event.ring, event.os, event.model] for event in events]),
            time_ms=time_ms,
            host_hash=host_hash,
            place=integers([place_of(event.region, event.site) for event in events]),
            listed=listed,
            update=update,
            installed_ms=installed_ms,
        )


def _count_respelled(noting: Noting, fleet: str, times: int) -> None:
    if times:
        noting.count(fleet, {Noted.HOST_RESPELLED: int(times)})


@lru_cache(maxsize=64)
def _hashes_of(fleets: tuple[str, ...]) -> Hashes:
    """Batch after batch they are the same."""
    return hash_names(fleets)
