"""Lists of updates that hosts repeat: read once, and known again by their bytes. Pure.

A host reports every hour, and lists the same updates until one is replaced. Of a list that was read before neither the
names nor the times are read again; it is kept as two columns, which is what a fold wants of it.
"""

from array import array
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.wire.events import Update

MOST_BYTES = 192 << 20  # of lists, as they were read; past these all are forgotten
MOST_NAMES = 1 << 16

Name = tuple[str, str, str]  # vendor, product, version


class UpdateNames(dict[Name, int]):
    """Numbers for updates, in order of first appearance; `in_order` are their names."""

    def __init__(self) -> None:
        super().__init__()
        self.in_order: list[Name] = []

    def __missing__(self, name: Name) -> int:
        self[name] = number = len(self.in_order)
        self.in_order.append(name)
        return number


class Listed(NamedTuple):
    """What a host lists, in place of a tuple of updates: `numbers` are those that `names` has for them, both columns
    int64 in the machine's order."""

    names: UpdateNames
    numbers: bytes
    installed_ms: bytes

    def updates(self) -> Iterator[Update]:
        """The list as it was read."""
        for number, installed_ms in zip(array("q", self.numbers), array("q", self.installed_ms), strict=True):
            yield Update(*self.names.in_order[number], installed_ms)


class KnownLists:
    """Lists by their bytes.

    >>> lists = KnownLists()
    >>> listed = lists.add(b"[...]", (Update("v", "p", "1", 1_700_000_000_000),))
    >>> lists.known[b"[...]"] is listed, next(listed.updates()).version
    (True, '1')
    """

    def __init__(self) -> None:
        self.known: dict[bytes, Listed] = {}
        self._names = UpdateNames()
        self._bytes = 0

    def add(self, raw: bytes, updates: tuple[Update, ...]) -> Listed:
        """These bytes are this list."""
        if self._bytes > MOST_BYTES or len(self._names) > MOST_NAMES:
            self.known.clear()
            self._names, self._bytes = UpdateNames(), 0
        self._bytes += len(raw)
        names = self._names
        numbers = array("q", [names[update.vendor, update.product, update.version] for update in updates])
        installed_ms = array("q", [update.installed_at for update in updates])
        self.known[raw] = listed = Listed(names, numbers.tobytes(), installed_ms.tobytes())
        return listed
