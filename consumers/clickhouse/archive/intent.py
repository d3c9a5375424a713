"""What is said before it is done: the ranges of offsets about to be inserted, kept as metadata of the commit before it.

After a crash nobody knows whether ClickHouse took the last batch. Whoever owns one of its partitions next finds the
intent, reads exactly those ranges again and inserts them under the same token, which ClickHouse drops if it has it
already. A batch spans partitions, and all of them say the whole of it, so one is enough to repeat it. Pure.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, NamedTuple, Self

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]
# Brokers take 4,096 bytes of metadata (offset.metadata.max.bytes); a range takes at most 48.
MAX_RANGES = 64


class Range(msgspec.Struct, frozen=True, array_like=True):
    """Offsets [start, end) of a partition; `first_ms` is the Kafka timestamp of its first record.

    The timestamp tells a topic from another that was later created under its name, whose offsets start over.
    """

    partition: Count
    start: Count
    end: Count
    first_ms: int


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """These ranges of one topic give `rows` rows."""

    rows: Count
    ranges: Annotated[tuple[Range, ...], msgspec.Meta(min_length=1, max_length=MAX_RANGES)]

    def token(self, topic: str) -> str:
        """The deduplication token of the batch."""
        return f"{topic}:{hashlib.sha256(encode_intent(self).encode()).hexdigest()[:32]}"

    def again(self, rows: int, first_ms: Mapping[int, int]) -> Self:
        """The same ranges as they read now; `first_ms` by partition, of those that gave a record."""
        ranges = tuple(msgspec.structs.replace(of, first_ms=first_ms.get(of.partition, 0)) for of in self.ranges)
        return msgspec.structs.replace(self, rows=rows, ranges=ranges)


class Committed(NamedTuple):
    """What is committed for a partition; the offset is negative when nothing is."""

    offset: int
    intent: Intent | None


def under_way(intent: Intent, committed: Mapping[int, Committed]) -> bool:
    """Whether the batch may be in ClickHouse, given what is committed for each of its partitions.

    It is sent once every partition has said so; Kafka stores one commit of several partitions as one. One that stands
    at its range's start and says something else never did: then the batch was not sent. One that stands at its end or
    beyond shows that it was.
    """
    found = ((of, committed[of.partition]) for of in intent.ranges)
    return all(each.offset >= of.end or each == Committed(of.start, intent) for of, each in found)


def encode_intent(intent: Intent) -> str:
    """As commit metadata."""
    return msgspec.json.encode(intent).decode()


_decoder = msgspec.json.Decoder(Intent)


def decode_intent(metadata: str | None) -> Intent | None:
    """None when the commit said nothing. Raises msgspec.DecodeError when it said something else."""
    return _decoder.decode(metadata) if metadata else None
