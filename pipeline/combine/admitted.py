"""A batch after admission: columns, and by which partial they go into. Pure.

Several partials are folded in one go where a stream is cut finely: a call into numpy takes as long for ten events as
for a thousand. Each has numbers of its own for its names, in order of first appearance in it, as if it were alone.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.combine.hashing import Hashes
from pipeline.combine.noting import Noting
from pipeline.wire.decode import moment_of
from pipeline.wire.events import Boot, Crash

Ints = npt.NDArray[np.int64]

CRASH, UNDATED = 2, 3  # kinds of a row beside BOOT and HEARTBEAT
_SPARSE = 4  # a table of so many places for each number is not worth its memory


class Rows(NamedTuple):
    """Trials that count and crashes, one entry each; the updates that they list stand in the last two, in order.
    `place` is the number of region and site."""

    kind: Ints
    stratum: Ints
    time_ms: Ints
    host_hash: Hashes
    place: Ints
    listed: Ints  # how many updates
    update: Ints
    installed_ms: Ints


class CrashReport(NamedTuple):
    """A crash as it was read, and the host that it counts for."""

    event: Boot | Crash
    host: str
    partition: int
    offset: int

    @property
    def moment(self) -> tuple[int, int]:
        """CRASH or UNDATED, and when (unix ms): a boot tells of a crash before it."""
        undated = isinstance(self.event, Boot) and self.event.prior_ended_at is None
        return UNDATED if undated else CRASH, moment_of(self.event)


class Names(NamedTuple):
    """What numbers stand for: the place of a name is its number."""

    fleets: tuple[str, ...]
    strata: tuple[tuple[str, ...], ...]  # fleet, ring, operating system, model
    updates: tuple[tuple[str, ...], ...]  # vendor, product, version


class Part(NamedTuple):
    """What goes into one partial: `clean` rows of trials, and the rows of its `crashes`, in their order. `totals`
    (3, fleets) are events, repeats and undated crashes; `newest_ms` is the latest time of all events, 0 without any;
    `noting` what was noted about them."""

    names: Names
    clean: int
    crashes: tuple[CrashReport, ...]
    totals: Ints
    newest_ms: int
    noting: Noting


class Admitted(NamedTuple):
    """A batch after admission, of one part or more. The rows are the clean trials part by part, then the crashes part
    by part; the numbers of strata and updates are those of the row's part. `product` is the same number for two of the
    updates listed when they are of one vendor and product."""

    rows: Rows
    product: Ints
    parts: tuple[Part, ...]

    @property
    def clean(self) -> int:
        """How many rows are clean trials."""
        return sum([part.clean for part in self.parts])

    @property
    def part(self) -> Ints:
        """The part of each row."""
        of = np.arange(len(self.parts))
        crashes = [len(part.crashes) for part in self.parts]
        return np.concatenate((np.repeat(of, [part.clean for part in self.parts]), np.repeat(of, crashes)))


def products_of(updates: tuple[tuple[str, ...], ...]) -> Ints:
    """The number of each one's vendor and product."""
    products: dict[tuple[str, ...], int] = {}
    return np.array([products.setdefault(name[:2], len(products)) for name in updates], np.int64)


def own_numbers(part: Ints, number: Ints, parts: int, names: int) -> tuple[Ints, list[list[int]]]:
    """For a `number` below `names` in each of some places of `parts` parts: that of its part, where they go by first
    appearance; and of each part those that its own stand for.

    >>> own, known = own_numbers(np.array([0, 0, 1, 1, 0]), np.array([7, 3, 3, 8, 7]), 2, 9)
    >>> own.tolist(), known
    ([0, 1, 0, 1, 0], [[7, 3], [3, 8]])
    """
    distinct, first, place = _first_seen(part * names + number, parts * names)
    owner = distinct // max(names, 1)
    order = np.lexsort((first, owner))
    starts = np.searchsorted(owner, np.arange(parts + 1))
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size) - starts[owner]
    known = (distinct[order] - owner * names).tolist()
    ends = starts.tolist()
    return rank[place], [known[ends[each] : ends[each + 1]] for each in range(parts)]


def _first_seen(keys: Ints, size: int) -> tuple[Ints, Ints, Ints]:
    """Distinct keys below `size` in ascending order, where each stands first, and of each key its place among them."""
    if size > _SPARSE * keys.size:
        distinct, first, place = np.unique(keys, return_index=True, return_inverse=True)
        return distinct, first, place
    first = np.full(size, keys.size)
    np.minimum.at(first, keys, np.arange(keys.size))
    distinct = np.flatnonzero(first < keys.size)
    place = np.empty(size, np.int64)
    place[distinct] = np.arange(distinct.size)
    return distinct, first[distinct], place[keys]
