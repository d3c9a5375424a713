"""From events to arrays: what the fold needs of each event, taken out while the event is still in the cache. Pure.

Hosts, times and fleets are read of every event; strata and updates only of those that admission lets count.
"""

from collections.abc import Callable, Sequence
from itertools import chain, compress
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.combine.admit import Admission, trial_keys
from pipeline.combine.hashing import Hashes, hash_names
from pipeline.wire.cells import BOOT, HEARTBEAT
from pipeline.wire.events import AnyEvent, Boot, Crash, Heartbeat

Ints = npt.NDArray[np.int64]
Position = Callable[[int], tuple[int, int]]  # of the event's index: its Kafka partition and offset
Name = TypeVar("Name", str, tuple[str, ...])

CRASH, UNDATED = 2, 3  # kinds of a row beside BOOT and HEARTBEAT

_EVENTS_AT_ONCE = 1024  # fewer do not pay for the calls into numpy; more leave the cache before they are read


class Index(dict[Name, int]):
    """Numbers for names, in order of first appearance."""

    def __missing__(self, name: Name) -> int:
        self[name] = number = len(self)
        return number


class Rows(NamedTuple):
    """Trials that count and crashes, one entry each; the updates that they list stand in the last two, in order."""

    kind: Ints
    stratum: Ints
    time_ms: Ints
    host_hash: Hashes
    listed: Ints  # how many updates
    update: Ints
    installed_ms: Ints


class CrashSource(NamedTuple):
    """A crash as it was read."""

    event: Boot | Crash
    partition: int
    offset: int

    @property
    def moment(self) -> tuple[int, int]:
        """CRASH or UNDATED, and when (unix ms): a boot tells of a crash before it."""
        if not isinstance(self.event, Boot):
            return CRASH, self.event.ts
        if self.event.prior_ended_at is None:
            return UNDATED, self.event.ts
        return CRASH, min(self.event.prior_ended_at, self.event.ts)


class Gather:
    """Takes events apart. Clean trials keep their order within a kind, and that is all that matters of it."""

    def __init__(self, admission: Admission | None) -> None:
        self.fleets: Index[str] = Index()
        self.strata: Index[tuple[str, ...]] = Index()
        self.updates: Index[tuple[str, ...]] = Index()
        self.newest_ms = 0
        self.rows = 0  # taken apart since the last call to `take`
        self._admission = admission
        self._boots: list[Boot] = []
        self._heartbeats: list[Heartbeat] = []
        self._crashes: list[CrashSource] = []
        self._rows: list[Rows] = []
        self._tallies: list[tuple[Ints, Ints]] = []  # fleets, and their events, repeats, undated

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
                self._crashes.append(CrashSource(event, *position(index)))
        if len(boots) + len(heartbeats) >= _EVENTS_AT_ONCE:
            self._take_clean()

    def take(self) -> tuple[Rows, list[CrashSource], list[tuple[Ints, Ints]]] | None:
        """Everything since the last call: rows (the last ones are the crashes, in order), crashes and tallies."""
        self._take_clean()
        crashes = self._crashes
        if crashes:
            self._take_crashes(crashes)
        if not self._tallies:
            return None
        rows = Rows(*(np.concatenate(columns) for columns in zip(*self._rows, strict=True)))
        taken = rows, crashes, self._tallies
        self._crashes, self._rows, self._tallies, self.rows = [], [], [], 0
        return taken

    def _take_clean(self) -> None:
        clean: list[Boot | Heartbeat] = [*self._boots, *self._heartbeats]
        if not clean:
            return
        kind = np.repeat((BOOT, HEARTBEAT), (len(self._boots), len(self._heartbeats)))
        self._boots, self._heartbeats = [], []
        time_ms = _integers([event.ts for event in clean])
        host_hash = hash_names([event.host for event in clean])
        fleets = self.fleets
        fleet = _integers([fleets[event.fleet] for event in clean])
        counts = self._admit(fleet, host_hash, kind, time_ms)
        self._tally(fleet, repeats=fleet[~counts])
        counted = list(compress(clean, counts.tolist()))
        self._append(counted, kind[counts], time_ms[counts], host_hash[counts])
        self.newest_ms = max(self.newest_ms, int(time_ms.max()))

    def _admit(self, fleet: Ints, host_hash: Hashes, kind: Ints, time_ms: Ints) -> npt.NDArray[np.bool_]:
        if self._admission is None:
            return np.ones(fleet.size, np.bool_)
        keys = trial_keys(hash_names(list(self.fleets))[fleet], host_hash, kind.astype(np.uint64))
        return self._admission.admit(keys, time_ms)

    def _take_crashes(self, crashes: list[CrashSource]) -> None:
        events = [source.event for source in crashes]
        kind, time_ms = np.array([source.moment for source in crashes], np.int64).T
        fleet = _integers([self.fleets[event.fleet] for event in events])
        self._tally(fleet, undated=fleet[kind == UNDATED])
        self._append(events, kind, time_ms, hash_names([event.host for event in events]))
        self.newest_ms = max(self.newest_ms, int(time_ms.max()))

    def _tally(self, fleet: Ints, **special: Ints) -> None:
        size = len(self.fleets)
        sums = [np.bincount(special.get(name, fleet[:0]), minlength=size) for name in ("repeats", "undated")]
        self._tallies.append((np.arange(size)[None, :], np.stack((np.bincount(fleet, minlength=size), *sums))))

    def _append(self, events: Sequence[AnyEvent], kind: Ints, time_ms: Ints, host_hash: Hashes) -> None:
        self.rows += len(events)
        strata, updates = self.strata, self.updates
        listed = [event.updates for event in events]
        flat = list(chain.from_iterable(listed))
        self._rows.append(
            Rows(
                kind=kind,
                stratum=_integers([strata[event.fleet, event.ring, event.os, event.model] for event in events]),
                time_ms=time_ms,
                host_hash=host_hash,
                listed=_integers(list(map(len, listed))),
                update=_integers([updates[update.vendor, update.product, update.version] for update in flat]),
                installed_ms=_integers([update.installed_at for update in flat]),
            )
        )


def _integers(numbers: list[int]) -> Ints:
    return np.fromiter(numbers, np.int64, len(numbers))  # array() would look at each number twice
