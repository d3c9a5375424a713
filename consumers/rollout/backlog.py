"""What a compacted topic holds when a reader begins, less what the reader can do without: verifying takes its time, and
what is not compacted yet may hold a week of heartbeats. Pure.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator
from itertools import chain
from typing import Protocol

import msgspec

from consumers.rollout.gate import Knowledge, Question
from pipeline.wire.record_keys import alarm_key, fleet_of, heartbeat_key, is_heartbeat, key_text

Record = tuple[bytes | None, bytes | None]  # key and value
MAX_WORDS = 64  # of a key of fleet.verdicts: enough for a rate of trials, and for junk before the newest heartbeat
MAX_HALTS = 1_000  # of the update's own key
MAX_FLEETS = 20  # whose heartbeats are there, to be named to somebody who asked for one that is not


class Waiting(Protocol):
    """Records that were read, on their way to what is known."""

    def put_word(self, key: bytes | None, value: bytes | None) -> None:
        """A record of `fleet.verdicts`."""

    def put_halt(self, key: bytes | None, value: bytes | None) -> None:
        """A record of `fleet.halts`."""

    def feed(self, knowledge: Knowledge) -> bool:
        """Hand over what waits; whether there was anything."""


class Backlog:
    """The records that a question needs: the newest of its keys, and the last one of each other halt of its fleet."""

    def __init__(self, asked: Question) -> None:
        self._asked, self._beat = asked, heartbeat_key(asked.fleet)
        self._alarm = alarm_key(asked.fleet)
        self._words: dict[bytes, deque[Record]] = {}
        self._halts: deque[Record] = deque(maxlen=MAX_HALTS)
        self._others: dict[bytes, Record] = {}
        self._fleets: dict[bytes, Record] = {}

    def put_word(self, key: bytes | None, value: bytes | None) -> None:
        """A record of `fleet.verdicts`."""
        if is_heartbeat(key) and key_text(key) != self._beat:
            if key in self._fleets or len(self._fleets) < MAX_FLEETS:
                self._fleets[key or b""] = key, value
        elif is_heartbeat(key) or key_text(key) == self._alarm or self._is_the_update(key):
            self._words.setdefault(key or b"", deque(maxlen=MAX_WORDS)).append((key, value))

    def _is_the_update(self, key: bytes | None) -> bool:
        """In any ring, for a halt that waits for a person concerns all; and however it is spelt."""
        update, _, _ = key_text(key).rpartition("/")
        return update.casefold() == self._asked.halt_key.casefold()

    def put_halt(self, key: bytes | None, value: bytes | None) -> None:
        """A record of `fleet.halts`."""
        if key_text(key) == self._asked.halt_key:
            self._halts.append((key, value))
        elif fleet_of(key) == self._asked.fleet:
            self._others[key or b""] = key, value

    def words(self) -> Iterator[Record]:
        """Each key's in their order; given once."""
        words, self._words, fleets, self._fleets = self._words, {}, self._fleets, {}
        return chain(*words.values(), fleets.values())

    def halts(self) -> Iterator[Record]:
        """The update's own, in their order; given once."""
        halts, self._halts = self._halts, deque(maxlen=MAX_HALTS)
        return iter(halts)

    def others(self) -> Iterator[Record]:
        """The last of each other update of the fleet; given once."""
        others, self._others = self._others, {}
        return iter(others.values())

    def feed(self, knowledge: Knowledge) -> bool:
        """Hand over what waits; whether there was anything."""
        words, halts = list(self.words()), list(self.halts())
        for key, value in words:
            knowledge.take_word(key, value)
        for key, value in halts:
            knowledge.take_halt(key, value)
        beat = knowledge.record.beats.get(self._asked.fleet)
        if beat is not None and beat.standing_total > len(beat.standing or ()):  # it counts more than it names
            for key, value in self.others():
                knowledge.take_halt(key, value)
        return bool(words or halts)


class _Newness(msgspec.Struct, frozen=True):
    """What tells how new a record says that it is."""

    at: int = 0
    epoch: int = 0
    action: str = ""
    issued_at: int = 0


_newness = msgspec.json.Decoder(_Newness)


class FleetBacklog:
    """All records of some fleets, None: of every one. Of each key the newest that is believed is verified, and the
    last: all others change nothing."""

    def __init__(self, fleets: Collection[str] | None) -> None:
        self._fleets = None if fleets is None else frozenset(fleets)
        self._words: dict[bytes, deque[Record]] = {}
        self._halts: dict[bytes, deque[Record]] = {}

    def put_word(self, key: bytes | None, value: bytes | None) -> None:
        """A record of `fleet.verdicts`."""
        if self._is_followed(key):
            self._words.setdefault(key or b"", deque(maxlen=MAX_WORDS)).append((key, value))

    def put_halt(self, key: bytes | None, value: bytes | None) -> None:
        """A record of `fleet.halts`."""
        if self._is_followed(key):
            self._halts.setdefault(key or b"", deque(maxlen=MAX_HALTS)).append((key, value))

    def _is_followed(self, key: bytes | None) -> bool:
        return self._fleets is None or fleet_of(key) in self._fleets

    def feed(self, knowledge: Knowledge) -> bool:
        """Hand over what waits; whether there was anything."""
        words, self._words, halts, self._halts = self._words, {}, self._halts, {}
        for records in words.values():
            _take(records, knowledge.take_word)
        for records in halts.values():
            _take(records, knowledge.take_halt)
        return bool(words or halts)


def _take(records: deque[Record], take: Callable[[bytes | None, bytes | None], str]) -> None:
    newest, last = records[-1], None
    for last in sorted(records, key=_rank, reverse=True) if len(records) > 1 else ():
        if not take(*last):
            break
    if last is not newest:
        take(*newest)


def _rank(record: Record) -> tuple[int, int, bool, int]:
    """Those of one key in the order in which they were signed."""
    try:
        said = _newness.decode(record[1] or b"")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return (0, 0, False, 0)
    return said.at, said.epoch, said.action == "halt", said.issued_at
