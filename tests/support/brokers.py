"""What tests of Kafka clients share: a broker of either kind, a place in memory, topics and clients of a test's own."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.runtime.kafka import client_config, consumer_config, producer_config
from pipeline.runtime.waiting import Deadline
from support.waiting import DEADLINE_SECONDS

AnyBroker = EmbeddedBroker | KafkaCluster

SHARED_MEMORY = Path("/dev/shm")


@contextmanager
def memory() -> Iterator[Path]:
    """A temporary directory, in memory where there is such a place."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as directory:
        yield Path(directory)


def embedded_cannot(reason: str) -> pytest.MarkDecorator:
    """The test runs on both brokers, and on the embedded one it is known to fail: always, or the mark is wrong."""
    gap = pytest.param("embedded", marks=pytest.mark.xfail(strict=True, reason=f"the embedded broker {reason}"))
    return pytest.mark.parametrize("broker", [gap, "kafka"], indirect=True, scope="module")


def kafka_only(reason: str) -> pytest.MarkDecorator:
    """The test runs on Apache Kafka alone, because the embedded broker sometimes fails it and sometimes does not."""
    assert reason
    return pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="module")


class Clients:
    """Topics and clients of one test, under a prefix of its own; closed at its end."""

    def __init__(self, broker: AnyBroker, topic_prefix: str = "") -> None:
        self.kafka = msgspec.structs.replace(broker.client_options(), topic_prefix=topic_prefix)
        # How long to wait for what a broker may have to find out first: the embedded one never does.
        self.patience_seconds = 10.0 if isinstance(broker, EmbeddedBroker) else DEADLINE_SECONDS
        self.admin = AdminClient(client_config(self.kafka, "test"))
        self._consumers: list[Consumer] = []

    def topic(self, name: str = "t", partitions: int = 1, replicas: int = 1, **config: str) -> str:
        """Create one; settings with "_" for ".". Returns its full name."""
        full = self.kafka.topic_prefix + name
        settings = {key.replace("_", "."): value for key, value in config.items()}
        self.admin.create_topics([NewTopic(full, partitions, replicas, config=settings)])[full].result(DEADLINE_SECONDS)
        return full

    def producer(self, transactional_id: str = "", timeout_ms: int = 60_000, **more: Any) -> Producer:
        """An idempotent one, or a transactional one that is ready to begin."""
        if not transactional_id:
            return Producer(producer_config(self.kafka, "test", **more))
        mine = {"transactional.id": self.kafka.topic_prefix + transactional_id, "transaction.timeout.ms": timeout_ms}
        made = Producer(producer_config(self.kafka, "test", **mine, **{"message.timeout.ms": timeout_ms}, **more))
        made.init_transactions(DEADLINE_SECONDS)
        return made

    def send(self, topic: str, *values: bytes | str, producer: Producer | None = None) -> None:
        """Acknowledged when this returns."""
        producer = producer or self.producer()
        failures: list[KafkaError] = []
        for value in values:
            producer.produce(topic, value, on_delivery=lambda error, _: error and failures.append(error))
        assert producer.flush(DEADLINE_SECONDS) == 0
        assert not failures

    def reader(self, topic: str, partition: int = 0, offset: int = 0, **more: Any) -> Consumer:
        """Reads one partition, outside of any group; only what is committed unless told otherwise."""
        made = Consumer(
            consumer_config(self.kafka, "test", "reader", "reader", **{k.replace("_", "."): v for k, v in more.items()})
        )
        made.assign([TopicPartition(topic, partition, offset)])
        self._consumers.append(made)
        return made

    def member(self, group: str, instance: str | None, session_ms: int = 6_000) -> Consumer:
        """A member of a group, static when it has an instance; not subscribed yet."""
        settings = consumer_config(self.kafka, "test", group, instance or "", **{"session.timeout.ms": session_ms})
        settings["heartbeat.interval.ms"] = min(session_ms // 6, 1_000)
        if instance is None:
            del settings["group.instance.id"]
        made = Consumer(settings)
        self._consumers.append(made)
        return made

    def ends(self, topic: str, partition: int = 0) -> tuple[int, int]:
        """(low, high) watermark, asked of the broker."""
        if not self._consumers:
            self.reader(topic)
        found: tuple[int, int] = self._consumers[0].get_watermark_offsets(
            TopicPartition(topic, partition), timeout=DEADLINE_SECONDS
        )
        return found

    def close(self) -> None:
        """Close every consumer."""
        for consumer in self._consumers:
            consumer.close()


def take(consumer: Consumer, count: int, seconds: float = DEADLINE_SECONDS) -> list[Message]:
    """So many messages, or what came until the deadline."""
    found: list[Message] = []
    deadline = Deadline(seconds)
    while len(found) < count and not deadline.has_passed:
        message = consumer.poll(min(deadline.left_seconds, 0.5))
        if message is not None and message.error() is None:
            found.append(message)
    return found


def values(messages: list[Message]) -> list[str]:
    """Their values as text."""
    return [(message.value() or b"").decode() for message in messages]


@contextmanager
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """An embedded broker that keeps its data in memory."""
    with memory() as directory, EmbeddedBroker(directory) as running:
        yield running
