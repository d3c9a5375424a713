"""Counting in columns: rows of small integers packed into one 64-bit key, sorted, and counted. Pure."""

import math

import numpy as np
import numpy.typing as npt

from pipeline.combine.hashing import Hashes

Ints = npt.NDArray[np.int64]

_PACKED_LIMIT = 1 << 62  # one bit is for a flag
_DENSE = 4  # a table of so many places for each key takes less time than to sort them


def _radices(columns: Ints) -> tuple[Ints, list[int]] | None:
    """Each row's lowest value and number of values; None when a packed key would not fit 62 bits."""
    low = columns.min(axis=1)
    widths = [int(width) for width in columns.max(axis=1) - low + 1]
    product = 1
    for width in widths:
        product *= width
    return (low, widths) if product < _PACKED_LIMIT else None


def count_rows(columns: Ints) -> tuple[Ints, Ints, Ints]:
    """The distinct columns of a (k, n) array in ascending order, how often each occurs, and the place of each column of
    the array among them."""
    if columns.shape[1] == 0:
        return columns, np.zeros(0, np.int64), np.zeros(0, np.int64)
    radices = _radices(columns)
    if radices is None:
        order = np.lexsort(columns[::-1])
        is_first = is_first_of_run(*columns[:, order])
        starts, place = np.flatnonzero(is_first), np.empty_like(order)
        place[order] = np.cumsum(is_first) - 1
        return columns[:, order[starts]], lengths(starts, order.size), place
    keys, counts, place = _numbered(_pack(columns, *radices), math.prod(radices[1]))
    return _unpack(keys, *radices), counts, place


def count_flagged(keys: Ints, flagged: npt.NDArray[np.bool_], size: int) -> tuple[Ints, Ints]:
    """Distinct `keys` below `size` in ascending order, and how often each occurs: (2, ·) without and with the flag."""
    if size <= _DENSE * keys.size:
        both = np.bincount(keys << 1 | flagged, minlength=2 * size).reshape(size, 2)
        distinct = np.flatnonzero(both.any(axis=1))
        return distinct, both[distinct].T
    packed: Ints = np.sort(keys << 1 | flagged)
    keys = packed >> 1
    starts = np.flatnonzero(is_first_of_run(keys))
    with_flag = np.add.reduceat(packed & 1, starts) if starts.size else starts
    return keys[starts], np.array((lengths(starts, keys.size) - with_flag, with_flag))


def smallest(group: Ints, hashes: Hashes, most: int) -> Ints:
    """Positions of the `most` smallest hashes of each group, by group and hash; of equal ones all."""
    order = np.lexsort((hashes, group))
    group, hashes = group[order], hashes[order]
    is_first = is_first_of_run(group)
    is_new = is_first.copy()
    is_new[1:] |= hashes[1:] != hashes[:-1]
    distinct, starts = np.cumsum(is_new), np.flatnonzero(is_first)
    rank: Ints = distinct - np.repeat(distinct[starts], lengths(starts, order.size))
    chosen: Ints = order[rank < most]
    return chosen


def is_first_of_run(*columns: Ints) -> npt.NDArray[np.bool_]:
    """Which places differ from the one before in any column."""
    found = np.ones(columns[0].size, np.bool_)
    found[1:] = columns[0][1:] != columns[0][:-1]
    for column in columns[1:]:
        found[1:] |= column[1:] != column[:-1]
    return found


def lengths(starts: Ints, size: int) -> Ints:
    """How long each stretch is of `size` places, given where they start."""
    found = np.empty_like(starts)
    found[:-1] = starts[1:]
    found[-1:] = size
    found -= starts
    return found


def sum_rows(keys: Ints, sums: Ints) -> tuple[Ints, Ints]:
    """The distinct columns of `keys` (k, n) in ascending order, and the sums of `sums` (s, n) over each."""
    if keys.shape[1] == 0:
        return keys, sums
    radices = _radices(keys)
    order = np.lexsort(keys[::-1]) if radices is None else np.argsort(_pack(keys, *radices), kind="stable")
    keys, sums = keys[:, order], sums[:, order]
    starts = np.flatnonzero(np.concatenate(([True], (keys[:, 1:] != keys[:, :-1]).any(axis=0))))
    return keys[:, starts], np.add.reduceat(sums, starts, axis=1)


def _numbered(keys: Ints, size: int) -> tuple[Ints, Ints, Ints]:
    """Distinct `keys` below `size` in ascending order, how often each occurs, and the place of each key among them."""
    if size > _DENSE * keys.size:
        distinct, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
        return distinct, counts, place
    counts = np.bincount(keys, minlength=size)
    distinct = np.flatnonzero(counts)
    place = np.empty(size, np.int64)
    place[distinct] = np.arange(distinct.size)
    return distinct, counts[distinct], place[keys]


def _pack(columns: Ints, low: Ints, widths: list[int]) -> Ints:
    packed: Ints = columns[0] - low[0]
    for row in range(1, len(widths)):
        if widths[row] > 1:
            packed *= widths[row]
            packed += columns[row] - low[row]
    return packed


def _unpack(packed: Ints, low: Ints, widths: list[int]) -> Ints:
    columns = np.empty((len(widths), packed.size), np.int64)
    for row in range(len(widths) - 1, 0, -1):
        above = packed // widths[row]  # a division and a product take a quarter of the time of `np.divmod`
        columns[row] = packed - above * widths[row]
        packed = above
    columns[0] = packed
    columns += low[:, None]
    return columns
