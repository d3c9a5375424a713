"""What the crashes of some buckets add to the log evidence, by ring and by signature.

Strata are gone through a few at a time: all bets on all updates of all strata would be 7 MB an array, and the time of a
step would be that of fetching and clearing memory.
"""

from collections.abc import Iterator

import numpy as np

from pipeline.decide import evidence as ev
from pipeline.decide.arrays import BLOCK_STRATA, Bools, Floats, Ints, add_at
from pipeline.decide.crash_columns import CrashColumns, Entries, places_among

BETS = len(ev.THETA)


def normalisers(share: Floats, tolerated: Floats, active: Bools) -> Iterator[tuple[slice, Floats]]:
    """ln(1 - p + theta*p), a block of strata after the other: which rows, and (rows, T, U); 0 where not active.

    `share` (C, U) is what harmless updates would get, `tolerated` (U,), `active` (C, U).
    """
    null = ev.null_share(share, tolerated) * active
    for first in range(0, len(null), BLOCK_STRATA):
        rows = slice(first, first + BLOCK_STRATA)
        yield rows, ev.log_normaliser(null[rows, None], ev.THETA[:, None])


class Increment:
    """Evidence and counts of some updates (U) by group: first each ring's crashes, then each signature's (R + G)."""

    def __init__(self, columns: CrashColumns, updates: Ints, share: Floats, active: Bools, ring_of: Ints) -> None:
        """`share` and `active` (C, U) are of these updates in the strata of `columns`."""
        self.rings, of_row = np.unique(ring_of[columns.strata], return_inverse=True)
        self.signatures = columns.signatures
        self._shape = len(self.rings) + len(self.signatures), len(updates)
        self._crashes = np.zeros((self._shape[0], len(columns.strata)))
        self._crashes[of_row, np.arange(len(columns.strata))] = columns.crashes[0]
        self._crashes[len(self.rings) :] = columns.crashes[1:]
        self._excluded = self._placed(columns.excluded, updates, of_row)
        exposed = self._placed(columns.exposed, updates, of_row)
        self.exposed: Floats = np.zeros(self._shape)
        add_at(self.exposed, (exposed.group, exposed.update), exposed.hosts)
        self.expected = self._over_strata(share * active)
        self.crashes = self._over_strata(active.astype(np.float64))
        self.evidence: Floats = self.exposed[:, None] * ev.LOG_THETA[:, None]  # (R + G, T, U)

    def _placed(self, entries: Entries, updates: Ints, of_row: Ints) -> Entries:
        """Entries by group of this class and column."""
        column, mine = places_among(entries, updates)
        group = np.where(entries.group == 0, of_row[entries.row], len(self.rings) - 1 + entries.group)
        return Entries(group[mine], entries.row[mine], column[mine], entries.hosts[mine])

    def _over_strata(self, values: Floats) -> Floats:
        """The sum of `values` (C, U) over the crashes that count for each update; (R + G, U)."""
        result: Floats = self._crashes @ values
        group, row, column, hosts = self._excluded
        add_at(result, (group, column), -hosts * values[row, column])
        return result

    def add(self, rows: slice, normaliser: Floats) -> None:
        """Take in a block of strata."""
        block = self._crashes[:, rows] @ normaliser.reshape(len(normaliser), -1)
        self.evidence -= block.reshape(self.evidence.shape)
        mine = (self._excluded.row >= rows.start) & (self._excluded.row < rows.stop)
        if mine.any():
            group, row, column, hosts = (values[mine][:, None] for values in self._excluded)
            bets = np.arange(BETS)
            place = np.broadcast_arrays(group, bets, column)
            add_at(self.evidence, tuple(place), hosts * normaliser[row - rows.start, bets, column])
