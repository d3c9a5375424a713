"""Given ranges of a topic's offsets, read by a client that joins no group."""

import time
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, consumer_config

CONSUME_MESSAGES = 5_000
POLL_SECONDS = 0.1


def read_ranges(
    kafka: KafkaConfig, group: str, topic: str, ranges: Iterable[tuple[int, int, int]], timeout_seconds: float
) -> list[Message]:
    """What is still there of the ranges (partition, start, end), committed records only, each partition in order.

    `topic` is as the cluster names it; `group` is only used for its rights.

    Raises:
        AndonError: when their end is not reached in time.
    """
    wanted = list(ranges)
    name = f"{group}-ranges"
    reader = Consumer(consumer_config(kafka, name, group, name, **{"enable.partition.eof": True}))
    ends = {partition: end for partition, _, end in wanted}
    found: list[Message] = []
    deadline = time.monotonic() + timeout_seconds
    try:
        reader.assign([TopicPartition(topic, partition, start) for partition, start, _ in wanted])
        while ends:
            if time.monotonic() > deadline:
                raise AndonError(f"{topic} could not be read to the end of {wanted} in {timeout_seconds:.0f} s")
            for message in reader.consume(CONSUME_MESSAGES, POLL_SECONDS):
                _take(message, ends, found)
    finally:
        reader.close()
    return found


def _take(message: Message, ends: dict[int, int], found: list[Message]) -> None:
    partition, offset, error = message.partition() or 0, message.offset() or 0, message.error()
    end = ends.get(partition)
    if end is None or (error is not None and error.code() != KafkaError._PARTITION_EOF):
        return  # what is a passing fault passes; what is not runs into the timeout
    if error is None and offset < end:
        found.append(message)
    if offset >= (end if error else end - 1):  # the last record of a range may be gone: then the end of all shows it
        del ends[partition]
