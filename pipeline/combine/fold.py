"""The fold: what admission let in becomes counts, crashes and samples. Pure: from values to a value.

Partials of folds add up, in any order and grouping: every cell carries its event-time bucket, so how the stream was cut
into batches does not show in the sums.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.combine.counting import count_flagged, count_rows, lengths
from pipeline.combine.exposure import EXCLUDED, NEITHER, Exposure, Exposures, exposures_of
from pipeline.combine.gather import UNDATED, Admitted, Names, Rows
from pipeline.combine.hashing import Hashes
from pipeline.wire.cells import cell_of
from pipeline.wire.events import Crash
from pipeline.wire.mending import Mends
from pipeline.wire.noted import Noted
from pipeline.wire.partials import (
    BUCKET_MS,
    INSTALL_HASH_BITS,
    INSTALLS_PER_MINUTE,
    SAMPLES_PER_CELL_MINUTE,
    Notes,
)
from pipeline.wire.spans import DAY_MS, MINUTE_MS

Ints = npt.NDArray[np.int64]


class Counts(NamedTuple):
    """Distinct `keys` (k, n) in ascending order, one a column, and their `sums` (s, n)."""

    keys: Ints
    sums: Ints


class CrashKey(NamedTuple):
    """Of the crashes of a batch that have all of this in common, the earliest is kept. With the day, because a crash of
    last week, reported late, must not hide today's; with the model, because a name that two machines have must show."""

    fleet: str
    host: str
    code: str
    module: str
    day: int
    undated: bool
    model: str


class FoldedCrash(NamedTuple):
    """A crash, its stratum and updates by the fold's numbers. Of two, the smaller is the one kept."""

    at: int
    partition: int
    offset: int
    stratum: int
    site: str
    exposed: tuple[int, ...]
    excluded: tuple[int, ...]
    later: tuple[int, ...] = ()


class Sample(NamedTuple):
    """One sampled clean trial, by the fold's numbers."""

    minute: int
    cell: int
    host_hash: int
    exposed: tuple[int, ...]
    excluded: tuple[int, ...]


@dataclass(frozen=True)
class Fold:
    """A summary of one micro-batch. Nothing in it changes any more."""

    names: Names
    totals: Ints  # (3, fleets): events, repeats, undated crashes
    newest_ms: int  # the latest `t` of all events, 0 without any
    trials: Counts  # bucket, cell → trials
    exposures: Counts  # bucket, cell, update → exposed, excluded
    crashes: dict[CrashKey, FoldedCrash]
    samples: tuple[Sample, ...]  # by cell, minute and hash; SAMPLES_PER_CELL_MINUTE of a cell and minute at most
    installs: Ints  # (4, n) distinct: fleet, bucket of the installation, update, bits of the host's hash
    notes: dict[str, Notes]  # by fleet


def fold_of(admitted: Admitted, candidates: Ints, window_ms: int) -> Fold:
    """Fold a batch. Samples are drawn from the rows `candidates`; an update is new on a host for `window_ms`."""
    exposures = exposures_of(admitted.rows, admitted.names.updates, window_ms)
    trials, counted = _counts(admitted, exposures)
    chosen = _chosen(admitted.rows, candidates)
    last = np.arange(admitted.clean, admitted.rows.kind.size)
    listed = exposures.of(np.concatenate((chosen, last)))
    later = exposures.later(admitted.clean, admitted.names.updates)
    crashes = _crashes(admitted, last, listed[chosen.size :], later)
    return Fold(
        names=admitted.names,
        totals=admitted.totals,
        newest_ms=admitted.newest_ms,
        trials=trials,
        exposures=counted,
        crashes=crashes,
        samples=_samples(admitted, chosen, listed[: chosen.size]),
        installs=_installs(admitted, exposures),
        notes=admitted.noting.notes(_not_yet(admitted, exposures), _repeated(admitted, crashes), _unknown(crashes)),
    )


def _not_yet(admitted: Admitted, exposures: Exposures) -> dict[str, Mends]:
    """By fleet, how many updates are listed that were installed only later."""
    if not exposures.early.size:
        return {}
    strata, counts = np.unique(admitted.rows.stratum[exposures.owner[exposures.early]], return_counts=True)
    fleets: Counter[str] = Counter()
    for stratum, times in zip(strata.tolist(), counts.tolist(), strict=True):
        fleets[admitted.names.strata[stratum][0]] += times
    return {fleet: {Noted.EXPOSURES_NOT_YET: times} for fleet, times in fleets.items()}


def _repeated(admitted: Admitted, crashes: dict[CrashKey, FoldedCrash]) -> dict[str, Mends]:
    """By fleet, how many crashes had all in common with one that is kept."""
    if len(crashes) == len(admitted.crashes):
        return {}
    fleets = Counter(report.event.fleet for report in admitted.crashes)
    fleets.subtract(key.fleet for key in crashes)
    return {fleet: {Noted.CRASHES_REPEATED: times} for fleet, times in fleets.items() if times}


def _unknown(crashes: Mapping[CrashKey, FoldedCrash]) -> dict[str, Mends]:
    """By fleet, how many crashes are of hosts that had an unknown version of a product."""
    fleets = Counter(key.fleet for key, crash in crashes.items() if crash.later)
    return {fleet: {Noted.CRASHES_VERSION_UNKNOWN: times} for fleet, times in fleets.items()}


