"""A lane: what is promised before it is inserted is inserted again, exactly, after a crash."""

import pyarrow as pa
import pytest

from consumers.clickhouse.intent import Intent, decode_intent, encode_intent
from consumers.clickhouse.lanes import Lane
from consumers.clickhouse.tables import Batch
from pipeline.runtime.errors import FatalStageError


def rows(count: int) -> Batch:
    """So many rows of table `events`."""
    return Batch({"events": pa.RecordBatch.from_pydict({"a": list(range(count))})} if count else {}, [])


def lane(stored: int | None, promised: Intent | None = None, compacted: bool = False) -> Lane:
    """Partition 3 of `t`."""
    return Lane("t", 3, compacted, stored, promised)


def test_the_life_of_a_batch() -> None:
    """Held until it is due, promised from where the last one ended, stored when acknowledged."""
    ours = lane(100)
    ours.hold(rows(5), 102, 110, 7_000, now=0.0)
    ours.hold(rows(2), 110, 113, 7_100, now=0.4)
    assert not ours.due(0.4, 0.5, 100, 1 << 20)
    assert ours.due(0.5, 0.5, 100, 1 << 20)
    assert ours.due(0.4, 0.5, 7, 1 << 20)
    load = ours.promise()
    assert load.token == "t:3:100:113:7:7000"
    ours.handed_over(load)
    ours.hold(rows(1), 113, 114, 7_200, now=1.0)
    assert not ours.due(9.0, 0.5, 1, 1 << 20)
    ours.acknowledged()
    assert ours.stored == 113
    assert ours.promise().token == "t:3:113:114:1:7200"


def test_a_batch_is_due_by_its_bytes_too() -> None:
    """Dead letters are up to 64 kB: rows alone would let gigabytes be held."""
    ours = lane(0)
    ours.hold(Batch({"t": pa.RecordBatch.from_pydict({"a": [b"x" * 60_000] * 10})}, []), 0, 10, 7_000, now=0.0)
    held_rows, held_bytes = ours.load
    assert held_rows == 10
    assert 600_000 <= held_bytes < 610_000
    assert not ours.due(0.0, 0.5, 100, held_bytes + 1)
    assert ours.due(0.0, 0.5, 100, held_bytes)
    ours.handed_over(ours.promise())
    assert ours.load == (held_rows, held_bytes)
    ours.acknowledged()
    assert ours.load == (0, 0)


def test_a_promise_is_kept_to_the_letter() -> None:
    """The same range, however it is cut this time, gives the same token; nothing beyond its end joins."""
    promised = Intent(end=113, rows=7, first_ms=7_000)
    assert decode_intent(encode_intent(promised)) == promised
    assert decode_intent("") is None
    ours = lane(100, promised)
    assert not ours.room(113)
    ours.hold(rows(4), 102, 109, 7_000, now=0.0)
    assert not ours.due(99.0, 0.5, 1, 1 << 20)
    ours.hold(rows(3), 109, 113, 7_050, now=0.1)
    assert ours.due(0.1, 0.5, 100, 1 << 20)
    assert ours.promise().token == "t:3:100:113:7:7000"


@pytest.mark.parametrize(("count", "first_ms"), [(6, 7_000), (8, 7_000), (7, 9_000)])
def test_a_range_that_reads_differently_is_an_error(count: int, first_ms: int) -> None:
    """Fewer or more rows, or another topic under the old name: said, not dropped in silence."""
    ours = lane(100, Intent(end=113, rows=7, first_ms=7_000))
    ours.hold(rows(count), 100, 113, first_ms, now=0.0)
    with pytest.raises(FatalStageError, match="promised"):
        ours.promise()


def test_compaction_may_take_records_away() -> None:
    """On a compacted topic the old token is used again: what is in ClickHouse stays, what is not goes in."""
    ours = lane(100, Intent(end=113, rows=7, first_ms=7_000), compacted=True)
    ours.hold(rows(2), 104, 113, 7_300, now=0.0)
    assert ours.promise().token == "t:3:100:113:7:7000"
