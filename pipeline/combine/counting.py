"""Counting in columns: rows of small integers packed into one 64-bit key, sorted, and counted. Pure."""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_PACKED_LIMIT = 1 << 62  # one bit is for a flag


def _radices(columns: Ints) -> tuple[Ints, list[int]] | None:
    """Each row's lowest value and number of values; None when a packed key would not fit 62 bits."""
    low = columns.min(axis=1)
    widths = [int(width) for width in columns.max(axis=1) - low + 1]
    product = 1
    for width in widths:
        product *= width
    return (low, widths) if product < _PACKED_LIMIT else None


def count_rows(columns: Ints) -> tuple[Ints, Ints]:
    """The distinct columns of a (k, n) array in ascending order, and how often each occurs."""
    distinct, counts = count_flagged(columns, np.zeros(columns.shape[1], np.bool_))
    return distinct, counts[0]


def count_flagged(columns: Ints, flagged: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The distinct columns of a (k, n) array in ascending order, and how often each occurs: (2, ·) without the flag and
    with it."""
    if columns.shape[1] == 0:
        return columns, np.zeros((2, 0), np.int64)
    radices = _radices(columns)
    if radices is None:
        return sum_rows(columns, np.stack((~flagged, flagged)).astype(np.int64))
    packed: Ints = np.sort(_pack(columns, *radices) << 1 | flagged)
    keys = packed >> 1
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    with_flag = np.add.reduceat(packed & 1, starts)
    return _unpack(keys[starts], *radices), np.array((lengths(starts, keys.size) - with_flag, with_flag))


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


def _pack(columns: Ints, low: Ints, widths: list[int]) -> Ints:
    packed: Ints = columns[0] - low[0]
    for row in range(1, len(widths)):
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
