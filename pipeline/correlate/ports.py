"""What the correlator needs of the outside world. `pipeline/correlate/app.py` provides it through Faust."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pipeline.correlate.checkpoint import Entry as Entry
from pipeline.correlate.checkpoint import Place, reached
from pipeline.halt.chain import AuditRecord as AuditRecord
from pipeline.wire.commands import MAX_AGE_MS
from pipeline.wire.record_keys import fleet_of


class PartialRecord(NamedTuple):
    """A record of `fleet.partials`. `appended_at_ms`: when a broker wrote it down (unix ms), always the same."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    appended_at_ms: int
    after: int = 0  # from here to `offset` the log holds no other that a reader gets to see; all before came earlier

    @classmethod
    def of(cls, message: Any) -> "PartialRecord":
        """A message as Faust hands it on: it has seconds, and what fetching.py says in place of a checksum."""
        place = message.partition, message.offset, message.key, message.value or b""
        return cls(*place, appended_at_ms=round(message.timestamp * 1000), after=message.checksum)


class OutRecord(NamedTuple):
    """A record to be produced, to a topic of wire/topics.py, named without prefix."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


class CommandRecord(NamedTuple):
    """A record of `fleet.commands`. `appended_at_ms`: when a broker wrote it down (unix ms)."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    appended_at_ms: int

    @property
    def fleet(self) -> str:
        """Whose it claims to be, by its key."""
        return fleet_of(self.key)

    def is_past(self, now_ms: int) -> bool:
        """Whether it came so long ago that it could not be obeyed any more."""
        return now_ms - self.appended_at_ms > MAX_AGE_MS


class HaltRecord(NamedTuple):
    """A record of `fleet.halts` as it stands there; without a value it erases its key."""

    key: bytes | None
    value: bytes | None


class HaltsRead(NamedTuple):
    """What was read of `fleet.halts`: everything that it holds by now (`is_whole`), or what has come since."""

    is_whole: bool
    records: Sequence[HaltRecord]


class Bounds(NamedTuple):
    """What a partition of `fleet.partials` holds: the first offset, and the next one to be written. `log_id` tells the
    topic from an earlier one of its name; "" when the broker does not."""

    low: int
    high: int
    log_id: str = ""

    def has_been_at(self, offset: int, log_id: str) -> bool:
        """Whether a reader that is to go on at this offset of that topic was in this one."""
        return offset <= self.high and self._may_be(log_id)

    def is_behind(self, place: Place) -> bool:
        """Whether it may be the topic in which that place was reached, and ends before it."""
        return place.offset > self.high and self._may_be(place.log_id)

    def _may_be(self, log_id: str) -> bool:
        return not (log_id and self.log_id) or log_id == self.log_id


def is_behind(found: Mapping[int, Bounds], table: Mapping[bytes, bytes]) -> bool:
    """Whether one of these logs, by partition, ends before what the table says was read of it."""
    return any(found[place.partition].is_behind(place) for place in reached(table) if place.partition in found)


Recover = Callable[[Mapping[int, Bounds], Mapping[bytes, bytes]], Awaitable[None]]
LetGo = Callable[[], None]
Handle = Callable[[PartialRecord], Awaitable[None]]


class Ports(Protocol):
    """Every call returns when the brokers have acknowledged it, and raises when they have not in time."""

    async def publish(self, record: OutRecord) -> None:
        """Produce it."""

    async def store(self, partition: int, entries: Sequence[Entry]) -> bool:
        """Set entries of the changelogged table; False when others have written to it since the call before."""

    async def commit(self, partition: int, offset: int) -> bool:
        """Commit the next offset of `fleet.partials` to read after a restart, for those who watch the group: the table
        says it too, and is believed. A lower one than before is allowed. False when the brokers refuse it, as they do
        while partitions change hands."""

    async def read_halts(self) -> Sequence[HaltRecord]:
        """The committed records of `fleet.halts` in their order, up to the topic's end; not verified."""

    async def follow_halts(self, anew: bool) -> HaltsRead:
        """What `fleet.halts` holds that the last call did not give; everything, if `anew`. Raises AndonError when that
        cannot be known now."""

    async def read_audit(self) -> Sequence[AuditRecord]:
        """The committed records of `fleet.audit`, those of a partition in their order, up to its end."""

    async def read_commands(self, since: Mapping[int, int]) -> Sequence[CommandRecord]:
        """The committed records of `fleet.commands` from these offsets on, by partition; of others from the first.
        Raises AndonError when that cannot be known now."""

    def partition_of(self, fleet: str) -> int | None:
        """The partition of `fleet.partials` that a fleet's partials belong on; None while that cannot be known: by now
        there are other partitions than at the start, or nobody has said how many."""
