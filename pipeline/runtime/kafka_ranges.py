"""Given ranges of a topic's offsets, read by a client that joins no group."""

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, consumer_config

CONSUME_MESSAGES = 5_000
POLL_SECONDS = 0.1


class Offsets(NamedTuple):
    """[start, end) of a partition."""

    partition: int
    start: int
    end: int


class RangeReader:
    """Reads what is still there of the ranges, committed records only, each partition in order. To be closed.

    `topic` is as the cluster names it; `group` is only used for its rights; `settings` are the client's.
    """

    def __init__(self, kafka: KafkaConfig, group: str, topic: str, ranges: Iterable[Offsets], **settings: Any) -> None:
        self.found: list[Message] = []
        self._topic = topic
        self._left = {of.partition: of for of in ranges}
        name = f"{group}-ranges"
        own = {"enable.partition.eof": True, **settings}
        self._consumer = Consumer(consumer_config(kafka, name, group, name, **own))
        self._consumer.assign([TopicPartition(topic, of.partition, of.start) for of in self._left.values()])

    def poll(self, seconds: float = 0.0) -> bool:
        """Read on; whether all has been read. A fault of the cluster's is waited out."""
        if self._left:
            for message in self._consumer.consume(CONSUME_MESSAGES, seconds):
                self._take(message)
        return not self._left

    def _take(self, message: Message) -> None:
        partition, offset, error = message.partition() or 0, message.offset() or 0, message.error()
        of = self._left.get(partition)
        if of is None or (error is not None and error.code() != KafkaError._PARTITION_EOF):
            return
        if error is None and of.start <= offset < of.end:
            self.found.append(message)
        if offset >= (of.end if error else of.end - 1):  # the last record may be gone: then the end of all shows it
            del self._left[partition]
            self._consumer.pause([TopicPartition(self._topic, partition)])

    def close(self) -> None:
        """Let go of the client."""
        self._consumer.close()


def read_ranges(
    kafka: KafkaConfig, group: str, topic: str, ranges: Iterable[Offsets], timeout_seconds: float
) -> list[Message]:
    """All of it at once, see RangeReader.

    Raises:
        AndonError: when it is not read in time.
    """
    reader = RangeReader(kafka, group, topic, ranges)
    deadline = time.monotonic() + timeout_seconds
    try:
        while not reader.poll(POLL_SECONDS):
            if time.monotonic() > deadline:
                raise AndonError(f"{topic} could not be read to the end in {timeout_seconds:.0f} s")
    finally:
        reader.close()
    return reader.found
