"""Names to array positions: updates, strata and rings, bounded and in order of first appearance."""

from collections.abc import Hashable
from typing import Generic, TypeVar

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
