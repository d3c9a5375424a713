"""What `fleet.halts` says by now: committed records, from its beginning to its end. Blocking: call it in a thread."""

import msgspec
import structlog
from confluent_kafka import Message

from pipeline.correlate.config import GROUP
from pipeline.runtime import metrics
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_reader import TopicReader
from pipeline.wire import topics
from pipeline.wire.halts import Halt, decode_halt

TIMEOUT_SECONDS = 30.0


def read_halts(config: KafkaConfig, log: structlog.typing.FilteringBoundLogger) -> list[Halt]:
    """Every record in the topic's order; what is no halt record is counted and passed over.

    Raises:
        AndonError: when the end is not reached in time. Deciding without it might say things twice.
    """
    with TopicReader(config, "andon-correlate-halts", GROUP) as reader:
        reader.start(reader.whole(config.topic_prefix + topics.HALTS.name))
        read = [message for messages in reader.to_end(TIMEOUT_SECONDS) for message in messages]
    return [halt for message in read if (halt := _decoded(message, log)) is not None]


def _decoded(message: Message, log: structlog.typing.FilteringBoundLogger) -> Halt | None:
    value, key = message.value(), message.key()
    if value is None:
        return None
    try:
        halt = decode_halt(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        why = str(error)
    else:
        if key == halt.key.encode():
            return halt
        why = "its key is another's"
    metrics.REJECTED.labels("correlate", "malformed_halt").inc()
    log.warning("not a halt record", offset=message.offset(), why=why)
    return None
