"""The fold: events of one micro-batch become counts, crashes and samples. Pure; associative and commutative.

Every cell carries its event-time bucket, so how the stream was cut into batches does not show in the sums.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.combine.admit import Admission, trial_keys
from pipeline.combine.emit import partials_of
from pipeline.combine.exposure import (
    CRASH,
    EXCLUDED,
    EXPOSED,
    NEITHER,
    UNDATED,
    Columns,
    Exposure,
    Index,
    Position,
    Rows,
    columns_of,
)
from pipeline.combine.hashing import Hashes, hash_names
from pipeline.combine.tally import Tally, count_rows, sum_rows
from pipeline.wire.events import AnyEvent
from pipeline.wire.partials import BUCKET_MS, SAMPLES_PER_CELL_MINUTE, Partial

DEFAULT_WINDOW_MS = 72 * 3_600_000
MINUTE_MS = 60_000
_MINUTES = 1 << 28  # more minutes than there are until the latest time that an event may have
_ROWS_AT_ONCE = 8_192  # events held as Python objects before they become columns

Ints = npt.NDArray[np.int64]
CrashKey = tuple[str, str, str, str]  # fleet, host, code, module


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
        self.strata, self.updates = Index(), Index()
        self.newest_ms = 0  # the latest `t` among events that have become columns
        self._admission = admission
        self._rows = Rows(self.strata, self.updates)
        self._tallies = Tally(1, 3)  # stratum → events, repeats, undated
        self._trials = Tally(2, 1)  # bucket, cell → trials
        self._exposures = Tally(3, 2)  # bucket, cell, update → exposed, excluded
        self._crashes: dict[CrashKey, FoldedCrash] = {}
        self._samples: dict[tuple[int, int], dict[int, Exposure]] = {}  # cell, minute → host hash → updates

    def add(self, event: AnyEvent, partition: int, offset: int) -> None:
        """Take in one event that stood at this place in `fleet.events`."""
        self.add_all((event,), lambda _: (partition, offset))

    def add_all(self, events: Sequence[AnyEvent], position: Position) -> None:
        """Take in events; `position` tells an event's partition and offset from its index (asked for crashes only)."""
        self._rows.add(events, position)
        if len(self._rows) >= _ROWS_AT_ONCE:
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
    def tallies(self) -> tuple[Ints, Ints]:
        """Rows (stratum) and sums (events, repeats, undated)."""
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
        """The earliest crash of each host and signature."""
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
        """Turn the events held so far into counts."""
        if not len(self._rows):
            return
        rows, self._rows = self._rows, Rows(self.strata, self.updates)
        columns = columns_of(rows, self.window_ms)
        self.newest_ms = max(self.newest_ms, int(columns.time_ms.max()))
        clean = np.flatnonzero(columns.kind < CRASH)
        counted = clean[self._admit(columns, clean)]
        self._tally(columns, clean.size, counted)
        self._count(columns, counted)
        self._sample(columns, counted)
        self._collect_crashes(rows, columns)

    def _admit(self, columns: Columns, clean: Ints) -> npt.NDArray[np.bool_]:
        if self._admission is None:
            return np.ones(clean.size, np.bool_)
        fleets = hash_names([name[0] for name in self.strata])[columns.stratum[clean]]
        kinds = columns.kind[clean].astype(np.uint64)
        keys = trial_keys(fleets, columns.host_hash[clean], kinds)
        return self._admission.admit(keys, columns.time_ms[clean])

    def _tally(self, columns: Columns, clean: int, counted: Ints) -> None:
        size = len(self.strata)
        events = np.bincount(columns.stratum, minlength=size)
        is_clean = np.bincount(columns.stratum[columns.kind < CRASH], minlength=size)
        trials = np.bincount(columns.stratum[counted], minlength=size)
        undated = np.bincount(columns.stratum[columns.kind == UNDATED], minlength=size)
        self._tallies.add(np.arange(size)[None, :], np.stack((events, is_clean - trials, undated)))

    def _count(self, columns: Columns, counted: Ints) -> None:
        bucket, cell = columns.time_ms // BUCKET_MS, 2 * columns.stratum + columns.kind
        keys, counts = count_rows(np.stack((bucket[counted], cell[counted])))
        self._trials.add(keys, counts[None, :])
        is_counted = np.zeros(columns.kind.size, np.bool_)
        is_counted[counted] = True
        listed = np.flatnonzero(is_counted[columns.owner] & (columns.status != NEITHER))
        owner = columns.owner[listed]
        keys, counts = count_rows(
            np.stack((bucket[owner], cell[owner], columns.update[listed], columns.status[listed]))
        )
        status = keys[3]
        sums = np.stack((counts * (status == EXPOSED), counts * (status == EXCLUDED)))
        self._exposures.add(*sum_rows(keys[:3], sums))

    def _sample(self, columns: Columns, counted: Ints) -> None:
        """Keep the smallest hashes of each cell and minute, but for those that the sieve holds back."""
        if not counted.size:
            return
        cell = 2 * columns.stratum[counted] + columns.kind[counted]
        minute = columns.time_ms[counted] // MINUTE_MS
        hashes = columns.host_hash[counted]
        if self._admission is not None:
            wanted = self._wanted(cell, minute, hashes)
            counted, cell, minute, hashes = counted[wanted], cell[wanted], minute[wanted], hashes[wanted]
        chosen = smallest(cell, minute, hashes)
        places = zip(cell[chosen].tolist(), minute[chosen].tolist(), strict=True)
        names = list(self.strata)
        exposures = columns.updates_of(counted[chosen])
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

    def _collect_crashes(self, rows: Rows, columns: Columns) -> None:
        exposures = columns.updates_of(np.array([source.row for source in rows.crashes], np.int64))
        for (row, event, partition, offset), (exposed, excluded) in zip(rows.crashes, exposures, strict=True):
            signature = getattr(event, "signature", None)
            code, module = (signature.code, signature.module) if signature else ("", "")
            at, stratum = int(columns.time_ms[row]), int(columns.stratum[row])
            crash = FoldedCrash(at, partition, offset, stratum, event.site, exposed, excluded)
            self._keep_crash((event.fleet, event.host, code, module), crash)

    def _keep_crash(self, key: CrashKey, crash: FoldedCrash) -> None:
        before = self._crashes.get(key)
        if before is None or crash[:3] < before[:3]:
            self._crashes[key] = crash

    def _absorb(self, other: "Fold") -> None:
        """Add another fold, its numbers translated into this one's."""
        self.newest_ms = max(self.newest_ms, other.newest_ms)
        stratum = _numbers(self.strata, other.strata)
        update = _numbers(self.updates, other.updates)
        keys, sums = other.tallies
        self._tallies.add(stratum[keys], sums)
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
        strata, updates = list(self.strata), list(self.updates)
        tallies = {strata[s]: tuple(n) for (s,), n in _pairs(*self.tallies)}
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


def _numbers(into: Index, names: Iterable[tuple[str, ...]]) -> Ints:
    return np.array([into[name] for name in names], np.int64)


def _cells(cells: Ints, stratum: Ints) -> Ints:
    moved: Ints = 2 * stratum[cells >> 1] + (cells & 1)
    return moved


def _translate(exposure: Exposure, update: Ints) -> Exposure:
    exposed, excluded = (tuple(int(update[number]) for number in numbers) for numbers in exposure)
    return exposed, excluded


def _pairs(keys: Ints, sums: Ints) -> Iterable[tuple[tuple[int, ...], tuple[int, ...]]]:
    return zip(map(tuple, keys.T.tolist()), map(tuple, sums.T.tolist()), strict=True)
