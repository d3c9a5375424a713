"""The dead-letter topic, read within bounds. A retry leaves a marker on it: the topic itself says what was retried."""

from collections.abc import Iterator
from typing import NamedTuple

from confluent_kafka import Message

from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_reader import OffsetRange, TopicReader
from pipeline.wire import topics

GROUP = "andon-deadletter"
READ_SECONDS = 120.0
RETRIED = "retried"  # the reason of a marker; its topic, partition and offset are the letter's
RETRY_STAGE = "retry"

# A response holds at most about a megabyte: a flood of letters is read, not held.
FETCHING = {"fetch.message.max.bytes": 1 << 20, "queued.max.messages.kbytes": 4 * 1024, "queued.min.messages": 1000}


class LetterPlace(NamedTuple):
    """Where a letter stands on the dead-letter topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "LetterPlace":
        """Raises ValueError."""
        partition, _, offset = text.partition(":")
        return cls(int(partition), int(offset))


class Letter(NamedTuple):
    """A record of the topic; `headers` as text. `at_ms` is when it was put there."""

    place: LetterPlace
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

    def marks(self, topic: str) -> LetterPlace | None:
        """The letter that this record says was retried."""
        if self.reason != RETRIED or self.headers.get("stage") != RETRY_STAGE or self.headers.get("topic") != topic:
            return None
        try:
            return LetterPlace(int(self.headers["partition"]), int(self.headers["offset"]))
        except (KeyError, ValueError):
            return None


class LetterBox:
    """Reads the topic with a consumer of its own that joins no group and commits nothing."""

    def __init__(self, kafka: KafkaConfig) -> None:
        self.topic = kafka.topic_prefix + topics.DEADLETTER.name
        self._reader = TopicReader(kafka, GROUP, settings=FETCHING)

    def close(self) -> None:
        """Leave."""
        self._reader.close()

    def window(self, newest: int) -> dict[int, tuple[int, int]]:
        """Start and end offset of the newest records of each partition.

        Raises:
            AndonError: when there is no such topic, or no broker.
        """
        held = [(each.partition, each.start, each.end or 0) for each in self._reader.held(self.topic)]
        return {partition: (max(low, high - newest), high) for partition, low, high in held}

    def read(self, spans: dict[int, tuple[int, int]]) -> Iterator[Letter]:
        """The records within, in order of each partition; markers of retries too.

        Raises:
            AndonError: when the broker stops answering.
        """
        self._reader.start(OffsetRange(self.topic, partition, *span) for partition, span in spans.items())
        for messages in self._reader.to_end(READ_SECONDS):
            yield from map(_letter, messages)


def _letter(message: Message) -> Letter:
    pairs = message.headers() or ()
    headers = {name: _text(value) for name, value in (pairs.items() if isinstance(pairs, dict) else pairs)}
    key = message.key()
    place = LetterPlace(message.partition() or 0, message.offset() or 0)
    return Letter(
        place, message.timestamp()[1], key.encode() if isinstance(key, str) else key, _bytes(message), headers
    )


def _bytes(message: Message) -> bytes:
    value = message.value()
    return value.encode() if isinstance(value, str) else value or b""


def _text(value: str | bytes | None) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value or ""
