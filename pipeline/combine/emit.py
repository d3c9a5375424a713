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
    from pipeline.combine.fold import Fold, FoldedCrash

Ints = npt.NDArray[np.int64]
Crash = tuple[tuple[str, str, str], "FoldedCrash"]  # host, code, module


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
    fleets = list(dict.fromkeys(name[0] for name in strata))
    fleet_of = np.array([fleets.index(name[0]) for name in strata], np.int64)
    crashes: dict[str, list[Crash]] = {fleet: [] for fleet in fleets}
    for (name, *signature), crash in fold.crashes.items():
        crashes[name].append(((signature[0], signature[1], signature[2]), crash))
    samples: dict[str, list[Sample]] = {fleet: [] for fleet in fleets}
    for (cell, minute), kept in sorted(fold.samples.items()):
        samples[strata[cell // 2][0]] += [Sample(minute, cell, host, *kept[host]) for host in sorted(kept)]
    for number, fleet in enumerate(fleets):
        mine = fleet_of == number
        listed = sorted(crashes[fleet], key=lambda item: (item[1].partition, item[1].offset))
        cut, cut_exposures = _cut(listed[MAX_PARTIAL_CRASHES:])
        keys, sums = fold.tallies
        events, repeats, undated = sums[:, mine[keys[0]]].sum(axis=1).tolist()
        yield Share(
            fleet=fleet,
            totals=(events, repeats, undated),
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


class _Numbers(dict[int, int]):
    """A partial's own numbers for those of the fold's names that it uses."""

    def __missing__(self, number: int) -> int:
        self[number] = own = len(self)
        return own

    def column(self, numbers: Ints) -> Ints:
        distinct, inverse = np.unique(numbers, return_inverse=True)
        own: Ints = np.array([self[number] for number in distinct.tolist()], np.int64)[inverse]
        return own

    def all(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self[number] for number in numbers)


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
        strata, updates = _Numbers(), _Numbers()
        trials, exposures = share.trials.copy(), share.exposures.copy()
        for rows in (trials, exposures):
            rows[:, 1] = 2 * strata.column(rows[:, 1] >> 1) + (rows[:, 1] & 1)
        cut, cut_exposures = share.cut.copy(), share.cut_exposures.copy()
        for rows in (cut, cut_exposures):
            rows[:, 1] = strata.column(rows[:, 1])
        for rows in (exposures, cut_exposures):
            rows[:, 2] = updates.column(rows[:, 2])
        crashes = tuple(_crash(*crash, strata, updates) for crash in share.crashes)
        samples = tuple(_sample(sample, strata, updates) for sample in share.samples)
        return Partial(
            version=PARTIAL_VERSION,
            fleet=share.fleet,
            slot=self._slot,
            events=share.totals[0],
            repeats=share.totals[1],
            undated=share.totals[2],
            ingested_at_ms=self._ingested_at_ms,
            updates=tuple(UpdateId(*self._updates[number]) for number in updates),
            strata=tuple(Stratum(*self._strata[number][1:]) for number in strata),
            trials=_bytes(trials),
            exposures=_bytes(exposures),
            crashes=crashes,
            cut=_bytes(cut),
            cut_exposures=_bytes(cut_exposures),
            samples=samples,
        )


def _bytes(rows: Ints) -> bytes:
    return rows.astype("<i4").tobytes()


def _crash(identity: tuple[str, str, str], crash: "FoldedCrash", strata: _Numbers, updates: _Numbers) -> CrashRecord:
    host, code, module = identity
    return CrashRecord(
        at=crash.at,
        host=host,
        stratum=strata[crash.stratum],
        code=code,
        module=module,
        site=crash.site,
        exposed=updates.all(crash.exposed),
        excluded=updates.all(crash.excluded),
        partition=crash.partition,
        offset=crash.offset,
    )


def _sample(sample: Sample, strata: _Numbers, updates: _Numbers) -> SampleRecord:
    return SampleRecord(
        minute=sample.minute,
        cell=2 * strata[sample.cell // 2] + sample.cell % 2,
        host_hash=sample.host_hash,
        exposed=updates.all(sample.exposed),
        excluded=updates.all(sample.excluded),
    )
