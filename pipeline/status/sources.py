"""Where `andon status` looks: the cluster's offsets and the compacted topics of verdicts and halts."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.runtime.kafka_log import Errors
from pipeline.wire import topics

REQUEST_SECONDS = 5.0
GROUPS = "andon"  # consumer groups of the stages begin so

R = TypeVar("R")
Place = tuple[str, int]  # topic, partition

EARLIEST: Any = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class Offsets(NamedTuple):
    """The cluster at one moment (`at_seconds` on the monotonic clock); topics without their prefix."""

    at_seconds: float
    first: dict[Place, int]
    end: dict[Place, int]
    committed: dict[str, dict[Place, int]]


class Cluster:
    """Asks an admin client; every request has a timeout."""

    def __init__(self, config: KafkaConfig) -> None:
        self._prefix = config.topic_prefix
        self._errors = Errors()
        self._admin = AdminClient(client_config(config, "andon-status") | self._errors.settings)
        self.bootstrap_servers = config.bootstrap_servers

    def partitions(self) -> dict[str, int]:
        """Andon's topics that exist, with their number of partitions.

        Raises:
            AndonError: when no broker answers.
        """
        try:
            found = self._admin.list_topics(timeout=REQUEST_SECONDS).topics
        except KafkaException as error:
            why = self._errors.why(error, self._admin.poll)
            raise AndonError(f"no Kafka broker answers at {self.bootstrap_servers}: {why}") from None
        names = {self._prefix + topic.name: topic.name for topic in topics.ALL}
        return {names[name]: len(topic.partitions) for name, topic in found.items() if name in names}

    def offsets(self) -> Offsets:
        """Raises AndonError when the broker does not answer."""
        places = [(name, number) for name, count in self.partitions().items() for number in range(count)]
        try:
            first = self._list_offsets(places, EARLIEST)
            end = self._list_offsets(places, LATEST)
            return Offsets(time.monotonic(), first, end, {group: self._committed(group) for group in self._groups()})
        except KafkaException as error:
            raise AndonError(f"the broker at {self.bootstrap_servers} does not tell its offsets: {error}") from None

    def _list_offsets(self, places: list[Place], spec: Any) -> dict[Place, int]:
        wanted = {TopicPartition(self._prefix + topic, number): spec for topic, number in places}
        asked = self._admin.list_offsets(wanted, request_timeout=REQUEST_SECONDS) if wanted else {}
        return {self._place(at): answer.result().offset for at, answer in asked.items()}

    def _groups(self) -> list[str]:
        answer = self._admin.list_consumer_groups(request_timeout=REQUEST_SECONDS).result()
        return sorted(g.group_id for g in answer.valid if g.group_id.startswith(self._prefix + GROUPS))

    def _committed(self, group: str) -> dict[Place, int]:
        asked = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=REQUEST_SECONDS
        )
        found = asked[group].result().topic_partitions or []
        return {self._place(at): at.offset for at in found if at.offset >= 0}

    def _place(self, at: TopicPartition) -> Place:
        return at.topic.removeprefix(self._prefix), at.partition


class Compacted(Generic[R]):
    """The newest record of each key of a compacted topic, followed as it changes."""

    def __init__(self, config: KafkaConfig, topic: topics.Topic, decode: Callable[[bytes, bytes], R]) -> None:
        self._topic = config.topic_prefix + topic.name
        self._decode = decode
        self._at_end: set[int] = set()
        self._partitions: set[int] = set()
        self.latest: dict[bytes, R] = {}
        self.unreadable = 0
        self._consumer = Consumer(
            client_config(config, "andon-status")
            | {
                "log_level": 0,
                "group.id": "andon-status",  # never joined: partitions are assigned, nothing is committed
                "group.protocol": "classic",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )

    def refresh(self, partitions: int, wait_seconds: float) -> None:
        """Read what is new; the first time, to the end of the topic or for `wait_seconds`."""
        if set(range(partitions)) != self._partitions:
            self._partitions, self._at_end = set(range(partitions)), set()
            self._consumer.assign([TopicPartition(self._topic, n, OFFSET_BEGINNING) for n in self._partitions])
        deadline = time.monotonic() + wait_seconds
        while self._partitions:
            messages = self._consumer.consume(1000, timeout=0.02)
            for message in messages:
                if (error := message.error()) is None:
                    self._take(message.key() or b"", message.value())
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._at_end.add(message.partition() or 0)
            if time.monotonic() > deadline or (not messages and self._at_end == self._partitions):
                return

    def _take(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.latest.pop(key, None)
            return
        try:
            self.latest[key] = self._decode(key, value)
        except msgspec.DecodeError:
            self.unreadable += 1

    def close(self) -> None:
        """Leave the cluster."""
        self._consumer.close()


def summed(offsets: Mapping[Place, int]) -> dict[str, int]:
    """By topic."""
    totals: dict[str, int] = {}
    for (topic, _), offset in offsets.items():
        totals[topic] = totals.get(topic, 0) + offset
    return totals
