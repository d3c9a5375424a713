"""How far reading has come: what the client hands over is compared with what it has handed over before. Pure.

For a moment after an assignment librdkafka says that a partition stands where it stood before (measured: 6 times of
50). Committed then, all between would be lost. And what it hands over again counts once.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

Offsets = Mapping[int, int]  # by partition


class Consumed(Protocol):
    """What is looked at of a message."""

    def error(self) -> Any: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...


M = TypeVar("M", bound=Consumed)


class Onward:
    """From the committed offsets on. `next` is by partition where everything ends that was read."""

    def __init__(self, committed: Offsets) -> None:
        self.next = dict(committed)
        self._begun = dict(committed)

    def take(self, messages: Sequence[M], position: Offsets) -> Sequence[M]:
        """Those that are new, in their order, and what is no record; `position` is where the client says it stands,
        negative where it does not know yet.

        Where it has moved by just as many offsets as there are messages, none came again: only else each is looked at.
        """
        known = {at: offset for at, offset in position.items() if offset >= 0 and at in self.next}
        moved = [offset - self.next[at] for at, offset in known.items()]
        if sum(moved) == len(messages) and min(moved, default=0) >= 0:
            self.next |= known
            return messages
        new = [message for message in messages if message.error() is not None or self._is_new(message)]
        # A transaction's marker may stand beyond the last record; before the first, the position may be an old one.
        self.next |= {at: max(offset, self.next[at]) for at, offset in known.items() if self.next[at] > self._begun[at]}
        return new

    def _is_new(self, message: Consumed) -> bool:
        partition, offset = message.partition(), message.offset()
        if partition is None or offset is None or offset < self.next.get(partition, offset + 1):
            return False
        self.next[partition] = offset + 1
        return True
