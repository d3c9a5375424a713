"""Lists of updates as columns: a number for each update, and when it was installed. Pure."""

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from pipeline.combine.admitted import Ints
from pipeline.wire.listed import Listed, UpdateNames, columns_of

Name = TypeVar("Name", str, tuple[str, ...])

_name, _installed_at = attrgetter("vendor", "product", "version"), attrgetter("installed_at")


class Index(dict[Name, int]):
    """Numbers for names, in order of first appearance."""

    def __missing__(self, name: Name) -> int:
        self[name] = number = len(self)
        return number


class Updates(Index[tuple[str, ...]]):
    """Numbers for updates: vendor, product, version."""

    def __init__(self) -> None:
        super().__init__()
        self._own = np.zeros(0, np.int64)  # numbers for those of `_known`: -1 where it has none yet
        self._known: UpdateNames | None = None

    def listed(self, lists: Sequence[Any]) -> tuple[Ints, Ints, Ints]:
        """How many updates each of the lists has; the updates' numbers and times, one list after the other."""
        names = next((each.names for each in lists if type(each) is Listed), None)
        if names is not None:
            lists = [each if type(each) is Listed and each.names is names else _columns(each, names) for each in lists]
            numbers = np.frombuffer(b"".join([each.numbers for each in lists]), np.int64)
            installed_ms = np.frombuffer(b"".join([each.installed_ms for each in lists]), np.int64)
            sizes = integers([len(each.numbers) for each in lists]) // numbers.itemsize
            return sizes, self._numbered(names, numbers), installed_ms
        flat = list(chain.from_iterable(lists))
        return (
            integers(list(map(len, lists))),
            np.fromiter(map(self.__getitem__, map(_name, flat)), np.int64, len(flat)),
            np.fromiter(map(_installed_at, flat), np.int64, len(flat)),
        )

    def _numbered(self, names: UpdateNames, numbers: Ints) -> Ints:
        """The numbers that `names` has, as ours; who has none yet gets one in order of first appearance."""
        if self._known is not names:
            self._known, self._own = names, np.zeros(0, np.int64)
        if self._own.size < len(names):
            self._own = np.concatenate((self._own, np.full(len(names) - self._own.size, -1)))
        fresh = np.flatnonzero(self._own[numbers] < 0)
        if fresh.size:
            first = np.full(len(names), numbers.size)
            np.minimum.at(first, numbers[fresh], fresh)
            for number in numbers[np.sort(first[first < numbers.size])].tolist():
                self._own[number] = self[names.in_order[number]]
        own: Ints = self._own[numbers]
        return own


def _columns(listed: Any, names: UpdateNames) -> Listed:
    """A list that was read just now, or before `names` began."""
    return columns_of(listed.updates() if isinstance(listed, Listed) else listed, names)


def integers(numbers: list[int]) -> Ints:
    """As a column."""
    return np.fromiter(numbers, np.int64, len(numbers))  # array() would look at each number twice
