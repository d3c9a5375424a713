"""A lane: what is promised before it is inserted is inserted again, exactly, after a crash."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.clickhouse.archive.intent import (
    MAX_RANGES,
    Committed,
    Intent,
    Range,
    decode_intent,
    encode_intent,
    under_way,
)
from consumers.clickhouse.archive.lanes import Lane, deleted_unread, key_of
from consumers.clickhouse.archive.rows import Rows
from pipeline.runtime.errors import FatalStageError

PROMISED = Intent(rows=7, ranges=(Range(1, 40, 50, 6_000), Range(3, 100, 113, 7_000)))


def rows(count: int) -> Rows:
    """So many rows of table `events`."""
    return Rows({"events": pa.RecordBatch.from_pydict({"a": list(range(count))})} if count else {}, [])


def lane(**stored: int | None) -> Lane:
    """Of topic `t`, with partitions p1, p3, … where they are committed, and nothing promised."""
    made = Lane("t", compacted=False)
    for name, offset in stored.items():
        made.own(int(name[1:]), Committed(-1001 if offset is None else offset, None), under_way=False)
    return made


def restarted(compacted: bool = False) -> Lane:
    """With PROMISED found on both of its partitions."""
    made = Lane("t", compacted)
    assert made.own(1, Committed(40, PROMISED), under_way=True) == 50
    assert made.own(3, Committed(100, PROMISED), under_way=True) == 113
    return made


def test_the_life_of_a_batch() -> None:
    """Held until it is due, promised from where the last one ended, stored when acknowledged."""
    ours = lane(p1=None, p3=100)
    ours.hold(rows(5), [Range(3, 102, 110, 7_000), Range(1, 4, 9, 6_900)], now=0.0)
    ours.hold(rows(2), [Range(3, 110, 113, 7_100)], now=0.4)
    assert not ours.due(0.4, 0.5, 100, 1 << 20)
    assert ours.due(0.5, 0.5, 100, 1 << 20)
    assert ours.due(0.4, 0.5, 7, 1 << 20)
    batch = ours.promise()
    assert batch.intent == Intent(rows=7, ranges=(Range(1, 4, 9, 6_900), Range(3, 100, 113, 7_000)))
    ours.handed_over(batch)
    ours.hold(rows(1), [Range(3, 113, 114, 7_200)], now=1.0)
    assert not ours.due(9.0, 0.5, 1, 1 << 20)
    ours.acknowledged()
    assert ours.stored == {1: 9, 3: 113}
    assert ours.promise().intent == Intent(rows=1, ranges=(Range(3, 113, 114, 7_200),))


def test_what_comes_after_a_lull_does_not_wait() -> None:
    """The first of a stream waits, and all that follow it; one that comes alone is stored at once."""
    ours = lane(p1=0)
    for number, (at, is_due) in enumerate(((0.0, False), (1.9, False), (9.0, True), (9.1, False), (11.1, True))):
        ours.hold(rows(1), [Range(1, number, number + 1, 1)], now=at)
        assert ours.due(at, 0.5, 100, 1 << 20) == is_due, at
        assert ours.due(at + 0.5, 0.5, 100, 1 << 20)
        ours.handed_over(ours.promise())
        ours.acknowledged()


def test_what_is_stored_is_said_with_the_next_intent() -> None:
    """A partition that nothing more comes from does not keep the old intent."""
    ours = lane(p1=0, p3=0)
    ours.hold(rows(2), [Range(1, 0, 1, 1), Range(3, 0, 1, 1)], now=0.0)
    first = ours.promise()
    assert ours.commits(first) == [(1, 0, encode_intent(first.intent)), (3, 0, encode_intent(first.intent))]
    ours.handed_over(first)
    ours.acknowledged()
    ours.hold(rows(1), [Range(3, 1, 2, 2)], now=1.0)
    second = ours.promise()
    assert ours.commits(second) == [(3, 1, encode_intent(second.intent)), (1, 1, "")]
    ours.handed_over(second)
    ours.acknowledged()
    assert ours.commits() == [(3, 2, "")]
    ours.settled()
    assert ours.commits() == []


def test_a_batch_is_due_by_its_bytes_too() -> None:
    """Dead letters are up to 64 kB: rows alone would let gigabytes be held."""
    ours = lane(p0=0)
    letters = Rows({"t": pa.RecordBatch.from_pydict({"a": [b"x" * 60_000] * 10})}, [])
    ours.hold(letters, [Range(0, 0, 10, 7_000)], now=0.0)
    held_rows, held_bytes = ours.carried
    assert held_rows == 10
    assert 600_000 <= held_bytes < 610_000
    assert not ours.due(0.0, 0.5, 100, held_bytes + 1)
    assert ours.due(0.0, 0.5, 100, held_bytes)
    ours.handed_over(ours.promise())
    assert ours.carried == (held_rows, held_bytes)
    ours.acknowledged()
    assert ours.carried == (0, 0)


def test_a_promise_is_kept_to_the_letter() -> None:
    """The same ranges give the same token; what is read meanwhile waits, and begins where they end."""
    ours = restarted()
    ours.hold(rows(3), [Range(3, 114, 117, 8_000)], now=0.0)
    assert not ours.due(99.0, 0.5, 1, 1 << 20)
    batch = ours.repeat(rows(7), {1: 6_000, 3: 7_000})
    assert batch.token == PROMISED.token("t")
    assert not ours.due(99.0, 0.5, 1, 1 << 20)
    ours.acknowledged()
    assert ours.stored == {1: 50, 3: 113}
    assert ours.due(99.0, 0.5, 1, 1 << 20)
    batch = ours.promise()
    assert batch.intent.ranges == (Range(3, 113, 117, 8_000),)
    assert ours.commits(batch)[1:] == [(1, 50, "")]


def test_each_owner_of_a_partition_repeats_the_whole_batch() -> None:
    """It may have gone to two members; each ends with its own partitions, under the one token."""
    ours = Lane("t", compacted=False)
    assert ours.own(3, Committed(100, PROMISED), under_way=True) == 113
    assert ours.own(5, Committed(7, None), under_way=False) == 7
    assert ours.repeat(rows(7), {1: 6_000, 3: 7_000}).token == PROMISED.token("t")
    ours.acknowledged()
    assert ours.stored == {3: 113, 5: 7}


@pytest.mark.parametrize(("count", "first_ms"), [(6, 7_000), (8, 7_000), (7, 9_000)])
def test_a_range_that_reads_differently_is_an_error(count: int, first_ms: int) -> None:
    """Fewer or more rows, or another topic under the old name: said, not dropped in silence."""
    with pytest.raises(FatalStageError, match="promised"):
        restarted().repeat(rows(count), {1: 6_000, 3: first_ms})


def test_compaction_may_take_records_away() -> None:
    """On a compacted topic the old token is used again: what is in ClickHouse stays, what is not goes in."""
    assert restarted(compacted=True).repeat(rows(0), {}).token == PROMISED.token("t")


@pytest.mark.parametrize(
    ("other", "repeated"),
    [
        (Committed(40, PROMISED), True),  # both say it
        (Committed(50, None), True),  # the other's owner has repeated it already
        (Committed(60, Intent(rows=1, ranges=(Range(1, 60, 61, 1),))), True),  # and gone on
        (Committed(40, None), False),  # the other never said it: it was not sent
        (Committed(-1001, None), False),
        (Committed(40, Intent(rows=9, ranges=(Range(1, 40, 60, 6_000),))), False),
    ],
)
def test_a_batch_was_sent_only_if_all_partitions_had_said_so(other: Committed, repeated: bool) -> None:
    """Commits of one batch's partitions are looked at together."""
    assert under_way(PROMISED, {1: other, 3: Committed(100, PROMISED)}) == repeated


