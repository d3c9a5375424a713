"""Names to array positions: updates, strata and rings, bounded and in order of first appearance."""

from collections.abc import Hashable
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import numpy as np

from pipeline.decide.arrays import Bools, Column, Floats, Ints, Part, Plain, Sizes, capacity
from pipeline.wire.cells import kind_of, stratum_of
from pipeline.wire.partials import Stratum, UpdateId

MAX_UPDATES = 2_048
MAX_STRATA = 64
MAX_RINGS = 16
MAX_SIGNATURES = 4_096
REST = "*"  # the stratum part that stands for all the rare ones

K = TypeVar("K", bound=Hashable)


class NameIndex(Generic[K]):
    """A bounded index; a freed position is used again."""

    def __init__(self, limit: int, names: list[K | None] | None = None) -> None:
        self.limit = limit
        self.changes = 0  # how often a name came or went
        self.names: list[K | None] = [] if names is None else names
        self._index: dict[K, int] = {name: i for i, name in enumerate(self.names) if name is not None}
        self._free = [i for i, name in enumerate(self.names) if name is None][::-1]

    def __len__(self) -> int:
        """Positions in use or once used: the size that arrays must have."""
        return len(self.names)

    def get(self, name: K) -> int:
        """The position, or -1."""
        return self._index.get(name, -1)

    def add(self, name: K) -> int:
        """The position, a new one where needed; -1 when full."""
        known = self._index.get(name)
        if known is not None:
            return known
        if self._free:
            position = self._free.pop()
            self.names[position] = name
        elif len(self.names) < self.limit:
            position = len(self.names)
            self.names.append(name)
        else:
            return -1
        self._index[name] = position
        self.changes += 1
        return position

    def remove(self, position: int) -> None:
        """Free a position."""
        name = self.names[position]
        if name is not None:
            del self._index[name]
            self.names[position] = None
            self.changes += 1
            self._free.append(position)

    def live(self) -> list[tuple[int, K]]:
        """Positions in use and their names."""
        return [(i, name) for i, name in enumerate(self.names) if name is not None]


class Groups(Part):
    """Which strata belong together."""

    ring_of: Annotated[Ints, Column("ring_of", ("strata",), "ring", dtype=np.int64)]
    # (P, S) 1 where a stratum is in the pool of all, or of its ring, system or model
    pools: Annotated[Floats, Plain("pools", lambda: np.ones((1, 8)), "0 or 1")]

    def place(self, stratum: int, ring: int, strata: list[tuple[int, Stratum]]) -> None:
        """A stratum has come; `strata` are all of them, by position."""
        size = capacity(strata[-1][0] + 1)
        self.resize(Sizes(size, 0, 0))
        self.ring_of[stratum] = ring
        groups: dict[tuple[int, str], Floats] = {}
        for position, known in strata:
            for part, name in enumerate(known):
                groups.setdefault((part, name), np.zeros(size))[position] = 1.0
        self.pools = np.stack([np.ones(size), *groups.values()])


