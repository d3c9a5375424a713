"""From events to arrays: what the fold needs of each event, taken out while the event is still in the cache. Pure.

Hosts, times and fleets are read of every event; strata and updates only of those that admission lets count.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain, compress
from operator import attrgetter, ne
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.combine.admit import Bools, trial_keys
from pipeline.combine.hashing import Hashes, hash_names
from pipeline.combine.noting import Noting, furthest
from pipeline.wire.cells import BOOT, HEARTBEAT
from pipeline.wire.decode import moment_of
from pipeline.wire.events import LATEST_MS, MAX_SKEW_MS, AnyEvent, Boot, Crash, Heartbeat
from pipeline.wire.hosts import HostNames
from pipeline.wire.listed import Listed, UpdateNames, columns_of
from pipeline.wire.mending import Mends
from pipeline.wire.noted import Noted

Ints = npt.NDArray[np.int64]
Position = Callable[[int], tuple[int, int]]  # of the event's index: its Kafka partition and offset
Name = TypeVar("Name", str, tuple[str, ...])

_name, _installed_at = attrgetter("vendor", "product", "version"), attrgetter("installed_at")
CRASH, UNDATED = 2, 3  # kinds of a row beside BOOT and HEARTBEAT


class Index(dict[Name, int]):
    """Numbers for names, in order of first appearance."""

    def __missing__(self, name: Name) -> int:
        self[name] = number = len(self)
        return number


class Trials(NamedTuple):
    """Clean trials on their way to admission, one entry each; `keys` hash (fleet, host, kind)."""

    events: list[Boot | Heartbeat]
    kind: Ints
    time_ms: Ints
    fleet: Ints
    host_hash: Hashes
    keys: Hashes


class Rows(NamedTuple):
    """Trials that count and crashes, one entry each; the updates that they list stand in the last two, in order."""

    kind: Ints
    stratum: Ints
    time_ms: Ints
    host_hash: Hashes
    listed: Ints  # how many updates
    update: Ints
    installed_ms: Ints


class CrashReport(NamedTuple):
    """A crash as it was read, and the host that it counts for."""

    event: Boot | Crash
    host: str
    partition: int
    offset: int

    @property
    def moment(self) -> tuple[int, int]:
        """CRASH or UNDATED, and when (unix ms): a boot tells of a crash before it."""
        undated = isinstance(self.event, Boot) and self.event.prior_ended_at is None
        return UNDATED if undated else CRASH, moment_of(self.event)


class Names(NamedTuple):
    """What numbers stand for: the place of a name is its number."""

    fleets: tuple[str, ...]
    strata: tuple[tuple[str, ...], ...]  # fleet, ring, operating system, model
    updates: tuple[tuple[str, ...], ...]  # vendor, product, version


class Admitted(NamedTuple):
    """A batch after admission. The last rows are the crashes, in order; `totals` (3, fleets) are events, repeats and
    undated crashes; `newest_ms` is the latest time of all events, 0 without any; `noting` what was noted about them."""

    rows: Rows
    crashes: tuple[CrashReport, ...]
    names: Names
    totals: Ints
    newest_ms: int
    noting: Noting

    @property
    def clean(self) -> int:
        """How many rows are clean trials."""
        return self.rows.kind.size - len(self.crashes)


class Gather:
    """Takes events apart. Clean trials keep their order within a kind, and that is all that matters of it. From here on
    a host has one name, however it is spelled."""

    def __init__(self, hosts: HostNames | None = None) -> None:
        self._hosts = hosts or HostNames()
        self._fleets: Index[str] = Index()
        self._strata: Index[tuple[str, ...]] = Index()
        self._updates: Index[tuple[str, ...]] = Index()
        self._own = np.zeros(0, np.int64)  # numbers for those of `_known`: -1 where it has none yet
        self._known: UpdateNames | None = None
        self._newest_ms = 0
        self._boots: list[Boot] = []
        self._heartbeats: list[Heartbeat] = []
        self._crashes: list[CrashReport] = []
        self._kept: list[Rows] = []
        self._counted: list[tuple[Ints, Ints]] = []  # by fleet: clean trials, and those that were repeats
        self._noting = Noting()

    @property
    def waiting(self) -> int:
        """Clean trials that have not been taken yet."""
        return len(self._boots) + len(self._heartbeats)

    def add(self, events: Sequence[AnyEvent], position: Position) -> None:
        """Take in events."""
        boots, heartbeats = self._boots, self._heartbeats
        for index, event in enumerate(events):
            if type(event) is Heartbeat:
                heartbeats.append(event)
            elif type(event) is Boot and event.prior != "crash":
                boots.append(event)
            else:
                assert not isinstance(event, Heartbeat)
                self._crashes.append(CrashReport(event, self._hosts.one(event.host), *position(index)))

    def note(self, fleet: str, mends: Mends) -> None:
        """What was mended in an event of this fleet."""
        self._fleets[fleet]  # has a place from now on
        self._noting.count(fleet, mends)

    def note_clock(self, fleet: str, host: str, ahead_ms: int) -> None:
        """An event was refused: its host's clock is ahead."""
        self._fleets[fleet]
        self._noting.clock_ahead(fleet, self._hosts.one(host), ahead_ms)

    def take_trials(self) -> Trials:
        """The clean trials since the last call; `keep` is told which of them count."""
        events: list[Boot | Heartbeat] = [*self._boots, *self._heartbeats]
        kind = np.repeat((BOOT, HEARTBEAT), (len(self._boots), len(self._heartbeats)))
        self._boots, self._heartbeats = [], []
        fleets = self._fleets
        fleet = _integers([fleets[event.fleet] for event in events])
        spelled = [event.host for event in events]
        hosts = self._hosts.of(spelled)
        if hosts is not spelled:
            changed = np.fromiter(map(ne, spelled, hosts), np.bool_, len(spelled))
            for name, times in zip(fleets, np.bincount(fleet[changed], minlength=len(fleets)).tolist(), strict=True):
                self._count_respelled(name, times)
        host_hash = hash_names(hosts)
        keys = trial_keys(_hashes_of(tuple(fleets))[fleet], host_hash, kind.astype(np.uint64))
        return Trials(events, kind, _integers([event.ts for event in events]), fleet, host_hash, keys)

    def keep(self, trials: Trials, counts: Bools) -> None:
        """Those of the trials that count go on as rows; the others are only counted."""
        fleets = len(self._fleets)
        repeats = np.bincount(trials.fleet[~counts], minlength=fleets)
        self._counted.append((np.bincount(trials.fleet, minlength=fleets), repeats))
        events = list(compress(trials.events, counts.tolist()))
        rows = self._rows(events, trials.kind[counts], trials.time_ms[counts], trials.host_hash[counts])
        self._kept.append(rows)
        self._look_at_clocks(events, rows)
        self._newest_ms = max(self._newest_ms, int(trials.time_ms.max(initial=0)))

    def admitted(self) -> Admitted:
        """Everything that was kept, and every crash."""
        crashes = tuple(self._crashes)
        events = [report.event for report in crashes]
        kind, time_ms = np.array([report.moment for report in crashes], np.int64).reshape(-1, 2).T
        fleet = _integers([self._fleets[event.fleet] for event in events])
        for report in crashes:
            self._count_respelled(report.event.fleet, report.event.host != report.host)
        parts = [*self._kept, self._rows(events, kind, time_ms, hash_names([report.host for report in crashes]))]
        return Admitted(
            rows=Rows(*map(np.concatenate, zip(*parts, strict=True))),
            crashes=crashes,
            names=Names(tuple(self._fleets), tuple(self._strata), tuple(self._updates)),
            totals=self._totals(fleet, fleet[kind == UNDATED]),
            newest_ms=max(self._newest_ms, int(time_ms.max(initial=0))),
            noting=self._noting,
        )

    def _look_at_clocks(self, events: Sequence[AnyEvent], rows: Rows) -> None:
        """A host that is up and lists what is installed only later has a clock, or a time zone, that is ahead. A crash
        is no such sign: it is reported later, with what came after it."""
        if rows.installed_ms.max(initial=0) <= rows.time_ms.min(initial=LATEST_MS) + MAX_SKEW_MS:
            return
        owner = np.repeat(np.arange(rows.listed.size), rows.listed)
        worst = furthest(rows.listed.size, owner, rows.installed_ms - rows.time_ms[owner])
        for place in np.flatnonzero(worst > MAX_SKEW_MS).tolist():
            event = events[place]
            self._noting.clock_ahead(event.fleet, self._hosts.one(event.host), int(worst[place]))

    def _count_respelled(self, fleet: str, times: int) -> None:
        if times:
            self._noting.count(fleet, {Noted.HOST_RESPELLED: int(times)})

    def _totals(self, crashes: Ints, undated: Ints) -> Ints:
        totals = np.zeros((3, len(self._fleets)), np.int64)
        totals[0] = np.bincount(crashes, minlength=len(self._fleets))
        totals[2] = np.bincount(undated, minlength=len(self._fleets))
        for counted in self._counted:
            totals[:2, : counted[0].size] += counted
        return totals

    def _rows(self, events: Sequence[AnyEvent], kind: Ints, time_ms: Ints, host_hash: Hashes) -> Rows:
        strata = self._strata
        listed, update, installed_ms = self._listed([event.updates for event in events])
        return Rows(
            kind=kind,
            stratum=_integers([strata[event.fleet, event.ring, event.os, event.model] for event in events]),
            time_ms=time_ms,
            host_hash=host_hash,
            listed=listed,
            update=update,
            installed_ms=installed_ms,
        )

    def _listed(self, lists: Sequence[Any]) -> tuple[Ints, Ints, Ints]:
        """How many updates each of the lists has; the updates' numbers and times, one list after the other."""
        names = next((each.names for each in lists if type(each) is Listed), None)
        if names is not None:
            lists = [each if type(each) is Listed and each.names is names else _columns(each, names) for each in lists]
            numbers = np.frombuffer(b"".join([each.numbers for each in lists]), np.int64)
            installed_ms = np.frombuffer(b"".join([each.installed_ms for each in lists]), np.int64)
            sizes = _integers([len(each.numbers) for each in lists]) // numbers.itemsize
            return sizes, self._numbered(names, numbers), installed_ms
        flat = list(chain.from_iterable(lists))
        return (
            _integers(list(map(len, lists))),
            np.fromiter(map(self._updates.__getitem__, map(_name, flat)), np.int64, len(flat)),
            np.fromiter(map(_installed_at, flat), np.int64, len(flat)),
        )

    def _numbered(self, names: UpdateNames, numbers: Ints) -> Ints:
        """The numbers that `names` has, as ours; who has none yet gets one in order of first appearance."""
        if self._known is not names:
            self._known, self._own = names, np.zeros(0, np.int64)
        if self._own.size < len(names):
            self._own = np.concatenate((self._own, np.full(len(names) - self._own.size, -1)))
        fresh = np.flatnonzero(self._own[numbers] < 0)
        if fresh.size:
            first = np.full(len(names), numbers.size)
            np.minimum.at(first, numbers[fresh], fresh)
            for number in numbers[np.sort(first[first < numbers.size])].tolist():
                self._own[number] = self._updates[names.in_order[number]]
        own: Ints = self._own[numbers]
        return own


def _columns(listed: Any, names: UpdateNames) -> Listed:
    """A list that was read just now, or before `names` began."""
    return columns_of(listed.updates() if isinstance(listed, Listed) else listed, names)


@lru_cache(maxsize=64)
def _hashes_of(fleets: tuple[str, ...]) -> Hashes:
    """Batch after batch they are the same."""
    return hash_names(fleets)


def _integers(numbers: list[int]) -> Ints:
    return np.fromiter(numbers, np.int64, len(numbers))  # array() would look at each number twice
