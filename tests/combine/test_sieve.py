"""Of each cell and minute the smallest hashes are sampled, and none twice that need not be."""

import numpy as np

from pipeline.combine.admitted import Admitted, Names, Part, Rows
from pipeline.combine.noting import Noting
from pipeline.combine.sieve import MAX_CELL_MINUTES, SampleSieve
from pipeline.wire.spans import MINUTE_MS

NAMES = Names(("acme",), (("acme", "r", "o", "m"),), ())
NONE = np.zeros(0, np.int64)


def trials(minutes: list[int], hashes: list[int], *sizes: int) -> Admitted:
    """Boots of one stratum, in parts of these sizes."""
    zeros = np.zeros(len(minutes), np.int64)
    rows = Rows(zeros, zeros, np.array(minutes) * MINUTE_MS, np.array(hashes, np.uint64), zeros, zeros, NONE, NONE)
    parts = [Part(NAMES, size, (), np.zeros((3, 1), np.int64), 0, Noting()) for size in sizes or (len(minutes),)]
    return Admitted(rows, NONE, tuple(parts))


def wanted(sieve: SampleSieve, minutes: list[int], hashes: list[int], *sizes: int) -> list[int]:
    """Which of these are sampled; they are written."""
    drawn = sieve.candidates(trials(minutes, hashes, *sizes))
    for written in drawn.written:
        sieve.note(written)
    return [hashes[row] for row in drawn.rows.tolist()]


def test_the_sieve_is_bounded_and_lets_the_smallest_pass() -> None:
    """It wants everything until sixteen are known, then only what is not larger; it forgets rather than grow."""
    sieve = SampleSieve()
    assert wanted(sieve, [1] * 10, [*range(100, 110)]) == [*range(100, 110)]
    assert wanted(sieve, [1] * 8, [*range(110, 118)]) == [*range(110, 118)]
    assert wanted(sieve, [1] * 3, [116, 3, 115]) == [3, 115]
    assert wanted(sieve, [1] * 3, [115, 114, 5]) == [5, 114]
    assert wanted(sieve, [*range(2, 2 + MAX_CELL_MINUTES)], [1] * MAX_CELL_MINUTES) == [1] * MAX_CELL_MINUTES
    assert wanted(sieve, [1], [500]) == [500]


def test_what_is_not_written_is_wanted_again() -> None:
    """Who only asks changes nothing."""
    sieve = SampleSieve()
    batch = trials([1] * 20, [*range(20)])
    assert sieve.candidates(batch).rows.tolist() == sieve.candidates(batch).rows.tolist() == [*range(16)]
    assert wanted(sieve, [1], [500]) == [500]


def test_parts_are_sampled_as_if_each_was_written_before_the_next() -> None:
    """A later part leaves out what is larger than sixteen of those before it, in the same minute only."""
    minutes, hashes = [1] * 16 + [1, 1, 2], [*range(10, 26), 40, 5, 40]
    assert wanted(SampleSieve(), minutes, hashes, 16, 3) == [*range(10, 26), 5, 40]
    sieve = SampleSieve()
    assert wanted(sieve, minutes[:16], hashes[:16]) + wanted(sieve, minutes[16:], hashes[16:]) == [
        *range(10, 26),
        5,
        40,
    ]
