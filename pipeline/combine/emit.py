"""A fold as partials: one or more a fleet, each below the size limit; only the crash list is ever cut. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import numpy.typing as npt

from pipeline.combine.admitted import Names
from pipeline.combine.counting import sum_rows
from pipeline.combine.fold import Counts, CrashKey, Fold, FoldedCrash
from pipeline.wire.cells import cell_of, kind_of, stratum_of
from pipeline.wire.events import MAX_TEXT_CHARS, MAX_UPDATES
from pipeline.wire.partials import (
    BUCKET_MS,
    MAX_PARTIAL_BYTES,
    MAX_PARTIAL_CRASHES,
    NO_NOTES,
    PARTIAL_VERSION,
    CrashRecord,
    Notes,
    Partial,
    SampleRecord,
    Stratum,
    UpdateId,
    encode_partial,
)

# What these take encoded at most: numbers take up to nine bytes, a text in UTF-8 four a character and five beside.
_TEXT_BYTES = 4 * MAX_TEXT_CHARS + 5 + 9
_RECORD_BYTES = 5 * MAX_UPDATES + 72
_HEAD_BYTES = 256

Ints = npt.NDArray[np.int64]
Crash = tuple[CrashKey, FoldedCrash]


@dataclass(frozen=True)
class Share:
    """What of a fleet goes into one partial; (n, columns) arrays by the fold's numbers."""

    fleet: str
    totals: tuple[int, int, int]  # events, repeats, undated
    trials: Ints
    exposures: Ints
    cut: Ints
    cut_exposures: Ints
    installs: Ints
    crashes: list[Crash] = field(default_factory=list)
    samples: list[SampleRecord] = field(default_factory=list)
    notes: Notes = NO_NOTES
    is_whole: bool = True  # so that every sample is of a trial that it counts

    def halves(self) -> tuple["Share", "Share"]:
        """Every list cut in the middle; the totals and the notes stay with the first."""
        names = ("trials", "exposures", "cut", "cut_exposures", "installs", "crashes", "samples")
        lists = {name: getattr(self, name) for name in names}
        front = {name: rows[: (len(rows) + 1) // 2] for name, rows in lists.items()}
        back = {name: rows[(len(rows) + 1) // 2 :] for name, rows in lists.items()}
        first = replace(self, is_whole=False, **front)
        return first, replace(self, totals=(0, 0, 0), notes=NO_NOTES, is_whole=False, **back)


def partials_of(fold: Fold, slot: str, ingested_at_ms: int) -> list[Partial]:
    """The fold as messages, one or more a fleet, each smaller than MAX_PARTIAL_BYTES; fleets in the fold's order."""
    writer = _Writer(fold.names, slot, ingested_at_ms)
    return [partial for share in _shares(fold) for partial in writer.write(share)]


def _shares(fold: Fold) -> Iterator[Share]:
    fleets, strata = fold.names.fleets, fold.names.strata
    numbers = {fleet: number for number, fleet in enumerate(fleets)}
    fleet_of = np.array([numbers[name[0]] for name in strata], np.int64)
    crashes: dict[str, list[Crash]] = {fleet: [] for fleet in fleets}
    for key, crash in fold.crashes.items():
        crashes[key.fleet].append((key, crash))
    samples: dict[str, list[SampleRecord]] = {fleet: [] for fleet in fleets}
    if len(fleets) == 1:
        samples[fleets[0]] += fold.samples
    else:
        for sample in fold.samples:
            samples[strata[stratum_of(sample.cell)][0]].append(sample)
    for number, (fleet, totals) in enumerate(zip(fleets, fold.totals.T.tolist(), strict=True)):
        mine = fleet_of == number
        listed = sorted(crashes[fleet], key=lambda item: (item[1].partition, item[1].offset))
        cut, cut_exposures = _cut(listed[MAX_PARTIAL_CRASHES:])
        yield Share(
            fleet=fleet,
            totals=tuple(totals),
            trials=_rows_of(fold.trials, mine),
            exposures=_rows_of(fold.exposures, mine),
            cut=cut,
            cut_exposures=cut_exposures,
            installs=fold.installs[1:, fold.installs[0] == number].T,
            crashes=listed[:MAX_PARTIAL_CRASHES],
            samples=samples[fleet],
            notes=fold.notes.get(fleet, NO_NOTES),
        )


def _rows_of(counts: Counts, mine: npt.NDArray[np.bool_]) -> Ints:
    if mine.all():  # as of one fleet
        return np.concatenate(counts).T
    chosen = mine[stratum_of(counts.keys[1])]
    return np.concatenate((counts.keys[:, chosen], counts.sums[:, chosen])).T


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
        self.same = len(self.names) == names  # each is used, as in a fold of one fleet: the numbers are the fold's own

    def column(self, numbers: Ints) -> Ints:
        own: Ints = self._own[numbers]
        return own

    def one(self, number: int) -> int:
        return self._own_list[number]

    def all(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        return numbers if self.same else tuple([self._own_list[number] for number in numbers])


class _Writer:
    """Encodes shares, halving those that are too large."""

    def __init__(self, names: Names, slot: str, ingested_at_ms: int) -> None:
        self._names, self._slot, self._ingested_at_ms = names, slot, ingested_at_ms

    def write(self, share: Share) -> list[Partial]:
        partial = self._partial(share)
        if most_bytes(partial) < MAX_PARTIAL_BYTES or len(encode_partial(partial)) < MAX_PARTIAL_BYTES:
            return [partial]
        return [part for half in share.halves() for part in self.write(half)]

    def _partial(self, share: Share) -> Partial:
        strata, updates = self._numbers(share)
        trials, exposures = share.trials.copy(), share.exposures.copy()
        for rows in (trials, exposures):
            rows[:, 1] = cell_of(strata.column(stratum_of(rows[:, 1])), kind_of(rows[:, 1]))
        cut, cut_exposures = share.cut.copy(), share.cut_exposures.copy()
        for rows in (cut, cut_exposures):
            rows[:, 1] = strata.column(rows[:, 1])
        for rows in (exposures, cut_exposures):
            rows[:, 2] = updates.column(rows[:, 2])
        installs = share.installs.copy()
        installs[:, 1] = updates.column(installs[:, 1])
        return Partial(
            version=PARTIAL_VERSION,
            fleet=share.fleet,
            slot=self._slot,
            events=share.totals[0],
            repeats=share.totals[1],
            undated=share.totals[2],
            ingested_at_ms=self._ingested_at_ms,
            updates=tuple(UpdateId(*self._names.updates[number]) for number in updates.names),
            strata=tuple(Stratum(*self._names.strata[number][1:]) for number in strata.names),
            trials=_bytes(trials),
            exposures=_bytes(exposures),
            crashes=tuple([_crash(*crash, strata, updates) for crash in share.crashes]),
            cut=_bytes(cut),
            cut_exposures=_bytes(cut_exposures),
            samples=_sampled(share.samples, strata, updates),
            tail=Notes(share.notes.counts, share.notes.clocks_ahead, _bytes(installs)),
        )

    def _numbers(self, share: Share) -> tuple[_Numbers, _Numbers]:
        """Of the strata and of the updates that the share speaks of."""
        samples = [] if share.is_whole else share.samples
        records: list[FoldedCrash | SampleRecord] = [*(crash for _, crash in share.crashes), *samples]
        strata = _Numbers(
            len(self._names.strata),
            *(stratum_of(rows[:, 1]) for rows in (share.trials, share.exposures)),
            *(rows[:, 1] for rows in (share.cut, share.cut_exposures)),
            [crash.stratum for _, crash in share.crashes],
            [stratum_of(sample.cell) for sample in samples],
        )
        updates = _Numbers(
            len(self._names.updates),
            *(rows[:, 2] for rows in (share.exposures, share.cut_exposures)),
            share.installs[:, 1],
            list(set(chain.from_iterable(chain.from_iterable((each.exposed, each.excluded) for each in records)))),
            [update for _, crash in share.crashes for update in crash.later],
        )
        return strata, updates


def most_bytes(partial: Partial) -> int:
    """What it may take encoded, told without encoding it: every text as long as it may be, every list as full."""
    columns = (partial.trials, partial.exposures, partial.cut, partial.cut_exposures, partial.notes.installs)
    records = len(partial.crashes) + len(partial.samples)
    texts = 3 * (len(partial.updates) + len(partial.strata)) + 4 * len(partial.crashes)
    texts += len(partial.notes.counts) + len(partial.notes.clocks_ahead) + 2
    return sum(map(len, columns)) + _TEXT_BYTES * texts + _RECORD_BYTES * records + _HEAD_BYTES


def _bytes(rows: Ints) -> bytes:
    return rows.astype("<i4").tobytes()


def _crash(key: CrashKey, crash: FoldedCrash, strata: _Numbers, updates: _Numbers) -> CrashRecord:
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
        later=updates.all(crash.later),
    )


def _sampled(samples: list[SampleRecord], strata: _Numbers, updates: _Numbers) -> tuple[SampleRecord, ...]:
    if strata.same and updates.same:
        return tuple(samples)
    return tuple([_sample(sample, strata, updates) for sample in samples])


def _sample(sample: SampleRecord, strata: _Numbers, updates: _Numbers) -> SampleRecord:
    return SampleRecord(
        minute=sample.minute,
        cell=cell_of(strata.one(stratum_of(sample.cell)), kind_of(sample.cell)),
        host_hash=sample.host_hash,
        exposed=updates.all(sample.exposed),
        excluded=updates.all(sample.excluded),
        place=sample.place,
    )
