"""Which hashes can still be among the smallest of their cell and minute, given what this process has written. Pure.

Without it every micro-batch would write a whole sample. It never changes which sample the partials add up to: what it
holds back is larger than SAMPLES_PER_CELL_MINUTE hashes that were written already. Soft: it may forget at any time.
"""

from bisect import insort

import numpy as np

from pipeline.combine.fold import Fold
from pipeline.combine.gather import Admitted, Ints
from pipeline.wire.cells import cell_of, kind_of, stratum_of
from pipeline.wire.partials import SAMPLES_PER_CELL_MINUTE
from pipeline.wire.spans import MINUTE_MS

MAX_CELL_MINUTES = 1 << 16
UNLIMITED = (1 << 64) - 1
_MINUTES = 1 << 28  # more minutes than there are until the latest time that an event may have

CellMinute = tuple[tuple[str, ...], int, int]  # stratum with its fleet, kind, minute


class SampleSieve:
    """The smallest hashes written, by stratum, kind and minute."""

    def __init__(self) -> None:
        self._smallest: dict[CellMinute, list[int]] = {}

    def candidates(self, admitted: Admitted) -> Ints:
        """The rows that a sample may be drawn from: clean trials whose hashes are wanted."""
        rows, clean = admitted.rows, admitted.clean
        cell = cell_of(rows.stratum[:clean], rows.kind[:clean])
        groups, group = np.unique(cell * _MINUTES + rows.time_ms[:clean] // MINUTE_MS, return_inverse=True)
        cells, minutes = (groups // _MINUTES).tolist(), (groups % _MINUTES).tolist()
        names = admitted.names.strata
        limits = [self.limit((names[stratum_of(c)], kind_of(c), m)) for c, m in zip(cells, minutes, strict=True)]
        return np.flatnonzero(rows.host_hash[:clean] <= np.array(limits, np.uint64)[group])

    def note(self, fold: Fold) -> None:
        """The fold's samples were written."""
        names, last, where = fold.names.strata, (-1, -1), None
        for minute, cell, host_hash, *_ in fold.samples:
            if where is None or (minute, cell) != last:
                last, where = (minute, cell), (names[stratum_of(cell)], kind_of(cell), minute)
            self.note_hash(where, host_hash)

    def limit(self, where: CellMinute) -> int:
        """A hash above this is not wanted."""
        kept = self._smallest.get(where)
        return kept[-1] if kept is not None and len(kept) == SAMPLES_PER_CELL_MINUTE else UNLIMITED

    def note_hash(self, where: CellMinute, host_hash: int) -> None:
        """This hash was written."""
        if len(self._smallest) >= MAX_CELL_MINUTES:
            self._smallest.clear()
        kept = self._smallest.get(where)
        if kept is None:
            self._smallest[where] = [host_hash]
        elif host_hash not in kept:
            insort(kept, host_hash)
            del kept[SAMPLES_PER_CELL_MINUTE:]
