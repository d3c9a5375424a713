"""A lane is one partition on its way into ClickHouse: what is held, what is promised, what is being inserted. Pure.

holding ──due──▶ intent committed ──▶ inserting ──acknowledged──▶ stored, the next commit says so
   ▲                                                                  │
   └──────────────── after a crash: the range of the intent again ◀───┘
"""

from dataclasses import dataclass, field

import pyarrow as pa

from consumers.clickhouse.intent import Intent
from consumers.clickhouse.tables import Batch
from pipeline.runtime.errors import FatalStageError


@dataclass(slots=True)
class Held:
    """Rows of consecutive records, not yet handed over. Offsets [start, end)."""

    start: int
    end: int
    first_ms: int
    opened_at: float  # monotonic seconds
    rows: int = 0
    size_bytes: int = 0
    tables: dict[str, list[pa.RecordBatch]] = field(default_factory=dict)

    def add(self, batch: Batch, end: int) -> None:
        """Take the rows of the records before `end`."""
        for table, rows in batch.tables.items():
            self.tables.setdefault(table, []).append(rows)
            self.size_bytes += rows.nbytes
        self.rows += batch.rows
        self.end = end


@dataclass(frozen=True, slots=True)
class Load:
    """One batch to insert, under one token."""

    topic: str
    partition: int
    start: int
    intent: Intent
    tables: dict[str, list[pa.RecordBatch]]
    size_bytes: int = 0

    @property
    def token(self) -> str:
        """The same for the same range, whenever and by whomever it is read."""
        return self.intent.token(self.topic, self.partition, self.start)


@dataclass(slots=True)
class Lane:
    """The state of one assigned partition."""

    topic: str  # as the cluster names it
    partition: int
    compacted: bool
    stored: int | None  # everything before this offset is in ClickHouse; None: nothing committed yet
    promised: Intent | None = None  # found at the start: to be read again exactly
    held: Held | None = None
    inserting: Load | None = None
    settled: bool = True  # the commit on the broker says just `stored`

    def room(self, offset: int) -> bool:
        """Whether the record at `offset` may join what is held: a promised range takes nothing beyond its end."""
        return self.promised is None or offset < self.promised.end

    def hold(self, batch: Batch, first: int, end: int, first_ms: int, now: float) -> None:
        """Take the rows of records [first, end)."""
        if self.held is None:
            start = self._next(first)
            self.held = Held(start, start, first_ms, now)
        self.held.add(batch, end)

    def _next(self, first: int) -> int:
        """Where the next batch begins: behind the one that is being inserted, though that is not stored yet."""
        if self.inserting is not None:
            return self.inserting.intent.end
        return first if self.stored is None else self.stored

    def due(self, now: float, wait_seconds: float, max_rows: int, max_bytes: int) -> bool:
        """Whether what is held should go now."""
        if self.held is None or self.inserting is not None:
            return False
        if self.promised is not None:
            return self.held.end >= self.promised.end
        full = self.held.rows >= max_rows or self.held.size_bytes >= max_bytes
        return full or now - self.held.opened_at >= wait_seconds

    @property
    def load(self) -> tuple[int, int]:
        """Rows and bytes that are held or on their way."""
        held, going = self.held, self.inserting
        rows = (held.rows if held else 0) + (going.intent.rows if going else 0)
        return rows, (held.size_bytes if held else 0) + (going.size_bytes if going else 0)

    def promise(self) -> Load:
        """The batch that is held, as it will be promised and inserted.

        Raises:
            FatalStageError: a promised range reads differently now: rows would be lost or repeated without a word.
        """
        held = self.held
        assert held is not None, "promise() is for a lane that is due"
        intent = Intent(end=held.end, rows=held.rows, first_ms=held.first_ms)
        if self.promised is not None:
            if intent != self.promised and not self.compacted:
                raise FatalStageError(
                    f"{self.topic}[{self.partition}] from {held.start}: promised {self.promised}, read {intent} now; "
                    "the records changed under a batch that may be in ClickHouse already. Compare the table with the "
                    "topic, then commit the offset to go on from for the archive's consumer group"
                )
            intent = self.promised
        return Load(self.topic, self.partition, held.start, intent, held.tables, held.size_bytes)

    def handed_over(self, load: Load) -> None:
        """The intent is committed and the batch is on its way."""
        self.inserting, self.held, self.promised, self.settled = load, None, None, False

    def acknowledged(self) -> None:
        """ClickHouse has it."""
        assert self.inserting is not None, "acknowledged() follows handed_over()"
        self.stored, self.inserting = self.inserting.intent.end, None