class Registry:
    """All names of a fleet.

    >>> registry = Registry()
    >>> registry.stratum(Stratum("canary", "os", "a")), registry.stratum(Stratum("broad", "os", "a"))
    (0, 1)
    >>> registry.groups.ring_of[:2].tolist(), registry.groups.pools.shape
    ([0, 1], (5, 8))
    """

    def __init__(self) -> None:
        self.updates: NameIndex[UpdateId] = NameIndex(MAX_UPDATES)
        self.strata: NameIndex[Stratum] = NameIndex(MAX_STRATA)
        self.rings: NameIndex[str] = NameIndex(MAX_RINGS)
        self.signatures: NameIndex[tuple[str, str]] = NameIndex(MAX_SIGNATURES)
        self.groups = Groups()

    @property
    def sizes(self) -> Sizes:
        """How many positions each axis must have."""
        return Sizes(len(self.strata), len(self.updates), len(self.signatures))

    @property
    def changes(self) -> tuple[int, int]:
        """How often names of updates and strata have come or gone."""
        return self.updates.changes, self.strata.changes

    def stratum(self, stratum: Stratum) -> int:
        """Its position; past the limit, rare ones fold into their ring, and rings into the rest."""
        if (position := self.strata.get(stratum)) >= 0:
            return position
        if self.rings.add(stratum.ring) < 0:
            stratum = Stratum(REST, REST, REST)
        known = len(self.strata)
        if (position := self.strata.get(stratum)) >= 0:
            return position
        # the last places are kept for the parents, so that there is always one to fold into
        crowded = known >= self.strata.limit - len(self.rings) - self.rings.limit // 4
        position = self.strata.add(Stratum(stratum.ring, REST, REST) if crowded else stratum)
        if position < 0:
            position = max(self.strata.add(Stratum(REST, REST, REST)), 0)
        if len(self.strata) > known:
            name = self.strata.names[position]
            self.groups.place(position, max(self.rings.get(name.ring if name else REST), 0), self.strata.live())
        return position

    def pack(self) -> dict[str, Any]:
        """The names, in order of their positions."""
        return {name: getattr(self, name).names for name in ("updates", "strata", "rings", "signatures")}

    def restore(self, names: dict[str, Any]) -> None:
        """The inverse."""
        self.updates = NameIndex(MAX_UPDATES, [UpdateId(*n) if n else None for n in names["updates"]])
        self.strata = NameIndex(MAX_STRATA, [Stratum(*n) if n else None for n in names["strata"]])
        self.rings = NameIndex(MAX_RINGS, names["rings"])
        self.signatures = NameIndex(MAX_SIGNATURES, [(n[0], n[1]) if n else None for n in names["signatures"]])


class Placed(NamedTuple):
    """Rows of clean trials, by position; `update` is 0 where the rows are of no update."""

    bucket: Ints
    kind: Ints
    stratum: Ints
    ring: Ints
    update: Ints
    hosts: Floats


class PlacedRows:
    """Those of a partial's rows that are chosen, to be had slice by slice."""

    def __init__(self, chosen: Bools, rows: Placed) -> None:
        self._before: Ints = np.concatenate(([0], np.cumsum(chosen)))
        self._rows = rows if chosen.all() else Placed(*[column[chosen] for column in rows])  # type: ignore[arg-type]

    def of(self, rows: slice) -> Placed:
        """Of these rows of the partial."""
        start, stop = self._before[rows.start], self._before[rows.stop]
        return Placed(*[column[start:stop] for column in self._rows])  # type: ignore[arg-type]


class Rows(NamedTuple):
    """A partial's rows of each sort; those of updates without a position are left out."""

    trials: PlacedRows
    exposed: PlacedRows
    excluded: PlacedRows


def placed_rows(trials: Ints, exposures: Ints, strata: Ints, updates: Ints, ring_of: Ints) -> Rows:
    """Of columns; `strata` and `updates` are the positions of the partial's, -1 without one."""

    bucket, cell, hosts = trials
    stratum = strata[stratum_of(cell)]
    none = np.zeros_like(bucket)
    clean = Placed(bucket, kind_of(cell), stratum, ring_of[stratum], none, hosts.astype(np.float64))
    bucket, cell, listed, exposed, excluded = exposures
    stratum, update = strata[stratum_of(cell)], updates[listed]
    every = Placed(bucket, kind_of(cell), stratum, ring_of[stratum], update, exposed.astype(np.float64))
    others = every._replace(hosts=excluded.astype(np.float64))
    known = update >= 0
    chosen = [PlacedRows(known & (rows.hosts > 0), rows) for rows in (every, others)]
    return Rows(PlacedRows(hosts > 0, clean), *chosen)


class Positions(dict[tuple[int, ...], tuple[int, ...]]):
    """A partial's lists of updates as positions, of those that have one: hosts have many lists in common.

    >>> Positions([7, -1, 5])[0, 1, 2]
    (7, 5)
    """

    def __init__(self, updates: list[int]) -> None:
        super().__init__()
        self.updates = updates

    def __missing__(self, listed: tuple[int, ...]) -> tuple[int, ...]:
        updates = self.updates
        self[listed] = found = tuple([position for each in listed if (position := updates[each]) >= 0])
        return found
