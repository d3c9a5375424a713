"""The one reader of topics outside of groups, on both brokers alike: what is committed, to the end and no further."""

from collections.abc import Iterable

import pytest
from confluent_kafka import Message
from support.brokers import Clients, values
from support.waiting import DEADLINE_SECONDS

from pipeline.runtime.errors import AndonError
from pipeline.runtime.topic_reader import OffsetRange, TopicReader
from pipeline.runtime.waiting import wait_for


def read(reader: TopicReader, *ranges: OffsetRange) -> list[str]:
    """All of the ranges, each partition in order."""
    return values(flat(reader.start(ranges).to_end(DEADLINE_SECONDS)))


def flat(batches: Iterable[list[Message]]) -> list[Message]:
    """One list of all."""
    return [message for messages in batches for message in messages]


def in_transactions(clients: Clients, topic: str, *batches: tuple[list[str], bool]) -> None:
    """Values of one transaction each, and whether it is committed."""
    producer = clients.producer("writer")
    for records, is_committed in batches:
        producer.begin_transaction()
        clients.send(topic, *records, producer=producer)
        (producer.commit_transaction if is_committed else producer.abort_transaction)(20)


def test_the_markers_of_transactions_are_no_end_and_no_record(clients: Clients) -> None:
    """The last offset before a range's end may be a marker or an aborted record, which nobody gets to see."""
    topic = clients.topic()
    in_transactions(clients, topic, (["a", "b"], True), (["c"], False), (["d"], True), (["e"], False))
    with TopicReader(clients.kafka, "test") as reader:
        (held,) = reader.held(topic)
        assert held[2:] == (0, 9)
        assert read(reader, held) == ["a", "b", "d"]
        assert reader.position(topic, 0) == 9
        assert read(reader, *reader.whole(topic)) == ["a", "b", "d"]
        assert read(reader, held._replace(end=3)) == ["a", "b"]
        assert read(reader, held._replace(start=1, end=2)) == ["b"]


def test_nothing_of_an_open_transaction_is_held(clients: Clients) -> None:
    """What is not decided yet lies behind the end; a range that reaches into it is waited for."""
    topic = clients.topic()
    producer = clients.producer("writer")
    producer.begin_transaction()
    clients.send(topic, "a", producer=producer)
    producer.commit_transaction(20)
    producer.begin_transaction()
    clients.send(topic, "b", producer=producer)
    with TopicReader(clients.kafka, "test") as reader:
        (held,) = reader.held(topic)
        assert held.end == 2
        assert read(reader, held) == ["a"]
        with pytest.raises(AndonError, match=f"{topic}: not read to its end within 1 s"):
            flat(reader.start([held._replace(end=3)]).to_end(1.0))
        producer.commit_transaction(20)


def test_partitions_end_each_by_itself(clients: Clients) -> None:
    """Ranges of several partitions, one of them empty; what is read once can be read again."""
    topic = clients.topic(partitions=3)
    producer = clients.producer()
    for number in range(20):
        producer.produce(topic, f"{number}", partition=number % 2)
    assert producer.flush(DEADLINE_SECONDS) == 0
    with TopicReader(clients.kafka, "test") as reader:
        held = reader.held(topic)
        assert [each.end for each in held] == [10, 10, 0]
        for _ in range(2):
            assert sorted(read(reader, *held), key=int) == [f"{number}" for number in range(20)]
        assert read(reader, held[0]._replace(start=9), held[1]._replace(end=1)) in (["18", "1"], ["1", "18"])


def test_without_an_end_it_reads_on(clients: Clients) -> None:
    """At the end once everything was read; what comes later is read too."""
    topic = clients.topic()
    clients.send(topic, "a")
    with TopicReader(clients.kafka, "test") as reader:
        assert read(reader, *reader.whole(topic)) == ["a"]
        clients.send(topic, "b")
        assert values(wait_for(lambda: reader.poll(0.1), DEADLINE_SECONDS)) == ["b"]


def test_a_topic_that_is_not_there(clients: Clients) -> None:
    """By its name, and what to do."""
    topic = clients.kafka.topic_prefix + "t"
    there_is_none = pytest.raises(AndonError, match=f"topic {topic} does not exist: .*`andon topics apply`")
    with TopicReader(clients.kafka, "test") as reader, there_is_none:
        reader.held(topic)