def _counts(admitted: Admitted, exposures: Exposures) -> tuple[Counts, Counts]:
    """Of the clean trials, and of the updates that they list."""
    rows, clean = admitted.rows, admitted.clean
    bucket, cell = rows.time_ms[:clean] // BUCKET_MS, cell_of(rows.stratum[:clean], rows.kind[:clean])
    keys, counts = count_rows(np.array((bucket, cell)))
    listed = np.flatnonzero(exposures.status[: exposures.first_update[clean]] != NEITHER)
    owner, is_excluded = exposures.owner[listed], exposures.status[listed] == EXCLUDED
    where = np.array((bucket[owner], cell[owner], exposures.update[listed]))
    return Counts(keys, counts[None, :]), Counts(*count_flagged(where, is_excluded))


def _chosen(rows: Rows, candidates: Ints) -> Ints:
    """Those rows of the candidates that have the smallest hashes of their cell and minute, by these."""
    cell = cell_of(rows.stratum[candidates], rows.kind[candidates])
    chosen: Ints = candidates[smallest(cell, rows.time_ms[candidates] // MINUTE_MS, rows.host_hash[candidates])]
    return chosen


def _samples(admitted: Admitted, chosen: Ints, listed: Sequence[Exposure]) -> tuple[Sample, ...]:
    """The chosen rows; `listed` are their exposed and excluded updates."""
    rows = admitted.rows
    cell, minute = cell_of(rows.stratum[chosen], rows.kind[chosen]), rows.time_ms[chosen] // MINUTE_MS
    hashes = rows.host_hash[chosen]
    columns = zip(minute.tolist(), cell.tolist(), hashes.tolist(), listed, strict=True)
    samples = [Sample(m, c, host_hash, exposed, excluded) for m, c, host_hash, (exposed, excluded) in columns]
    again = (cell[1:] == cell[:-1]) & (minute[1:] == minute[:-1]) & (hashes[1:] == hashes[:-1])
    return tuple(_distinct(samples, admitted.names) if again.any() else samples)


def _distinct(samples: list[Sample], names: Names) -> list[Sample]:
    """Of a host twice in a minute one, whichever came first."""
    distinct: list[Sample] = []
    for sample in samples:
        if distinct and distinct[-1][:3] == sample[:3]:
            distinct[-1] = min(distinct[-1], sample, key=lambda each: _by_name(each, names))
        else:
            distinct.append(sample)
    return distinct


def _installs(admitted: Admitted, exposures: Exposures) -> Ints:
    """Recent installations, of each fleet, update and minute those on the hosts with the smallest hashes."""
    rows, names, fresh = admitted.rows, admitted.names, exposures.fresh
    if not fresh.size:
        return np.zeros((4, 0), np.int64)
    fleets = {fleet: number for number, fleet in enumerate(names.fleets)}
    owner, update = exposures.owner[fresh], exposures.update[fresh]
    fleet = np.array([fleets[stratum[0]] for stratum in names.strata], np.int64)[rows.stratum[owner]]
    bucket = rows.installed_ms[fresh] // BUCKET_MS
    hashes = rows.host_hash[owner] >> np.uint64(64 - INSTALL_HASH_BITS)
    columns = np.array((fleet, bucket, update, hashes.astype(np.int64)))
    if fresh.size > INSTALLS_PER_MINUTE:
        minute = bucket * BUCKET_MS // MINUTE_MS
        columns = columns[:, smallest(fleet * len(names.updates) + update, minute, hashes, INSTALLS_PER_MINUTE)]
    return count_rows(columns)[0]


def _by_name(sample: Sample, names: Names) -> list[list[tuple[str, ...]]]:
    return [sorted(names.updates[number] for number in numbers) for numbers in (sample.exposed, sample.excluded)]


def _crashes(
    admitted: Admitted, last: Ints, exposures: Sequence[Exposure], later: Mapping[int, tuple[int, ...]]
) -> dict[CrashKey, FoldedCrash]:
    """The earliest crash of each key; `exposures` are those of the `last` rows, which are the crashes', and `later`, by
    row, what took the place of an unknown version."""
    rows = admitted.rows
    places = zip(
        rows.time_ms[last].tolist(), rows.stratum[last].tolist(), (rows.kind[last] == UNDATED).tolist(), strict=True
    )
    crashes: dict[CrashKey, FoldedCrash] = {}
    reports = zip(admitted.crashes, last.tolist(), places, exposures, strict=True)
    for report, row, (at, stratum, undated), listed in reports:
        event = report.event
        code, module = (event.signature.code, event.signature.module) if isinstance(event, Crash) else ("", "")
        key = CrashKey(event.fleet, report.host, code, module, at // DAY_MS, undated, event.model)
        crash = FoldedCrash(at, report.partition, report.offset, stratum, event.site, *listed, later.get(row, ()))
        before = crashes.get(key)
        if before is None or crash[:3] < before[:3]:
            crashes[key] = crash
    return crashes


def smallest(cell: Ints, minute: Ints, hashes: Hashes, most: int = SAMPLES_PER_CELL_MINUTE) -> Ints:
    """Positions of the `most` smallest hashes of each (cell, minute), of equal ones all."""
    order = np.lexsort((hashes, minute, cell))
    cell, minute, hashes = cell[order], minute[order], hashes[order]
    is_first = np.ones(order.size, np.bool_)
    is_first[1:] = (cell[1:] != cell[:-1]) | (minute[1:] != minute[:-1])
    is_new = is_first.copy()
    is_new[1:] |= hashes[1:] != hashes[:-1]
    distinct, starts = np.cumsum(is_new), np.flatnonzero(is_first)
    rank: Ints = distinct - np.repeat(distinct[starts], lengths(starts, order.size))
    chosen: Ints = order[rank < most]
    return chosen
