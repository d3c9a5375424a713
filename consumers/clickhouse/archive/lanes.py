"""A lane is a topic on its way into ClickHouse: what is held, what is promised, what is being inserted. Pure.

holding ──due──▶ intent committed ──▶ inserting ──acknowledged──▶ stored, the next commit says so
   ▲                                                                  │
   └──────────────── after a crash: the ranges of the intent again ◀──┘

All partitions of a topic share a batch: every insert costs ClickHouse much before its first row. (Of many partitions,
64 do: an intent must fit into a commit.)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from consumers.clickhouse.archive.intent import MAX_RANGES, Committed, Intent, Range, encode_intent
from consumers.clickhouse.archive.rows import Rows
from pipeline.runtime.errors import FatalStageError

MARKER = 1  # of a transaction: an offset that nobody reads
LULL_WAITS = 4  # a lull: nothing came for so many times the longest wait of a row


class LaneKey(NamedTuple):
    """Of a lane: the topic as the cluster names it, and which MAX_RANGES of its partitions."""

    topic: str
    block: int


def key_of(topic: str, partition: int) -> LaneKey:
    """The lane of this partition."""
    return LaneKey(topic, partition // MAX_RANGES)


def deleted_unread(before: int, start: int, low: int) -> int:
    """At most so many records were deleted before they were read, when what comes after `before` begins at `start` and
    the log at `low`. What has come was not deleted unread, though the log may begin behind it by now: it had been
    fetched before."""
    gone = min(start, low) - before
    return gone if gone > MARKER else 0


@dataclass(slots=True)
class Held:
    """Rows not yet handed over, and the ranges that they come from, by partition."""

    opened_at: float  # monotonic seconds
    rows: int = 0
    size_bytes: int = 0
    ranges: dict[int, Range] = field(default_factory=dict)
    tables: dict[str, list[pa.RecordBatch]] = field(default_factory=dict)

    def add(self, rows: Rows) -> None:
        """Take them."""
        for table, of_table in rows.tables.items():
            self.tables.setdefault(table, []).append(of_table)
        self.size_bytes += rows.size_bytes
        self.rows += rows.total


@dataclass(frozen=True, slots=True)
class Batch:
    """What is inserted at once, under one token."""

    topic: str
    intent: Intent
    tables: dict[str, list[pa.RecordBatch]]
    size_bytes: int = 0

    @property
    def token(self) -> str:
        """The same for the same ranges, whenever and by whomever they are read."""
        return self.intent.token(self.topic)

    @property
    def words(self) -> str:
        """Which records of the topic, for people: partition, first offset, and the one behind the last."""
        ranges = (f"[{of.partition}] {of.start} to {of.end}" for of in self.intent.ranges)
        return f"{self.topic} {', '.join(ranges)}"


@dataclass(slots=True)
class Lane:
    """The assigned partitions of one block of a topic's."""

    topic: str  # as the cluster names it
    compacted: bool
    stored: dict[int, int | None] = field(default_factory=dict)  # all before is in ClickHouse; None: nothing committed
    following: dict[int, int | None] = field(default_factory=dict)  # all before is stored, or promised
    promised: list[Intent] = field(default_factory=list)  # found at the start: to be read again exactly
    held: Held | None = None
    inserting: Batch | None = None
    opened_at: float | None = None  # when the batch began to fill that went last; None: none went
    unsettled: set[int] = field(default_factory=set)  # partitions whose commit does not say just `stored`
    void: set[int] = field(default_factory=set)  # of these, those whose commit says what was never sent

    def own(self, partition: int, committed: Committed, under_way: bool) -> int | None:
        """Take a partition over; from where to read on, None for the beginning. `under_way`: its intent, if there is
        one, is to be kept."""
        stored = committed.offset if committed.offset >= 0 else None
        self.stored[partition], self.following[partition] = stored, stored
        if committed.intent is None:
            return stored
        self.unsettled.add(partition)
        if not under_way:
            self.void.add(partition)
            return stored
        if committed.intent not in self.promised:
            self.promised.append(committed.intent)
        end = next(of.end for of in committed.intent.ranges if of.partition == partition)
        self.following[partition] = end
        return end

    def gaps(self, read: Iterable[Range]) -> list[tuple[Range, int]]:
        """Those of these records, about to be held, that do not begin where what was read before them ended, and where
        that was. Of a compacted topic none: any record of it may be gone."""
        if self.compacted:
            return []
        held = self.held.ranges if self.held else {}
        found = ((of, self.following[of.partition]) for of in read if of.partition not in held)
        return [(of, before) for of, before in found if before is not None and of.start != before]

    def hold(self, rows: Rows, read: Iterable[Range], now: float) -> None:
        """Take the rows of these records.

        Raises:
            FatalStageError: records that are held come once more; what follows them is read again by a new process.
        """
        held = self.held = self.held or Held(now)
        for of in read:
            known = held.ranges.get(of.partition)
            if known is not None and of.start < known.end:
                raise FatalStageError(f"{self.topic}[{of.partition}]: offset {of.start} comes after {known.end - 1}")
            begun = known or Range(of.partition, self._start(of.partition, of.start), of.end, of.first_ms)
            held.ranges[of.partition] = Range(of.partition, begun.start, of.end, begun.first_ms)
        held.add(rows)

    def _start(self, partition: int, first: int) -> int:
        """Of a batch: where the last one ended, though this one's first record may be further on, behind markers. It
        is further back if the log is not what it was."""
        following = self.following[partition]
        return first if following is None else min(first, following)

    def due(self, now: float, wait_seconds: float, max_rows: int, max_bytes: int) -> bool:
        """Whether what is held should go now. What comes alone, after a lull, waits for nothing: it is seen sooner, and
        on the embedded broker its commits are in the snapshot that it made necessary itself."""
        if self.held is None or self.busy:
            return False
        full = self.held.rows >= max_rows or self.held.size_bytes >= max_bytes
        before = self.held.opened_at if self.opened_at is None else self.opened_at
        is_after_lull = wait_seconds > 0 and self.held.opened_at - before >= LULL_WAITS * wait_seconds
        return full or is_after_lull or now - self.held.opened_at >= wait_seconds

    @property
    def busy(self) -> bool:
        """Whether a batch is on its way, or has to be repeated first."""
        return self.inserting is not None or bool(self.promised)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.busy and self.held is None

    @property
    def carried(self) -> tuple[int, int]:
        """Rows and bytes that are held or on their way."""
        held, going = self.held, self.inserting
        rows = (held.rows if held else 0) + (going.intent.rows if going else 0)
        return rows, (held.size_bytes if held else 0) + (going.size_bytes if going else 0)

    def promise(self) -> Batch:
        """The batch that is held, as it will be promised and inserted."""
        held = self.held
        assert held is not None, "promise() is for a lane that is due"
        intent = Intent(rows=held.rows, ranges=tuple(of for _, of in sorted(held.ranges.items())))
        return Batch(self.topic, intent, held.tables, held.size_bytes)

    def repeat(self, rows: Rows, first_ms: Mapping[int, int]) -> Batch:
        """The first promised batch, read again; it counts as on its way.

        Raises:
            FatalStageError: it reads differently now: rows would be lost or repeated without a word.
        """
        promised = self.promised.pop(0)
        again = promised.again(rows.total, first_ms)
        if again != promised and not self.compacted:
            raise FatalStageError(
                f"{self.topic}: promised {promised}, read {again} now; the records changed under a batch that may be "
                "in ClickHouse already. Compare the table with the topic, then commit the offsets to go on from for "
                "the archive's consumer group"
            )
        tables = {table: [of_table] for table, of_table in rows.tables.items()}
        self.inserting = Batch(self.topic, promised, tables, rows.size_bytes)
        return self.inserting

    def commits(self, batch: Batch | None = None) -> list[tuple[int, int, str]]:
        """Partition, offset and metadata of what is to be committed now: the intent of `batch`, if there is one, and
        what is stored of partitions whose commit is behind. Without a batch, a lane that goes on only wipes out what is
        void."""
        ranges = batch.intent.ranges if batch else ()
        said = [(of.partition, of.start, encode_intent(batch.intent)) for of in ranges] if batch else []
        behind = self.unsettled if batch or self.idle else self.void
        others = behind - {of.partition for of in ranges}
        return said + [(partition, self.stored[partition] or 0, "") for partition in sorted(others)]

    def settled(self) -> None:
        """What `commits()` gave is committed."""
        self.unsettled -= self.unsettled if self.idle else self.void
        self.void.clear()

    def handed_over(self, batch: Batch) -> None:
        """The intent is committed, with all that was to be settled, and the batch is on its way."""
        self.opened_at = self.held.opened_at if self.held is not None else None
        self.inserting, self.held = batch, None
        self.unsettled = {of.partition for of in batch.intent.ranges}
        self.void.clear()
        self.following |= {of.partition: of.end for of in batch.intent.ranges}

    def acknowledged(self) -> None:
        """ClickHouse has it. Of a repeated batch some partitions may be another's, or further on already."""
        assert self.inserting is not None, "acknowledged() follows handed_over() or repeat()"
        for of in self.inserting.intent.ranges:
            following = self.following.get(of.partition)
            if following is not None and following <= of.end:
                self.stored[of.partition] = of.end
        self.inserting = None
