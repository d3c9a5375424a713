"""Samples of clean trials: per cell and minute those with the smallest hashes, that is all. Pure.

Which hashes can still be among the smallest is known from what this process has written: without that every micro-batch
would write a whole sample. It never changes which sample the partials add up to: what it holds back is larger than
SAMPLES_PER_CELL_MINUTE hashes that were written already. Soft: it may forget at any time.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pipeline.combine.admitted import Admitted, Ints
from pipeline.combine.counting import count_rows, is_first_of_run, lengths, smallest
from pipeline.combine.hashing import Hashes
from pipeline.wire.cells import cell_of, kind_of, stratum_of
from pipeline.wire.partials import SAMPLES_PER_CELL_MINUTE
from pipeline.wire.spans import MINUTE_MS

MAX_CELL_MINUTES = 1 << 16
_UNLIMITED = (1 << 64) - 1

CellMinute = tuple[tuple[str, ...], int, int]  # stratum with its fleet, kind, minute
Run = tuple[CellMinute, list[int]]  # ascending hashes of a part


class Written(NamedTuple):
    """What is known once a part is written: the smallest hashes, of all or where they have changed."""

    smallest: Mapping[CellMinute, list[int]]
    is_all: bool = False


class Drawn(NamedTuple):
    """The `rows` that a sample is drawn of, by part, cell, minute and hash, and what follows by part."""

    rows: Ints
    written: Sequence[Written]


class SampleSieve:
    """The smallest hashes written, by stratum, kind and minute."""

    def __init__(self) -> None:
        self._smallest: dict[CellMinute, list[int]] = {}

    def candidates(self, admitted: Admitted) -> Drawn:
        """The clean trials to be sampled, as if each part was written before the next one."""
        rows, clean = admitted.rows, admitted.clean
        cell, hashes = cell_of(rows.stratum[:clean], rows.kind[:clean]), rows.host_hash[:clean]
        groups, _, group = count_rows(np.array((admitted.part[:clean], cell, rows.time_ms[:clean] // MINUTE_MS)))
        strata = [part.names.strata for part in admitted.parts]
        parts, cells, minutes = groups.tolist()
        where = [(strata[p][stratum_of(c)], kind_of(c), m) for p, c, m in zip(parts, cells, minutes, strict=True)]
        limits = self._limits(where, len(strata) > 1)
        places = np.arange(clean) if limits is None else np.flatnonzero(hashes <= limits[group])
        places = places[smallest(group[places], hashes[places], SAMPLES_PER_CELL_MINUTE)]
        group, hashes = group[places], hashes[places]
        starts, all_hashes = np.flatnonzero(is_first_of_run(group)), hashes.tolist()
        runs: list[list[Run]] = [[] for _ in strata]
        for at, (start, end) in zip(group[starts].tolist(), pairwise([*starts.tolist(), places.size]), strict=True):
            runs[parts[at]].append((where[at], all_hashes[start:end]))
        wanted, written = self._wanted(runs)
        sizes = lengths(starts, places.size)
        within = np.arange(places.size) - np.repeat(starts, sizes)
        return Drawn(places[within < np.repeat(np.array(wanted, np.int64), sizes)], written)

    def note(self, written: Written) -> None:
        """A part was written."""
        if written.is_all:
            self._smallest = dict(written.smallest)
        else:
            self._smallest |= written.smallest

    def _limits(self, where: Sequence[CellMinute], are_more: bool) -> Hashes | None:
        """Above which hash none is wanted, as known now; None where none is, or may not be in a later part."""
        if are_more and len(self._smallest) + len(where) >= MAX_CELL_MINUTES:
            return None
        kept = [self._smallest.get(each) for each in where]
        if not any(each and len(each) == SAMPLES_PER_CELL_MINUTE for each in kept):
            return None
        limits = [each[-1] if each and len(each) == SAMPLES_PER_CELL_MINUTE else _UNLIMITED for each in kept]
        return np.array(limits, np.uint64)

    def _wanted(self, parts: Sequence[Sequence[Run]]) -> tuple[list[int], list[Written]]:
        """How many of each run are wanted, and what is known after each part."""
        known, ahead = self._smallest, dict[CellMinute, list[int]]()
        wanted, written = list[int](), list[Written]()
        for runs in parts:
            new: list[tuple[CellMinute, list[int] | None, list[int]]] = []
            for where, hashes in runs:
                kept = ahead.get(where) or known.get(where)
                if kept is not None and len(kept) == SAMPLES_PER_CELL_MINUTE and hashes[-1] > kept[-1]:
                    hashes = hashes[: bisect_right(hashes, kept[-1])]
                wanted.append(len(hashes))
                if hashes:
                    new.append((where, kept, hashes))
            if len(known) + len(ahead) + len(new) < MAX_CELL_MINUTES:
                merged = {where: _merged(kept, hashes) for where, kept, hashes in new}
                ahead |= merged
                written.append(Written(merged))
            else:
                known, ahead = _forgetting({**known, **ahead}, new), {}
                written.append(Written(known, is_all=True))
        return wanted, written


def _merged(kept: list[int] | None, hashes: list[int]) -> list[int]:
    """The smallest of both, distinct and ascending."""
    if kept is None and len(hashes) == 1:
        return hashes
    return sorted({*(kept or ()), *hashes})[:SAMPLES_PER_CELL_MINUTE]


def _forgetting(
    known: dict[CellMinute, list[int]], new: Sequence[tuple[CellMinute, list[int] | None, list[int]]]
) -> dict[CellMinute, list[int]]:
    """The same of all, where there may be no place for more: then everything is forgotten."""
    for where, _, hashes in new:
        for each in hashes:
            if len(known) >= MAX_CELL_MINUTES:
                known = {}
            known[where] = _merged(known.get(where), [each])
    return known
