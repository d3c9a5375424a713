"""Lists of updates that hosts repeat: read once, and known again by their bytes. Pure.

A host reports every hour, and lists the same updates until one is replaced. Of the list that it had before neither the
names nor the times are read again; it is kept as two columns, which is what a fold wants of it.
"""

from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.wire.events import Update

MOST_HOSTS = 1 << 17  # some 250 MB with 16 updates each; of the hosts that come after these every list is read
MOST_NAMES = 1 << 16  # past these all is forgotten
WORTH_BYTES = 1_000  # an event with few updates is read as fast as its list is looked up

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


class Remembered:
    """A list as it was read: its bytes, its updates, and these as columns once it has come again."""

    __slots__ = ("listed", "raw", "updates")

    def __init__(self, raw: bytes, updates: tuple[Update, ...]) -> None:
        self.raw, self.updates = raw, updates
        self.listed: Listed | None = None


class KnownLists:
    """The newest list of each host; events of less than `worth_bytes` are left out.

    >>> lists = KnownLists()
    >>> lists.remember(b"h-1", b"[...]", (Update("v", "p", "1", 1_700_000_000_000),))
    >>> next(lists.listed(lists.of_host[b"h-1"]).updates()).version
    '1'
    """

    def __init__(self, worth_bytes: int = WORTH_BYTES) -> None:
        self.of_host: dict[bytes, Remembered] = {}
        self.worth_bytes = worth_bytes
        self._names = UpdateNames()

    def has_room(self, host: bytes) -> bool:
        """Whether a list of this host can be remembered."""
        return len(self.of_host) < MOST_HOSTS or host in self.of_host

    def remember(self, host: bytes, raw: bytes, updates: tuple[Update, ...]) -> None:
        """These bytes are what the host lists."""
        if len(self._names) > MOST_NAMES:
            self.of_host.clear()
            self._names = UpdateNames()
        self.of_host[host] = Remembered(raw, updates)

    def listed(self, remembered: Remembered) -> Listed:
        """As columns."""
        if remembered.listed is None:
            remembered.listed, remembered.updates = columns_of(remembered.updates, self._names), ()
        return remembered.listed


def columns_of(updates: Iterable[Update], names: UpdateNames) -> Listed:
    """A list as columns."""
    pairs = [(names[update.vendor, update.product, update.version], update.installed_at) for update in updates]
    numbers, installed_ms = zip(*pairs, strict=True) if pairs else ((), ())
    return Listed(names, array("q", numbers).tobytes(), array("q", installed_ms).tobytes())
