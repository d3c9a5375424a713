"""How far reading has come, whatever the client hands over again."""

from collections.abc import Sequence

from confluent_kafka import KafkaError, Message
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.combine.onward import Onward

PARTITIONS = 3
SOMETIMES = st.integers(0, 9).map(lambda n: n == 0)

Place = tuple[int, int]  # partition and offset


def record(partition: int, offset: int) -> Message:
    """A record there."""
    return Message(topic="fleet.events", partition=partition, offset=offset)


def places(messages: Sequence[Message]) -> list[tuple[int | None, int | None]]:
    """Of each."""
    return [(message.partition(), message.offset()) for message in messages]


@st.composite
def calls(draw: st.DrawFn, gaps: bool) -> list[list[Place]]:
    """What a client hands over by call, from offset 0 on: here and there it begins again somewhere before."""
    handed: list[list[int]] = [[] for _ in range(PARTITIONS)]
    found = []
    for _ in range(draw(st.integers(1, 6))):
        records: list[Place] = []
        for _ in range(draw(st.integers(0, 8))):
            at = draw(st.integers(0, PARTITIONS - 1))
            before = handed[at]
            if before and draw(SOMETIMES):
                records += [(at, offset) for offset in before[draw(st.integers(0, len(before) - 1)) :]]
            left_out = draw(st.integers(1, 3)) if gaps and draw(SOMETIMES) else 0
            before.append(left_out + (before[-1] + 1 if before else 0))
            records.append((at, before[-1]))
        found.append(records)
    return found


def read(handed: list[list[Place]]) -> tuple[list[tuple[int | None, int | None]], dict[int, int]]:
    """What is taken of it, and where reading ends; the client's own position never goes back."""
    onward = Onward(dict.fromkeys(range(PARTITIONS), 0))
    taken, position = [], dict.fromkeys(range(PARTITIONS), -1001)
    for records in handed:
        for at, offset in records:
            position[at] = max(position[at], offset + 1)
        taken += places(onward.take([record(*each) for each in records], position))
    return taken, onward.next


@given(calls(gaps=False))
@example([[(0, 0), (0, 1), (0, 2)], [(0, 1), (0, 2), (0, 3)]])
def test_each_record_is_taken_once_and_in_order(handed: list[list[Place]]) -> None:
    """Whatever comes again, in the same call or a later one; reading ends behind the last."""
    taken, ends = read(handed)
    everything = list(dict.fromkeys(place for records in handed for place in records))
    assert taken == everything
    assert ends == {at: max((o + 1 for p, o in everything if p == at), default=0) for at in range(PARTITIONS)}


@given(calls(gaps=True))
def test_where_offsets_are_left_out_nothing_new_is_lost(handed: list[list[Place]]) -> None:
    """A call that leaves out just as many offsets as it hands over again passes; no new record is ever left out."""
    taken, ends = read(handed)
    everything = list(dict.fromkeys(place for records in handed for place in records))
    assert list(dict.fromkeys(taken)) == everything
    assert ends == {at: max((o + 1 for p, o in everything if p == at), default=0) for at in range(PARTITIONS)}


def test_an_old_position_after_a_rewind_is_not_believed() -> None:
    """Right after an assignment the client says where it stood before, and may have an error to hand over: what is
    committed then would leave out all between."""
    onward = Onward({0: 100, 1: 7})
    error = Message(topic="fleet.events", partition=0, error=KafkaError(KafkaError._TRANSPORT))
    assert list(onward.take([error], {0: 250, 1: -1001})) == [error]
    assert onward.next == {0: 100, 1: 7}
    assert places(onward.take([record(0, 100), record(0, 101)], {0: 102, 1: -1001})) == [(0, 100), (0, 101)]
    assert onward.next == {0: 102, 1: 7}


def test_records_of_partitions_that_went_are_left_out() -> None:
    """They are another's."""
    onward = Onward({1: 7})
    assert places(onward.take([record(0, 3), record(1, 7)], {1: 8})) == [(1, 7)]
    assert onward.next == {1: 8}


def test_a_marker_beyond_the_last_record_is_read_too() -> None:
    """Or the lag would never be nothing where senders use transactions."""
    onward = Onward({0: 0})
    onward.take([record(0, 0), record(0, 1)], {0: 3})
    assert onward.next == {0: 3}
