"""What a compacted topic holds when a reader begins, less what the reader can do without: verifying takes its time, and
what is not compacted yet may hold a week of heartbeats. Pure.
"""

from collections import deque
from collections.abc import Iterator
from itertools import chain

from consumers.rollout.gate import Question
from pipeline.wire.record_keys import fleet_of, heartbeat_key, is_heartbeat, key_text

Record = tuple[bytes | None, bytes | None]  # key and value
MAX_WORDS = 64  # of a key of fleet.verdicts: enough for a rate of trials, and for junk before the newest heartbeat
MAX_HALTS = 1_000  # of the update's own key
MAX_FLEETS = 20  # whose heartbeats are there, to be named to somebody who asked for one that is not


class Backlog:
    """The records that a question needs: the newest of its keys, and the last one of each other halt of its fleet."""

    def __init__(self, asked: Question) -> None:
        self._asked, self._beat = asked, heartbeat_key(asked.fleet)
        self._words: dict[bytes, deque[Record]] = {}
        self._halts: deque[Record] = deque(maxlen=MAX_HALTS)
        self._others: dict[bytes, Record] = {}
        self._fleets: dict[bytes, Record] = {}

    def put_word(self, key: bytes | None, value: bytes | None) -> None:
        """A record of `fleet.verdicts`."""
        if is_heartbeat(key) and key_text(key) != self._beat:
            if key in self._fleets or len(self._fleets) < MAX_FLEETS:
                self._fleets[key or b""] = key, value
        elif is_heartbeat(key) or self._is_the_update(key):
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