def test_a_void_intent_is_wiped_out_before_anything_else() -> None:
    """Or it would look true once the other partition has passed it."""
    ours = lane(p1=40)
    assert ours.own(3, Committed(100, PROMISED), under_way=False) == 100
    ours.hold(rows(1), [Range(1, 40, 41, 1)], now=0.0)
    assert ours.commits() == [(3, 100, "")]
    assert ours.commits(ours.promise())[1:] == [(3, 100, "")]
    ours.settled()
    assert ours.commits() == []
    assert len(ours.commits(ours.promise())) == 1


def test_records_that_come_once_more_are_refused() -> None:
    """Within a batch nobody could tell them apart any more."""
    ours = lane(p1=40)
    ours.hold(rows(3), [Range(1, 40, 43, 1)], now=0.0)
    with pytest.raises(FatalStageError, match="offset 42 comes after 42"):
        ours.hold(rows(1), [Range(1, 42, 43, 1)], now=0.1)


def test_a_log_that_was_cut_is_read_from_where_it_is() -> None:
    """A topic made anew, or a broker that lost its last records: what is committed then follows what is read."""
    ours = lane(p1=40)
    ours.hold(rows(3), [Range(1, 0, 3, 1)], now=0.0)
    batch = ours.promise()
    assert batch.intent.ranges == (Range(1, 0, 3, 1),)
    ours.handed_over(batch)
    ours.acknowledged()
    assert ours.commits() == [(1, 3, "")]


counts = st.integers(0, (1 << 63) - 1)


@given(rows=counts, ranges=st.lists(st.builds(Range, counts, counts, counts, counts), min_size=1, max_size=5))
def test_an_intent_survives_the_commit(rows: int, ranges: list[Range]) -> None:
    """Invariant: what is decoded is what was encoded, and tokens differ when anything does."""
    intent = Intent(rows=rows, ranges=tuple(ranges))
    assert decode_intent(encode_intent(intent)) == intent
    assert intent.token("t") != intent.again((rows + 1) % (1 << 63), {}).token("t")
    assert decode_intent("") is None


def test_the_largest_intent_fits_into_a_commit() -> None:
    """A broker takes 4,096 bytes, unless told otherwise; a thousand partitions, 10^12 records each."""
    ranges = [Range(1000 + number, 10**12, 10**12 + 10**6, 1_800_000_000_000) for number in range(MAX_RANGES)]
    assert len(encode_intent(Intent(rows=10**6, ranges=tuple(ranges)))) <= 4096
    assert len({key_of("t", partition) for partition in range(1000, 1000 + MAX_RANGES)}) <= 2


@pytest.mark.parametrize(
    ("before", "start", "low", "lost"),
    [
        (10, 12, 12, 2),  # the log begins later than what was read before
        (10, 15, 12, 2),  # markers behind its beginning
        (10, 11, 191, 0),  # a marker; all that follows it had been fetched before the log was cut
        (10, 11, 11, 0),  # the marker at its end was deleted, nothing else
        (10, 30, 191, 20),  # what was deleted before that was fetched
        (10, 12, 3, 0),  # markers
    ],
)
def test_what_was_deleted_unread_is_counted(before: int, start: int, low: int, lost: int) -> None:
    """At most what lies between: not what has come, though its log begins behind it by now, nor a marker."""
    assert deleted_unread(before, start, low) == lost
