"""The fold: what admission let in becomes counts, crashes and samples. Pure: from values to a value.

Partials of folds add up, in any order and grouping: every cell carries its event-time bucket, so how the stream was cut
into batches does not show in the sums.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.combine.admitted import UNDATED, Admitted, Names, Part
from pipeline.combine.counting import count_flagged, count_rows, smallest
from pipeline.combine.exposure import EXCLUDED, NEITHER, Exposures, exposures_of
from pipeline.combine.hashing import Hashes
from pipeline.combine.sieve import Drawn, Written
from pipeline.wire.cells import cell_of
from pipeline.wire.events import Crash
from pipeline.wire.mending import Mends
from pipeline.wire.noted import Noted
from pipeline.wire.partials import (
    BUCKET_MS,
    INSTALL_HASH_BITS,
    INSTALLS_PER_MINUTE,
    Notes,
    SampleRecord,
)
from pipeline.wire.spans import DAY_MS, MINUTE_MS

Ints = npt.NDArray[np.int64]
Crashed = tuple[int, int, bool, tuple[int, ...], tuple[int, ...]]  # moment, stratum, undated, exposed and excluded


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


@dataclass(frozen=True)
class Fold:
    """A summary of one micro-batch. Nothing in it changes any more."""

    names: Names
    totals: Ints  # (3, fleets): events, repeats, undated crashes
    newest_ms: int  # the latest `t` of all events, 0 without any
    trials: Counts  # bucket, cell → trials
    exposures: Counts  # bucket, cell, update → exposed, excluded
    crashes: dict[CrashKey, FoldedCrash]
    samples: tuple[SampleRecord, ...]  # by cell, minute and hash; SAMPLES_PER_CELL_MINUTE of a cell and minute at most
    installs: Ints  # (4, n) distinct: fleet, bucket of the installation, update, bits of the host's hash
    notes: dict[str, Notes]  # by fleet
    written: Written  # what the sieve knows of it


def fold_of(admitted: Admitted, drawn: Drawn, window_ms: int) -> Fold:
    """Fold a batch of one part; an update is new on a host for `window_ms`."""
    (fold,) = folds_of(admitted, drawn, window_ms)
    return fold


def folds_of(admitted: Admitted, drawn: Drawn, window_ms: int) -> list[Fold]:
    """The fold of each part, as if it had been folded alone."""
    exposures = exposures_of(admitted, window_ms)
    of_part, chosen, clean = admitted.part, drawn.rows, admitted.clean
    exposed, excluded = exposures.of(np.concatenate((chosen, np.arange(clean, of_part.size))))
    samples = _samples(admitted, chosen, exposed, excluded)
    crashed = list(zip(*_moments(admitted, clean), exposed[chosen.size :], excluded[chosen.size :], strict=True))
    later = exposures.later(clean, admitted.product)
    later_of = [later.get(row, ()) for row in range(clean, of_part.size)]
    counted = zip(*_counts(admitted, exposures, of_part), _installs(admitted, exposures, of_part), strict=True)
    not_yet, is_again = _not_yet(admitted, exposures, of_part), _are_equal(admitted.rows.host_hash[chosen])
    ends = np.searchsorted(of_part[chosen], np.arange(1, len(admitted.parts) + 1)).tolist()
    folds, start, crash = list[Fold](), 0, 0
    for at, (part, (trials, exposed_rows, installs)) in enumerate(zip(admitted.parts, counted, strict=True)):
        mine, start = samples[start : ends[at]], ends[at]
        places, crash = slice(crash, crash + len(part.crashes)), crash + len(part.crashes)
        crashes = _crashes(part, crashed[places], later_of[places])
        folds.append(
            Fold(
                names=part.names,
                totals=part.totals,
                newest_ms=part.newest_ms,
                trials=trials,
                exposures=exposed_rows,
                crashes=crashes,
                samples=tuple(_distinct(mine, part.names) if is_again else mine),
                installs=installs,
                notes=part.noting.notes(not_yet.get(at, {}), _repeated(part, crashes), _unknown(crashes)),
                written=drawn.written[at],
            )
        )
    return folds


def _not_yet(admitted: Admitted, exposures: Exposures, of_part: Ints) -> dict[int, dict[str, Mends]]:
    """By part and fleet, how many updates are listed that were installed only later."""
    if not exposures.early.size:
        return {}
    owner = exposures.owner[exposures.early]
    (parts, strata), counts, _ = count_rows(np.array((of_part[owner], admitted.rows.stratum[owner])))
    found: dict[int, dict[str, Mends]] = {}
    for at, stratum, times in zip(parts.tolist(), strata.tolist(), counts.tolist(), strict=True):
        fleet = found.setdefault(at, {}).setdefault(admitted.parts[at].names.strata[stratum][0], {})
        fleet[Noted.EXPOSURES_NOT_YET] = fleet.get(Noted.EXPOSURES_NOT_YET, 0) + times
    return found


def _repeated(part: Part, crashes: dict[CrashKey, FoldedCrash]) -> dict[str, Mends]:
    """By fleet, how many crashes had all in common with one that is kept."""
    if len(crashes) == len(part.crashes):
        return {}
    fleets = Counter(report.event.fleet for report in part.crashes)
    fleets.subtract(key.fleet for key in crashes)
    return {fleet: {Noted.CRASHES_REPEATED: times} for fleet, times in fleets.items() if times}


def _unknown(crashes: Mapping[CrashKey, FoldedCrash]) -> dict[str, Mends]:
    """By fleet, how many crashes are of hosts that had an unknown version of a product."""
    fleets = Counter(key.fleet for key, crash in crashes.items() if crash.later)
    return {fleet: {Noted.CRASHES_VERSION_UNKNOWN: times} for fleet, times in fleets.items()}


def _counts(admitted: Admitted, exposures: Exposures, of_part: Ints) -> tuple[list[Counts], list[Counts]]:
    """By part, of the clean trials, and of the updates that they list."""
    rows, clean, parts = admitted.rows, admitted.clean, len(admitted.parts)
    bucket, cell = rows.time_ms[:clean] // BUCKET_MS, cell_of(rows.stratum[:clean], rows.kind[:clean])
    keys, counts, place = count_rows(np.array((of_part[:clean], bucket, cell)))
    end = exposures.first_update[clean]
    owner, update, status = exposures.owner[:end], exposures.update[:end], exposures.status[:end]
    if (out := status == NEITHER).any():
        listed = np.flatnonzero(~out)
        owner, update, status = owner[listed], update[listed], status[listed]
    updates = max([len(part.names.updates) for part in admitted.parts])
    found, sums = count_flagged(place[owner] * updates + update, status == EXCLUDED, keys.shape[1] * updates)
    at = found // max(updates, 1)
    listing = np.concatenate((keys[:, at], (found - at * updates)[None, :]))
    return _divided(keys, counts[None, :], parts), _divided(listing, sums, parts)


def _divided(keys: Ints, sums: Ints, parts: int) -> list[Counts]:
    """By part, which the first row of the keys names."""
    ends = np.searchsorted(keys[0], np.arange(parts + 1)).tolist()
    return [Counts(keys[1:, start:end], sums[:, start:end]) for start, end in pairwise(ends)]


def _samples(
    admitted: Admitted, chosen: Ints, exposed: Sequence[tuple[int, ...]], excluded: Sequence[tuple[int, ...]]
) -> list[SampleRecord]:
    """The chosen rows, with the updates of each."""
    rows = admitted.rows
    cell, minute = cell_of(rows.stratum[chosen], rows.kind[chosen]), rows.time_ms[chosen] // MINUTE_MS
    columns = (minute, cell, rows.host_hash[chosen])
    return list(map(SampleRecord, *[each.tolist() for each in columns], exposed, excluded, rows.place[chosen].tolist()))


def _are_equal(hashes: Hashes) -> bool:
    """Whether a host may be there twice in a minute."""
    return bool((hashes[1:] == hashes[:-1]).any())


def _distinct(samples: list[SampleRecord], names: Names) -> list[SampleRecord]:
    """Of a host twice in a minute one, whichever came first."""
    distinct: list[SampleRecord] = []
    for sample in samples:
        if distinct and _where(distinct[-1]) == _where(sample):
            distinct[-1] = min(distinct[-1], sample, key=lambda each: (_by_name(each, names), each.place))
        else:
            distinct.append(sample)
    return distinct


def _where(sample: SampleRecord) -> tuple[int, int, int]:
    return sample.minute, sample.cell, sample.host_hash


def _by_name(sample: SampleRecord, names: Names) -> list[list[tuple[str, ...]]]:
    return [sorted(names.updates[number] for number in numbers) for numbers in (sample.exposed, sample.excluded)]


def _installs(admitted: Admitted, exposures: Exposures, of_part: Ints) -> list[Ints]:
    """By part, recent installations, of each fleet, update and minute those on the hosts with the smallest hashes."""
    rows, fresh, parts = admitted.rows, exposures.fresh, len(admitted.parts)
    if not fresh.size:
        return [np.zeros((4, 0), np.int64)] * parts
    owner, update = exposures.owner[fresh], exposures.update[fresh]
    part, bucket = of_part[owner], rows.installed_ms[fresh] // BUCKET_MS
    fleet = _fleets(admitted.parts, part, rows.stratum[owner])
    hashes = rows.host_hash[owner] >> np.uint64(64 - INSTALL_HASH_BITS)
    columns = np.array((part, fleet, bucket, update, hashes.astype(np.int64)))
    if fresh.size > INSTALLS_PER_MINUTE:
        _, _, group = count_rows(np.array((part, fleet, update, bucket * BUCKET_MS // MINUTE_MS)))
        columns = columns[:, smallest(group, hashes, INSTALLS_PER_MINUTE)]
    distinct, _, _ = count_rows(columns)
    ends = np.searchsorted(distinct[0], np.arange(parts + 1)).tolist()
    return [distinct[1:, start:end] for start, end in pairwise(ends)]


def _fleets(parts: Sequence[Part], part: Ints, stratum: Ints) -> Ints:
    """The fleet of each stratum, by the part's own numbers."""
    if all(len(each.names.fleets) == 1 for each in parts):
        return np.zeros_like(stratum)
    own = [{fleet: number for number, fleet in enumerate(each.names.fleets)} for each in parts]
    fleets = [own[at][name[0]] for at, each in enumerate(parts) for name in each.names.strata]
    before = np.cumsum([0, *[len(each.names.strata) for each in parts]])
    found: Ints = np.array(fleets, np.int64)[before[part] + stratum]
    return found


def _moments(admitted: Admitted, clean: int) -> tuple[list[int], list[int], list[bool]]:
    """Of each crash its moment, its stratum, and whether it is undated."""
    rows = admitted.rows
    return rows.time_ms[clean:].tolist(), rows.stratum[clean:].tolist(), (rows.kind[clean:] == UNDATED).tolist()


def _crashes(part: Part, crashed: Sequence[Crashed], later: Sequence[tuple[int, ...]]) -> dict[CrashKey, FoldedCrash]:
    """The earliest crash of each key; `later` is what took the place of an unknown version."""
    crashes: dict[CrashKey, FoldedCrash] = {}
    for report, (at, stratum, undated, exposed, excluded), unknown in zip(part.crashes, crashed, later, strict=True):
        event = report.event
        code, module = (event.signature.code, event.signature.module) if isinstance(event, Crash) else ("", "")
        key = CrashKey(event.fleet, report.host, code, module, at // DAY_MS, undated, event.model)
        crash = FoldedCrash(at, report.partition, report.offset, stratum, event.site, exposed, excluded, unknown)
        before = crashes.get(key)
        if before is None or crash[:3] < before[:3]:
            crashes[key] = crash
    return crashes
