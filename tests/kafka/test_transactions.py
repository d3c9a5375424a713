"""The broker's contract, transactions: what Andon relies on, on the embedded broker and on Apache Kafka alike."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from support.brokers import Clients, embedded_broker, embedded_cannot, kafka_only, take, values
from support.waiting import DEADLINE_SECONDS, until

from pipeline.local.kafka.embedded import EmbeddedBroker

DYING_PRODUCER = str(Path(__file__).parents[1] / "support" / "contract_producer.py")
QUIET_SECONDS = 0.7  # nothing must come for so long


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    """A broker of these tests' own: they abort transactions."""
    with embedded_broker() as running:
        yield running


def transact(producer: Producer, topic: str, *what: str, commit: bool = True) -> None:
    """One transaction, flushed before its end, so that the broker has even what is aborted."""
    producer.begin_transaction()
    for value in what:
        producer.produce(topic, value)
    assert producer.flush(DEADLINE_SECONDS) == 0
    (producer.commit_transaction if commit else producer.abort_transaction)(DEADLINE_SECONDS)


def test_a_late_reader_sees_what_was_committed(clients: Clients) -> None:
    """Committed records in order, aborted ones not at all; a reader of everything sees both."""
    topic = clients.topic()
    producer = clients.producer("a")
    for number in range(6):
        transact(producer, topic, f"{number}-a", f"{number}-b", commit=number % 2 == 0)
    clients.send(topic, "end")
    expected = [f"{number}-{half}" for number in (0, 2, 4) for half in "ab"] + ["end"]
    assert values(take(clients.reader(topic), 7)) == expected
    assert len(take(clients.reader(topic, isolation_level="read_uncommitted"), 13)) == 13


@kafka_only("readers on the embedded broker may stand still when a transaction aborts while they read")
def test_a_live_reader_sees_what_was_committed(clients: Clients) -> None:
    """A reader that follows while transactions abort and commit gets each committed record once, and goes on."""
    topic = clients.topic()
    reader = clients.reader(topic)
    producer = clients.producer("a")
    expected: list[str] = []
    seen: list[str] = []
    for number in range(40):
        commit = number % 3 == 0
        transact(producer, topic, f"{number}-a", f"{number}-b", commit=commit)
        expected += [f"{number}-a", f"{number}-b"] if commit else []
        seen += values(take(reader, 2 if commit else 1, DEADLINE_SECONDS if commit else 0.01))
    assert seen == expected


def test_an_open_transaction_hides_what_follows(clients: Clients) -> None:
    """What others write after an open transaction began is held back from committed readers until it ends."""
    topic = clients.topic()
    transact(clients.producer("before"), topic, "before")
    open_one = clients.producer("open")
    open_one.begin_transaction()
    open_one.produce(topic, "open")
    assert open_one.flush(DEADLINE_SECONDS) == 0
    transact(clients.producer("after"), topic, "after")
    clients.send(topic, "plain")
    reader = clients.reader(topic)
    assert values(take(reader, 1)) == ["before"]
    assert take(reader, 1, QUIET_SECONDS) == []
    open_one.commit_transaction(DEADLINE_SECONDS)
    assert values(take(reader, 3)) == ["open", "after", "plain"]


def test_a_zombie_is_fenced(clients: Clients) -> None:
    """A second producer of the same id ends the first one's transaction and the first one itself."""
    topic = clients.topic()
    first = clients.producer("slot")
    first.begin_transaction()
    first.produce(topic, "zombie")
    assert first.flush(DEADLINE_SECONDS) == 0
    second = clients.producer("slot")
    transact(second, topic, "successor")
    with pytest.raises(KafkaException) as refused:
        first.commit_transaction(DEADLINE_SECONDS)
    assert refused.value.args[0].fatal()
    assert refused.value.args[0].code() in (
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
    )
    assert values(take(clients.reader(topic), 1)) == ["successor"]


@embedded_cannot("never ends a transaction that its producer left open")
def test_a_dead_producers_transaction_times_out(clients: Clients) -> None:
    """Killed with -9 amid a transaction, a producer holds readers back for its timeout and a second or so."""
    topic = clients.topic()
    where = [clients.kafka.bootstrap_servers, clients.kafka.topic_prefix + "dying", topic, "6000"]
    with subprocess.Popen([sys.executable, DYING_PRODUCER, *where], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.kill()
    clients.send(topic, "after")
    assert values(take(clients.reader(topic), 1, clients.patience_seconds)) == ["after"]


def test_offsets_are_committed_with_the_transaction(clients: Clients) -> None:
    """Offsets of an aborted transaction do not count, those of a committed one do, with its records."""
    source, target = clients.topic("source"), clients.topic("target")
    clients.send(source, *"abcdef")
    member = clients.member("copy", "0")
    member.subscribe([source])
    producer = clients.producer("copy")
    for commit, upto in ((False, 3), (True, 4), (False, 6)):
        take(member, 1)
        producer.begin_transaction()
        producer.produce(target, f"up to {upto}")
        producer.send_offsets_to_transaction(
            [TopicPartition(source, 0, upto)], member.consumer_group_metadata(), DEADLINE_SECONDS
        )
        assert producer.flush(DEADLINE_SECONDS) == 0
        (producer.commit_transaction if commit else producer.abort_transaction)(DEADLINE_SECONDS)
    (committed,) = member.committed([TopicPartition(source, 0)], timeout=DEADLINE_SECONDS)
    assert committed.offset == 4
    clients.send(target, "end")
    assert values(take(clients.reader(target), 2)) == ["up to 4", "end"]


@embedded_cannot("takes offsets from a member whose place another has taken")
def test_a_slot_that_was_taken_over_cannot_commit(clients: Clients) -> None:
    """Offsets from a member whose instance id another process took are refused inside a transaction."""
    source = clients.topic("source")
    clients.send(source, *"abc")
    first = clients.member("copy", "0")
    first.subscribe([source])
    assert len(take(first, 3)) == 3
    stale = first.consumer_group_metadata()
    second = clients.member("copy", "0")
    second.subscribe([source])
    assert len(take(second, 3)) == 3
    producer = clients.producer("another-id")
    producer.begin_transaction()
    with pytest.raises(KafkaException) as refused:
        producer.send_offsets_to_transaction([TopicPartition(source, 0, 3)], stale, DEADLINE_SECONDS)
    assert refused.value.args[0].txn_requires_abort() or refused.value.args[0].fatal()
    producer.abort_transaction(DEADLINE_SECONDS)
    until("second still owns its partition", lambda: len(second.assignment()) == 1)
    (committed,) = second.committed([TopicPartition(source, 0)], timeout=DEADLINE_SECONDS)
    assert committed.offset < 0
