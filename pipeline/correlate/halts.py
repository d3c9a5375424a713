"""Reads `fleet.halts` from its beginning to its end, committed records only. Blocking: call it in a thread."""

import time

import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.correlate.config import GROUP
from pipeline.runtime import metrics
from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.wire import topics
from pipeline.wire.halts import Halt, decode_halt

TIMEOUT_SECONDS = 30.0
_POLL_SECONDS = 1.0


def read_halts(config: KafkaConfig, log: structlog.typing.FilteringBoundLogger) -> list[Halt]:
    """Every record in the topic's order; what is no halt record is counted and passed over.

    Raises:
        FatalStageError: when the end is not reached in time. Deciding without it might say things twice.
    """
    topic = config.topic_prefix + topics.HALTS.name
    settings = client_config(config, "andon-correlate-halts") | {
        # It never joins, and commits nothing; but librdkafka asks for its coordinator, and ACLs allow that of no other.
        "group.id": config.topic_prefix + GROUP,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
    }
    consumer = Consumer(settings)
    try:
        return _read(consumer, topic, log)
    except KafkaException as error:
        raise FatalStageError(f"cannot read {topic}: {error}") from None
    finally:
        consumer.close()


def _read(consumer: Consumer, topic: str, log: structlog.typing.FilteringBoundLogger) -> list[Halt]:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    found = consumer.list_topics(timeout=TIMEOUT_SECONDS).topics.get(topic)
    if found is None:
        raise FatalStageError(f"missing topic: {topic}; create it with `andon topics apply`")
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in found.partitions])
    waiting, halts = set(found.partitions), list[Halt]()
    while waiting:
        message = consumer.poll(_POLL_SECONDS)
        if message is not None and not _at_end(message, waiting):
            halts += _decode(message, log)
        if time.monotonic() > deadline:
            raise FatalStageError(f"{topic}: its end was not reached within {TIMEOUT_SECONDS:.0f} s")
    return halts


def _at_end(message: Message, waiting: set[int]) -> bool:
    error = message.error()
    if error is None:
        return False
    if error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    waiting.discard(message.partition() or 0)
    return True


def _decode(message: Message, log: structlog.typing.FilteringBoundLogger) -> list[Halt]:
    value, key = message.value(), message.key()
    if value is None:
        return []
    try:
        halt = decode_halt(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        why = str(error)
    else:
        if key == halt.key.encode():
            return [halt]
        why = "its key is another's"
    metrics.REJECTED.labels("correlate", "malformed_halt").inc()
    log.warning("not a halt record", offset=message.offset(), why=why)
    return []
