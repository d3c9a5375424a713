"""Which of its updates each trial or crash is exposed to. Pure.

For a host at time t, an update is *exposed* when installed_at <= t < installed_at + window and no other version of the
same product has a later installed_at <= t; *excluded* when installed_at <= t and it is not exposed. With the same
installed_at the later in the list wins; the same version listed twice counts once, with its latest installed_at <= t.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.combine.admitted import UNDATED, Admitted
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

Ints = npt.NDArray[np.int64]
Statuses = npt.NDArray[np.int8]

EXPOSED, EXCLUDED, NEITHER = 0, 1, 2
# How old an installation is at most when a host first tells of it in a trial that counts: one an hour does.
FRESH_MS = HOUR_MS + 10 * MINUTE_MS


class Exposures(NamedTuple):
    """The updates that rows list, row by row; `owner` is the row, `status` EXPOSED, EXCLUDED or NEITHER; `early` the
    places of those that were installed only after the row's moment, `fresh` of those within FRESH_MS before."""

    first_update: Ints  # where a row's updates begin; one entry more than rows
    owner: Ints
    update: Ints
    status: Statuses
    early: Ints
    fresh: Ints

    def of(self, rows: Ints) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """The exposed and the excluded updates of each of some rows."""
        starts, ends = self.first_update[rows], self.first_update[rows + 1]
        listed = ends - starts
        places = np.repeat(starts - np.cumsum(listed) + listed, listed) + np.arange(listed.sum())
        row, update, status = np.repeat(np.arange(len(rows)), listed), self.update[places], self.status[places]
        exposed, excluded = status == EXPOSED, status == EXCLUDED
        return _slices(row[exposed], update[exposed], len(rows)), _slices(row[excluded], update[excluded], len(rows))

    def later(self, first_row: int, products: Ints) -> dict[int, tuple[int, ...]]:
        """By row, from this one on: updates that came only after its moment, of whose products it lists nothing that
        was there before."""
        found: dict[int, tuple[int, ...]] = {}
        for row in sorted({row for row in self.owner[self.early].tolist() if row >= first_row}):
            places = range(self.first_update[row], self.first_update[row + 1])
            there = {products[place] for place in places if self.status[place] != NEITHER}
            unknown = {int(self.update[place]): products[place] for place in places if self.status[place] == NEITHER}
            if kept := tuple(update for update, product in unknown.items() if product not in there):
                found[row] = kept
        return found


def _slices(row: Ints, update: Ints, rows: int) -> list[tuple[int, ...]]:
    """The updates of each row; `row` ascends."""
    flat, ends = tuple(update.tolist()), np.cumsum(np.bincount(row, minlength=rows)).tolist()
    return [flat[start:end] for start, end in pairwise([0, *ends])]


def exposures_of(admitted: Admitted, window_ms: int) -> Exposures:
    """The rows' updates with the status of each decided."""
    rows = admitted.rows
    owner = np.repeat(np.arange(rows.listed.size), rows.listed)
    age_ms = rows.time_ms[owner] - rows.installed_ms
    status = _status(age_ms, window_ms)
    if (undated := rows.kind == UNDATED).any():
        status[undated[owner]] = EXCLUDED
    _keep_newest(status, owner, rows.listed, rows.installed_ms, rows.update, admitted.product)
    return Exposures(
        first_update=np.concatenate(([0], np.cumsum(rows.listed))),
        owner=owner,
        update=rows.update,
        status=status,
        early=np.flatnonzero(age_ms < 0),
        fresh=np.flatnonzero((age_ms < FRESH_MS) & (status != NEITHER)),
    )


def _status(age_ms: Ints, window_ms: int) -> Statuses:
    """The status of updates installed so long before, each taken for itself."""
    status = (age_ms >= window_ms).astype(np.int8)  # EXPOSED or EXCLUDED
    status[age_ms < 0] = NEITHER
    return status


def _keep_newest(status: Statuses, owner: Ints, listed: Ints, installed: Ints, update: Ints, product: Ints) -> None:
    """Among a row's updates of one product: older versions are excluded, older mentions of one version dropped."""
    if not _any_twice(owner, product):
        return
    from_end = np.repeat(np.cumsum(listed), listed) - np.arange(update.size) - 1  # updates after this one in its row
    installed_here = status != NEITHER
    left = np.flatnonzero(from_end > 0)
    dropped = np.zeros(update.size, np.bool_)
    distance = 1
    while left.size:
        right = left + distance
        pair = (product[left] == product[right]) & installed_here[left] & installed_here[right]
        first, second = left[pair], right[pair]
        older = np.where(installed[second] >= installed[first], first, second)
        same = update[first] == update[second]
        dropped[older[same]] = True
        status[older[~same]] = EXCLUDED
        distance += 1
        left = left[from_end[left] >= distance]
    status[dropped] = NEITHER


def _any_twice(row: Ints, product: Ints) -> bool:
    """Whether a row lists a product twice: most hosts list of each what is installed, and nothing that was before."""
    keys = row * (product.max(initial=0) + 1) + product
    if keys.size and keys[-1] < 8 * keys.size:
        return bool(np.bincount(keys).max() > 1)
    keys.sort()
    return bool((keys[1:] == keys[:-1]).any())
