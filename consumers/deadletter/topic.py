"""The dead-letter topic, read within bounds. A retry leaves a marker on it: the topic itself says what was retried."""

import time
from collections.abc import Iterator
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.runtime.kafka_log import Errors
from pipeline.wire import topics

GROUP = "andon-deadletter"
CALL_SECONDS = 10.0
READ_SECONDS = 120.0
AT_ONCE = 500
RETRIED = "retried"  # the reason of a marker; its topic, partition and offset are the letter's
RETRY_STAGE = "retry"

# A response holds at most about a megabyte: a flood of letters is read, not held.
_FETCHING = {"fetch.message.max.bytes": 1 << 20, "queued.max.messages.kbytes": 4 * 1024, "queued.min.messages": 1000}


class Place(NamedTuple):
    """Where a letter stands on the dead-letter topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Raises ValueError."""
        partition, _, offset = text.partition(":")
        return cls(int(partition), int(offset))


class Letter(NamedTuple):
    """A record of the topic; `headers` as text. `at_ms` is when it was put there."""

    place: Place
    at_ms: int
    key: bytes | None
    value: bytes
    headers: dict[str, str]

    @property
    def reason(self) -> str:
        """Why it was refused."""
        return self.headers.get("reason", "")

    @property
    def origin(self) -> str:
        """Where the message stood."""
        topic, partition, offset = (self.headers.get(name, "?") for name in ("topic", "partition", "offset"))
        return topic if partition == "-1" else f"{topic}[{partition}]@{offset}"

    def marks(self, topic: str) -> Place | None:
        """The letter that this record says was retried."""
        if self.reason != RETRIED or self.headers.get("stage") != RETRY_STAGE or self.headers.get("topic") != topic:
            return None
        try:
            return Place(int(self.headers["partition"]), int(self.headers["offset"]))
        except (KeyError, ValueError):
            return None


class LetterBox:
    """Reads the topic with a consumer of its own that joins no group and commits nothing."""

    def __init__(self, kafka: KafkaConfig) -> None:
        self._where = kafka.bootstrap_servers
        self.topic = kafka.topic_prefix + topics.DEADLETTER.name
        settings = client_config(kafka, GROUP) | {
            "group.id": kafka.topic_prefix + GROUP,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
        self._errors = Errors()
        self._consumer = Consumer(settings | _FETCHING | self._errors.settings)

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def window(self, newest: int) -> dict[int, tuple[int, int]]:
        """Start and end offset of the newest records of each partition.

        Raises:
            AndonError: when there is no such topic, or no broker.
        """
        try:
            found = self._consumer.list_topics(self.topic, timeout=CALL_SECONDS).topics[self.topic]
            if found.error is not None or not found.partitions:
                raise AndonError(f"topic {self.topic}: {found.error or 'has no partitions'}")
            spans = {}
            for partition in found.partitions:
                place = TopicPartition(self.topic, partition)
                low, high = self._consumer.get_watermark_offsets(place, timeout=CALL_SECONDS)
                spans[partition] = (max(low, high - newest), high)
            return spans
        except KafkaException as error:
            raise AndonError(f"Kafka at {self._where}: {self._errors.why(error, self._consumer.poll)}") from None

    def read(self, spans: dict[int, tuple[int, int]]) -> Iterator[Letter]:
        """The records within, in order of each partition; markers of retries too.

        Raises:
            AndonError: when the broker stops answering.
        """
        left = {partition: end for partition, (start, end) in spans.items() if start < end}
        self._consumer.assign([TopicPartition(self.topic, partition, spans[partition][0]) for partition in left])
        deadline = time.monotonic() + READ_SECONDS
        while left:
            if time.monotonic() > deadline:
                raise AndonError(f"{self.topic}: not read to its end within {READ_SECONDS:g} s")
            for message in self._consumer.consume(AT_ONCE, 0.2):
                if (error := message.error()) is not None:
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise AndonError(f"Kafka: {error}")
                    left.pop(message.partition() or 0, None)
                    continue
                letter = _letter(message)
                end = left.get(letter.place.partition, 0)
                if letter.place.offset < end:
                    yield letter
                if letter.place.offset >= end - 1:
                    left.pop(letter.place.partition, None)


def _letter(message: Message) -> Letter:
    pairs = message.headers() or ()
    headers = {name: _text(value) for name, value in (pairs.items() if isinstance(pairs, dict) else pairs)}
    key = message.key()
    place = Place(message.partition() or 0, message.offset() or 0)
    return Letter(
        place, message.timestamp()[1], key.encode() if isinstance(key, str) else key, _bytes(message), headers
    )


def _bytes(message: Message) -> bytes:
    value = message.value()
    return value.encode() if isinstance(value, str) else value or b""


def _text(value: str | bytes | None) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value or ""
