"""Cells: each trial falls into one, given by its kind and its stratum, and one number stands for both. Pure.

The functions take a number or an array of them, and answer alike. A stratum is its index in the list that the number
goes with: a partial's strata, a fold's.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

BOOT, HEARTBEAT = 0, 1  # the kinds of clean trials
KINDS = 2

Numbers = TypeVar("Numbers", int, npt.NDArray[np.int64])


def cell_of(stratum: Numbers, kind: Numbers) -> Numbers:
    """The cell of trials of this kind in this stratum."""
    return KINDS * stratum + kind


def stratum_of(cell: Numbers) -> Numbers:
    """The cell's stratum."""
    return cell >> 1  # of an array a shift takes a tenth of a division's time


def kind_of(cell: Numbers) -> Numbers:
    """The kind of the cell's trials."""
    return cell & 1


def cell_count(strata: int) -> int:
    """How many cells so many strata have; every cell's number is below it."""
    return KINDS * strata
