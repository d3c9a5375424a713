"""A fold as partials: one or more a fleet, each below the size limit; only the crash list is ever cut. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.combine.tally import sum_rows
from pipeline.wire.partials import (
    BUCKET_MS,
    MAX_PARTIAL_BYTES,
    MAX_PARTIAL_CRASHES,
    PARTIAL_VERSION,
    CrashRecord,
    Partial,
    SampleRecord,
    Stratum,
    UpdateId,
    encode_partial,
)

if TYPE_CHECKING:
    from pipeline.combine.fold import CrashKey, Fold, FoldedCrash

Ints = npt.NDArray[np.int64]
Crash = tuple["CrashKey", "FoldedCrash"]


class Sample(NamedTuple):
    """One sampled clean trial, by the fold's numbers."""

    minute: int
    cell: int
    host_hash: int
    exposed: tuple[int, ...]
    excluded: tuple[int, ...]


@dataclass(frozen=True)
class Share:
    """What of a fleet goes into one partial; (n, columns) arrays by the fold's numbers."""

    fleet: str
    totals: tuple[int, int, int]  # events, repeats, undated
    trials: Ints
    exposures: Ints
    cut: Ints
    cut_exposures: Ints
    crashes: list[Crash] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def halves(self) -> tuple["Share", "Share"]:
        """Every list cut in the middle; the totals stay with the first."""
        names = ("trials", "exposures", "cut", "cut_exposures", "crashes", "samples")
        lists = {name: getattr(self, name) for name in names}
        front = {name: rows[: (len(rows) + 1) // 2] for name, rows in lists.items()}
        back = {name: rows[(len(rows) + 1) // 2 :] for name, rows in lists.items()}
        return replace(self, **front), replace(self, totals=(0, 0, 0), **back)


def partials_of(fold: "Fold", slot: str, ingested_at_ms: int) -> list[Partial]:
    """The fold's partials, fleets in order of first appearance."""
    strata, updates = list(fold.strata), list(fold.updates)
    writer = _Writer(strata, updates, slot, ingested_at_ms)
    return [partial for share in _shares(fold, strata) for partial in writer.write(share)]


def _shares(fold: "Fold", strata: list[tuple[str, ...]]) -> Iterator[Share]:
    fleets = list(fold.fleets)
    fleet_of = np.array([fold.fleets[name[0]] for name in strata], np.int64)
    tallied = dict(zip(*(values.tolist() for values in (fold.tallies[0][0], fold.tallies[1].T)), strict=True))
    crashes: dict[str, list[Crash]] = {fleet: [] for fleet in fleets}
    for key, crash in fold.crashes.items():
        crashes[key.fleet].append((key, crash))
    samples: dict[str, list[Sample]] = {fleet: [] for fleet in fleets}
    for (cell, minute), kept in sorted(fold.samples.items()):
        samples[strata[cell // 2][0]] += [Sample(minute, cell, host, *kept[host]) for host in sorted(kept)]
    for number, fleet in enumerate(fleets):
        mine = fleet_of == number
        listed = sorted(crashes[fleet], key=lambda item: (item[1].partition, item[1].offset))
        cut, cut_exposures = _cut(listed[MAX_PARTIAL_CRASHES:])
        yield Share(
            fleet=fleet,
            totals=tuple(tallied[number]),
            trials=_rows_of(*fold.trials, mine),
            exposures=_rows_of(*fold.exposures, mine),
            cut=cut,
            cut_exposures=cut_exposures,
            crashes=listed[:MAX_PARTIAL_CRASHES],
            samples=samples[fleet],
        )


def _rows_of(keys: Ints, sums: Ints, mine: npt.NDArray[np.bool_]) -> Ints:
    chosen = mine[keys[1] >> 1]
    return np.concatenate((keys[:, chosen], sums[:, chosen])).T


def _cut(crashes: list[Crash]) -> tuple[Ints, Ints]:
    """Crashes too many for the list, counted: (bucket, stratum, n) and (bucket, stratum, update, exposed, excluded)."""
    cells = [(crash.at // BUCKET_MS, crash.stratum, 1) for _, crash in crashes]
    listed = [
        (crash.at // BUCKET_MS, crash.stratum, update, exposed, 1 - exposed)
        for _, crash in crashes
        for updates, exposed in ((crash.exposed, 1), (crash.excluded, 0))
        for update in updates
    ]
    return _summed(cells, 2, 3), _summed(listed, 3, 5)


def _summed(rows: Sequence[tuple[int, ...]], keys: int, columns: int) -> Ints:
    table = np.array(rows, np.int64).reshape(len(rows), columns).T
    return np.concatenate(sum_rows(table[:keys], table[keys:])).T


class _Numbers:
    """A partial's own numbers for those of the fold's names that it uses, in the fold's order."""

    def __init__(self, names: int, *used: Ints | list[int]) -> None:
        is_used = np.zeros(names, np.bool_)
        for numbers in used:
            is_used[numbers] = True
        self.names: list[int] = np.flatnonzero(is_used).tolist()
        self._own = np.cumsum(is_used) - 1
        self._own_list: list[int] = self._own.tolist()

    def column(self, numbers: Ints) -> Ints:
        own: Ints = self._own[numbers]
        return own

    def one(self, number: int) -> int:
        return self._own_list[number]

    def all(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        return tuple([self._own_list[number] for number in numbers])


class _Writer:
    """Encodes shares, halving those that are too large."""

    def __init__(self, strata: list[tuple[str, ...]], updates: list[tuple[str, ...]], slot: str, at_ms: int) -> None:
        self._strata, self._updates = strata, updates
        self._slot, self._ingested_at_ms = slot, at_ms

    def write(self, share: Share) -> list[Partial]:
        partial = self._partial(share)
        if len(encode_partial(partial)) < MAX_PARTIAL_BYTES:
            return [partial]
        return [part for half in share.halves() for part in self.write(half)]

    def _partial(self, share: Share) -> Partial:
        strata, updates = self._numbers(share)
        trials, exposures = share.trials.copy(), share.exposures.copy()
        for rows in (trials, exposures):
            rows[:, 1] = 2 * strata.column(rows[:, 1] >> 1) + (rows[:, 1] & 1)
        cut, cut_exposures = share.cut.copy(), share.cut_exposures.copy()
        for rows in (cut, cut_exposures):
            rows[:, 1] = strata.column(rows[:, 1])
        for rows in (exposures, cut_exposures):
            rows[:, 2] = updates.column(rows[:, 2])
        return Partial(
            version=PARTIAL_VERSION,
            fleet=share.fleet,
            slot=self._slot,
            events=share.totals[0],
            repeats=share.totals[1],
            undated=share.totals[2],
            ingested_at_ms=self._ingested_at_ms,
            updates=tuple(UpdateId(*self._updates[number]) for number in updates.names),
            strata=tuple(Stratum(*self._strata[number][1:]) for number in strata.names),
            trials=_bytes(trials),
            exposures=_bytes(exposures),
            crashes=tuple([_crash(*crash, strata, updates) for crash in share.crashes]),
            cut=_bytes(cut),
            cut_exposures=_bytes(cut_exposures),
            samples=tuple([_sample(sample, strata, updates) for sample in share.samples]),
        )

    def _numbers(self, share: Share) -> tuple[_Numbers, _Numbers]:
        """Of the strata and of the updates that the share speaks of."""
        records: list[FoldedCrash | Sample] = [*(crash for _, crash in share.crashes), *share.samples]
        strata = _Numbers(
            len(self._strata),
            *(rows[:, 1] >> 1 for rows in (share.trials, share.exposures)),
            *(rows[:, 1] for rows in (share.cut, share.cut_exposures)),
            [crash.stratum for _, crash in share.crashes],
            [sample.cell >> 1 for sample in share.samples],
        )
        updates = _Numbers(
            len(self._updates),
            *(rows[:, 2] for rows in (share.exposures, share.cut_exposures)),
            [number for record in records for numbers in (record.exposed, record.excluded) for number in numbers],
        )
        return strata, updates


def _bytes(rows: Ints) -> bytes:
    return rows.astype("<i4").tobytes()


def _crash(key: "CrashKey", crash: "FoldedCrash", strata: _Numbers, updates: _Numbers) -> CrashRecord:
    return CrashRecord(
        at=crash.at,
        host=key.host,
        stratum=strata.one(crash.stratum),
        code=key.code,
        module=key.module,
        site=crash.site,
        exposed=updates.all(crash.exposed),
        excluded=updates.all(crash.excluded),
        partition=crash.partition,
        offset=crash.offset,
        undated=key.undated,
    )


def _sample(sample: Sample, strata: _Numbers, updates: _Numbers) -> SampleRecord:
    return SampleRecord(
        minute=sample.minute,
        cell=2 * strata.one(sample.cell // 2) + sample.cell % 2,
        host_hash=sample.host_hash,
        exposed=updates.all(sample.exposed),
        excluded=updates.all(sample.excluded),
    )
