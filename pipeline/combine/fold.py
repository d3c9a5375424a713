"""The fold: events of one micro-batch become counts, crashes and samples. Pure; associative and commutative.

Every cell carries its event-time bucket, so how the stream was cut into batches does not show in the sums.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.combine.admit import Admission
from pipeline.combine.emit import partials_of
from pipeline.combine.exposure import EXCLUDED, NEITHER, Columns, Exposure, columns_of
from pipeline.combine.gather import UNDATED, CrashSource, Gather, Index, Name, Position
from pipeline.combine.hashing import Hashes
from pipeline.combine.tally import Tally, count_flagged, count_rows
from pipeline.wire.events import AnyEvent, Crash
from pipeline.wire.partials import BUCKET_MS, SAMPLES_PER_CELL_MINUTE, Partial
from pipeline.wire.spans import DAY_MS, HOUR_MS, MINUTE_MS

DEFAULT_WINDOW_MS = 72 * HOUR_MS
_ROWS_AT_ONCE = 1 << 16  # trials and crashes held before they become counts
_MINUTES = 1 << 28  # more minutes than there are until the latest time that an event may have

Ints = npt.NDArray[np.int64]


class CrashKey(NamedTuple):
    """Of the crashes of a batch that have all of this in common, the earliest is kept. With the day, because a crash of
    last week, reported late, must not hide today's."""

    fleet: str
    host: str
    code: str
    module: str
    day: int
    undated: bool


class FoldedCrash(NamedTuple):
    """A crash, its stratum and updates by the fold's numbers. Of two, the smaller is the one kept."""

    at: int
    partition: int
    offset: int
    stratum: int
    site: str
    exposed: tuple[int, ...]
    excluded: tuple[int, ...]


