"""The broker's contract, consumer groups: static members, takeover after a kill, committed offsets, on both brokers."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]
from support.brokers import Clients, embedded_cannot, take, values
from support.waiting import DEADLINE_SECONDS, until

from pipeline.runtime.kafka import SESSION_TIMEOUT_MS

MEMBER = str(Path(__file__).parents[1] / "support" / "contract_member.py")
LONG_SESSION_MS = int(2_000 * DEADLINE_SECONDS)  # nobody waits for its end


@contextmanager
def member_to_kill(
    clients: Clients, instance: str, topic: str, session_ms: int = SESSION_TIMEOUT_MS, *, group: str = "g"
) -> Iterator[subprocess.Popen[bytes]]:
    """A member in a process of its own, which has its partitions."""
    kafka = clients.kafka
    where = [kafka.bootstrap_servers, kafka.topic_prefix + group, instance, topic, str(session_ms)]
    argv = [sys.executable, MEMBER, *where]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert int(process.stdout.readline()) > 0
            yield process
        finally:
            process.kill()


def owned(member: Consumer) -> int:
    """How many partitions it has, after a moment in which it may get some."""
    member.poll(0.05)
    return len(member.assignment())


def test_a_killed_static_member_is_replaced_at_once(clients: Clients) -> None:
    """A new process with the same instance id has the partitions long before the session of the killed one ends."""
    topic = clients.topic(partitions=2)
    clients.send(topic, *"abcdef")
    with member_to_kill(clients, "slot-0", topic, LONG_SESSION_MS) as process:
        process.kill()
    successor = clients.member("g", "slot-0")
    successor.subscribe([topic])
    assert sorted(values(take(successor, 6))) == list("abcdef")


def test_others_are_not_disturbed_by_a_static_restart(clients: Clients) -> None:
    """While a static member is gone and comes back within its session, another keeps its partition and loses none."""
    topic = clients.topic(partitions=2)
    revoked: list[int] = []
    first, second = (clients.member("g", slot, LONG_SESSION_MS) for slot in ("slot-0", "slot-1"))
    first.subscribe([topic], on_revoke=lambda _, places: revoked.append(len(places)))
    second.subscribe([topic])
    until("each has one partition", lambda: (owned(first), owned(second)) == (1, 1))
    before, place = len(revoked), second.assignment()[0].partition
    second.close()
    again = clients.member("g", "slot-1", LONG_SESSION_MS)
    again.subscribe([topic])
    until("the partition is back", lambda: (owned(first), owned(again)) == (1, 1))
    assert again.assignment()[0].partition == place
    assert len(revoked) == before


@embedded_cannot("never gives up a dead member")
def test_partitions_of_a_dead_member_move(clients: Clients) -> None:
    """Nobody comes back for a killed slot, nor for a killed member without an instance id, in another group: after its
    session the other member of its group has all partitions."""
    topic = clients.topic(partitions=2)
    with (
        member_to_kill(clients, "slot-1", topic) as static,
        member_to_kill(clients, "", topic, group="dynamic") as dynamic,
    ):
        others = [clients.member("g", "slot-0"), clients.member("dynamic", None)]
        for other in others:
            other.subscribe([topic])
        until("all have one", lambda: [owned(other) for other in others] == [1, 1])
        static.kill()
        dynamic.kill()
    until("both others have both", lambda: [owned(other) for other in others] == [2, 2], clients.patience_seconds)
    assert [sorted(place.partition for place in other.assignment()) for other in others] == [[0, 1], [0, 1]]


def test_a_second_member_of_the_same_slot_fences_the_first(clients: Clients) -> None:
    """Two processes of one instance id never both go on: the first gets a fatal error and can commit nothing."""
    topic = clients.topic()
    clients.send(topic, "a")
    first, second = clients.member("g", "slot-0"), clients.member("g", "slot-0")
    first.subscribe([topic])
    assert len(take(first, 1)) == 1
    second.subscribe([topic])
    assert len(take(second, 1)) == 1

    def fenced() -> bool:
        message = first.poll(0.1)
        error = message.error() if message is not None else None
        return error is not None and error.code() == KafkaError._FATAL

    until("the first is told", fenced)
    with pytest.raises(KafkaException):
        first.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)


def test_a_group_goes_on_where_it_committed(clients: Clients) -> None:
    """Committed offsets outlive the member; what it read and did not commit comes again."""
    topic = clients.topic()
    clients.send(topic, *"abcdef")
    for committed, expected in ((2, "abcdef"), (5, "cdef"), (6, "f")):
        member = clients.member("g", "slot-0")
        member.subscribe([topic])
        assert values(take(member, len(expected))) == list(expected)
        member.commit(offsets=[TopicPartition(topic, 0, committed)], asynchronous=False)
        member.close()


def test_a_partition_can_be_added(clients: Clients) -> None:
    """A member learns of new partitions by itself, from their beginning."""
    topic = clients.topic()
    member = clients.member("g", "slot-0")
    member.subscribe([topic])
    until("it has the first", lambda: owned(member) == 1)
    clients.admin.create_partitions([NewPartitions(topic, 2)])[topic].result(DEADLINE_SECONDS)
    producer = clients.producer()
    until(
        "it can be written",
        lambda: producer.list_topics(topic, DEADLINE_SECONDS).topics[topic].partitions.get(1) is not None,
    )
    producer.produce(topic, "late", partition=1)
    assert producer.flush(DEADLINE_SECONDS) == 0
