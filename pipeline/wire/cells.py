"""Cells: each trial falls into one, given by its kind and its stratum, and one number stands for both. Pure.

The functions take a number or an array of them, and answer alike. A stratum is its index in the list that the number
goes with: a partial's strata, a fold's.
"""

from functools import lru_cache
from typing import TypeVar
from zlib import crc32

import numpy as np
import numpy.typing as npt

PLACE_BITS = 30
_SITE_BITS = 15
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


@lru_cache(maxsize=1 << 14)
def place_of(region: str, site: str) -> int:
    """The number of a place, PLACE_BITS; few have one in common. 0 for none.

    >>> place_of("", ""), region_of(place_of("eu", "ber")) == region_of(place_of("eu", "muc"))
    (0, True)
    """
    if not region and not site:
        return 0
    return (crc32(region.encode()) % (1 << _SITE_BITS)) << _SITE_BITS | crc32(site.encode()) % (1 << _SITE_BITS)


def region_of(place: Numbers) -> Numbers:
    """The part of a place's number that is its region's."""
    return place >> _SITE_BITS


def site_of(place: Numbers) -> Numbers:
    """The part of a place's number that is its site's; 0 for none.

    >>> site_of(place_of("eu", "ber")) == site_of(place_of("us", "ber")) != site_of(place_of("eu", "muc"))
    True
    """
    return place & ((1 << _SITE_BITS) - 1)