class Fold:
    """A summary of events, made for each micro-batch.

    `admission` decides which clean trials count; without one all do. It is asked when events become columns: at the
    latest when the fold is read. `window_ms` is how long an update counts as new on a host.
    """

    def __init__(self, admission: Admission | None = None, window_ms: int = DEFAULT_WINDOW_MS) -> None:
        self.window_ms = window_ms
        self._admission = admission
        self._gather = Gather(admission)
        self._newest_ms = 0
        self._tallies = Tally(1, 3)  # fleet → events, repeats, undated
        self._trials = Tally(2, 1)  # bucket, cell → trials
        self._exposures = Tally(3, 2)  # bucket, cell, update → exposed, excluded
        self._crashes: dict[CrashKey, FoldedCrash] = {}
        self._samples: dict[tuple[int, int], dict[int, Exposure]] = {}  # cell, minute → host hash → updates

    def add(self, event: AnyEvent, partition: int, offset: int) -> None:
        """Take in one event that stood at this place in `fleet.events`."""
        self.add_all((event,), lambda _: (partition, offset))

    def add_all(self, events: Sequence[AnyEvent], position: Position) -> None:
        """Take in events; `position` tells an event's partition and offset from its index (asked for crashes only)."""
        self._gather.add(events, position)
        if self._gather.rows >= _ROWS_AT_ONCE:
            self._settle()

    def merge(self, other: "Fold") -> "Fold":
        """The fold of both batches: associative and commutative. Neither operand changes."""
        if self.window_ms != other.window_ms:
            raise ValueError(f"folds with windows of {self.window_ms} and {other.window_ms} ms cannot be merged")
        merged = Fold(window_ms=self.window_ms)
        for part in (self, other):
            merged._absorb(part)
        return merged

    def partials(self, slot: str, ingested_at_ms: int) -> list[Partial]:
        """The fold as messages, one or more per fleet, each smaller than MAX_PARTIAL_BYTES."""
        return partials_of(self, slot, ingested_at_ms)

    @property
    def fleets(self) -> Index[str]:
        """The fold's numbers of fleets."""
        self._settle()
        return self._gather.fleets

    @property
    def strata(self) -> Index[tuple[str, ...]]:
        """The fold's numbers of strata: fleet, ring, operating system, model."""
        self._settle()
        return self._gather.strata

    @property
    def updates(self) -> Index[tuple[str, ...]]:
        """The fold's numbers of updates: vendor, product, version."""
        self._settle()
        return self._gather.updates

    @property
    def newest_ms(self) -> int:
        """The latest `t` of all events."""
        self._settle()
        return self._newest_ms

    @property
    def tallies(self) -> tuple[Ints, Ints]:
        """Rows (fleet) and sums (events, repeats, undated)."""
        self._settle()
        return self._tallies.rows()

    @property
    def trials(self) -> tuple[Ints, Ints]:
        """Rows (bucket, cell) and sums (trials)."""
        self._settle()
        return self._trials.rows()

    @property
    def exposures(self) -> tuple[Ints, Ints]:
        """Rows (bucket, cell, update) and sums (exposed, excluded)."""
        self._settle()
        return self._exposures.rows()

    @property
    def crashes(self) -> dict[CrashKey, FoldedCrash]:
        """The earliest crash of each key."""
        self._settle()
        return self._crashes

    @property
    def samples(self) -> dict[tuple[int, int], dict[int, Exposure]]:
        """(cell, minute) → host hash → updates, at most SAMPLES_PER_CELL_MINUTE each."""
        self._settle()
        return self._samples

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fold) and self._by_name() == other._by_name()

    __hash__ = None  # type: ignore[assignment]

    def _settle(self) -> None:
        """Turn what was gathered into counts."""
        taken = self._gather.take()
        if taken is None:
            return
        rows, crashes, tallies = taken
        self._newest_ms = max(self._newest_ms, self._gather.newest_ms)
        for fleets, sums in tallies:
            self._tallies.add(fleets, sums)
        columns = columns_of(rows, self.updates, self.window_ms)
        clean = columns.kind.size - len(crashes)
        self._count(columns, clean)
        self._sample(columns, clean)
        self._collect_crashes(crashes, columns)

    def _count(self, columns: Columns, clean: int) -> None:
        bucket, cell = columns.time_ms // BUCKET_MS, 2 * columns.stratum + columns.kind
        keys, counts = count_rows(np.stack((bucket[:clean], cell[:clean])))
        self._trials.add(keys, counts[None, :])
        listed = np.flatnonzero(columns.status[: columns.first_update[clean]] != NEITHER)
        owner = columns.owner[listed]
        self._exposures.add(
            *count_flagged(
                np.stack((bucket[owner], cell[owner], columns.update[listed])), columns.status[listed] == EXCLUDED
            )
        )

    def _sample(self, columns: Columns, clean: int) -> None:
        """Keep the smallest hashes of each cell and minute, but for those that the sieve holds back."""
        if not clean:
            return
        cell = 2 * columns.stratum[:clean] + columns.kind[:clean]
        minute, hashes = columns.time_ms[:clean] // MINUTE_MS, columns.host_hash[:clean]
        rows = np.arange(clean)
        if self._admission is not None:
            rows = self._wanted(cell, minute, hashes)
            cell, minute, hashes = cell[rows], minute[rows], hashes[rows]
        chosen = smallest(cell, minute, hashes)
        places = zip(cell[chosen].tolist(), minute[chosen].tolist(), strict=True)
        names = list(self.strata)
        exposures = columns.updates_of(rows[chosen])
        for where, host_hash, exposure in zip(places, hashes[chosen].tolist(), exposures, strict=True):
            self._keep_sample(where, host_hash, exposure)
            if self._admission is not None:
                self._admission.sieve.note((names[where[0] // 2], where[0] % 2, where[1]), host_hash)

    def _wanted(self, cell: Ints, minute: Ints, hashes: Hashes) -> Ints:
        assert self._admission is not None
        limit_of, names = self._admission.sieve.limit, list(self.strata)
        groups, group = np.unique(cell * _MINUTES + minute, return_inverse=True)
        cells, minutes = (groups // _MINUTES).tolist(), (groups % _MINUTES).tolist()
        limits = [limit_of((names[c // 2], c % 2, m)) for c, m in zip(cells, minutes, strict=True)]
        return np.flatnonzero(hashes <= np.array(limits, np.uint64)[group])

    def _keep_sample(self, where: tuple[int, int], host_hash: int, exposure: Exposure) -> None:
        kept = self._samples.setdefault(where, {})
        before = kept.get(host_hash)
        if before is None or self._names(exposure) < self._names(before):
            kept[host_hash] = exposure
        if len(kept) > SAMPLES_PER_CELL_MINUTE:
            del kept[max(kept)]

    def _collect_crashes(self, crashes: list[CrashSource], columns: Columns) -> None:
        rows = np.arange(columns.kind.size - len(crashes), columns.kind.size)
        undated = (columns.kind[rows] == UNDATED).tolist()
        places = zip(columns.time_ms[rows].tolist(), columns.stratum[rows].tolist(), undated, strict=True)
        for source, (at, stratum, vague), exposure in zip(crashes, places, columns.updates_of(rows), strict=True):
            event = source.event
            code, module = (event.signature.code, event.signature.module) if isinstance(event, Crash) else ("", "")
            crash = FoldedCrash(at, source.partition, source.offset, stratum, event.site, *exposure)
            self._keep_crash(CrashKey(event.fleet, event.host, code, module, at // DAY_MS, vague), crash)

    def _keep_crash(self, key: CrashKey, crash: FoldedCrash) -> None:
        before = self._crashes.get(key)
        if before is None or crash[:3] < before[:3]:
            self._crashes[key] = crash

    def _absorb(self, other: "Fold") -> None:
        """Add another fold, its numbers translated into this one's."""
        self._newest_ms = max(self.newest_ms, other.newest_ms)
        fleet = _numbers(self.fleets, other.fleets)
        stratum = _numbers(self.strata, other.strata)
        update = _numbers(self.updates, other.updates)
        keys, sums = other.tallies
        self._tallies.add(fleet[keys], sums)
        keys, sums = other.trials
        self._trials.add(np.stack((keys[0], _cells(keys[1], stratum))), sums)
        keys, sums = other.exposures
        self._exposures.add(np.stack((keys[0], _cells(keys[1], stratum), update[keys[2]])), sums)
        for key, crash in other.crashes.items():
            exposed, excluded = _translate((crash.exposed, crash.excluded), update)
            moved = crash._replace(stratum=int(stratum[crash.stratum]), exposed=exposed, excluded=excluded)
            self._keep_crash(key, moved)
        for (cell, minute), kept in other.samples.items():
            where = (int(2 * stratum[cell // 2] + cell % 2), minute)
            for host_hash, exposure in kept.items():
                self._keep_sample(where, host_hash, _translate(exposure, update))

    def _names(self, exposure: Exposure) -> tuple[list[tuple[str, ...]], ...]:
        names = list(self.updates)
        return tuple(sorted(names[number] for number in numbers) for numbers in exposure)

    def _by_name(self) -> tuple[object, ...]:
        """Everything the fold says, free of its numbering."""
        fleets, strata, updates = list(self.fleets), list(self.strata), list(self.updates)
        tallies = {fleets[f]: tuple(n) for (f,), n in _pairs(*self.tallies)}
        trials = {(b, strata[c // 2], c % 2): n for (b, c), n in _pairs(*self.trials)}
        exposures = {(b, strata[c // 2], c % 2, updates[u]): n for (b, c, u), n in _pairs(*self.exposures)}
        crashes = {
            key: (*crash[:3], strata[crash.stratum], crash.site, self._names((crash.exposed, crash.excluded)))
            for key, crash in self.crashes.items()
        }
        samples = {
            (strata[cell // 2], cell % 2, minute): {host: self._names(exposure) for host, exposure in kept.items()}
            for (cell, minute), kept in self.samples.items()
        }
        return self.window_ms, tallies, trials, exposures, crashes, samples


def smallest(cell: Ints, minute: Ints, hashes: Hashes) -> Ints:
    """Positions of the SAMPLES_PER_CELL_MINUTE smallest hashes of each (cell, minute)."""
    order = np.lexsort((hashes, minute, cell))
    group = np.stack((cell[order], minute[order]))
    starts = np.flatnonzero(np.concatenate(([True], (group[:, 1:] != group[:, :-1]).any(axis=0))))[: order.size]
    rank = np.arange(order.size) - np.repeat(starts, np.diff(np.append(starts, order.size)))
    chosen: Ints = order[rank < SAMPLES_PER_CELL_MINUTE]
    return chosen


def _numbers(into: Index[Name], names: Iterable[Name]) -> Ints:
    return np.array([into[name] for name in names], np.int64)


def _cells(cells: Ints, stratum: Ints) -> Ints:
    moved: Ints = 2 * stratum[cells >> 1] + (cells & 1)
    return moved


def _translate(exposure: Exposure, update: Ints) -> Exposure:
    exposed, excluded = (tuple(int(update[number]) for number in numbers) for numbers in exposure)
    return exposed, excluded


def _pairs(keys: Ints, sums: Ints) -> Iterable[tuple[tuple[int, ...], tuple[int, ...]]]:
    return zip(map(tuple, keys.T.tolist()), map(tuple, sums.T.tolist()), strict=True)
