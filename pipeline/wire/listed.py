"""Lists of updates that hosts repeat: read once, and known again by their bytes. Pure.

A host reports every hour, and lists the same updates until one is replaced. Of the list that it had before neither the
names nor the times are read again; it is kept as two columns, which is what a fold wants of it.
"""

from array import array
from collections.abc import Iterable, Iterator
from struct import pack
from typing import NamedTuple

from pipeline.wire.events import Update

MOST_BYTES = 256 << 20  # of what is remembered: 125,000 hosts that list 16 updates each
MOST_NAMES = 1 << 16  # past these all is forgotten
WORTH_BYTES = 1_000  # an event with few updates is read as fast as its list is looked up
_BESIDE_BYTES = 450  # that a host's entry takes beside its texts and columns

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


class Remembered(NamedTuple):
    """A list as it was read, with its key, and its updates."""

    raw: bytes
    listed: Listed


class KnownLists:
    """The newest list of each host, of as many hosts as MOST_BYTES hold: of the others nothing is remembered. Events of
    less than `worth_bytes` are left out.

    >>> lists = KnownLists()
    >>> listed = lists.remember(b"h-1", b'"updates":[...]', (Update("v", "p", "1", 1_700_000_000_000),))
    >>> next(listed.updates()).version, lists.of_host[b"h-1"].listed is listed
    ('1', True)
    """

    def __init__(self, worth_bytes: int = WORTH_BYTES) -> None:
        self.of_host: dict[bytes, Remembered] = {}
        self.worth_bytes = worth_bytes
        self._names = UpdateNames()
        self._bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether there is room for another host."""
        return self._bytes < MOST_BYTES

    def remember(self, host: bytes, raw: bytes, updates: tuple[Update, ...]) -> Listed:
        """These bytes are what the host lists; that list."""
        if len(self._names) > MOST_NAMES:
            self.of_host.clear()
            self._names, self._bytes = UpdateNames(), 0
        listed = columns_of(updates, self._names)
        if (before := self.of_host.get(host)) is not None:
            self._bytes -= _size_bytes(host, before)
        self.of_host[host] = found = Remembered(raw, listed)
        self._bytes += _size_bytes(host, found)
        return listed


def columns_of(updates: Iterable[Update], names: UpdateNames) -> Listed:
    """A list as columns."""
    listed = tuple(updates)
    form = f"{len(listed)}q"
    numbers = pack(form, *[names[each.vendor, each.product, each.version] for each in listed])
    return Listed(names, numbers, pack(form, *[each.installed_at for each in listed]))


def _size_bytes(host: bytes, remembered: Remembered) -> int:
    listed = remembered.listed
    return len(host) + len(remembered.raw) + len(listed.numbers) + len(listed.installed_ms) + _BESIDE_BYTES
