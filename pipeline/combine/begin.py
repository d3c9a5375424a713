"""Before the combiner reads: that its topics exist, and where reading of the partitions begins that it was assigned."""

from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition
from structlog.typing import FilteringBoundLogger

from pipeline.combine.config import STAGE
from pipeline.runtime import group_offsets
from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.lag import LagReport, Place
from pipeline.runtime.metadata import require_topics
from pipeline.runtime.metrics import LOST
from pipeline.runtime.quiet import QuietConsumer
from pipeline.wire.topics import DEADLETTER, EVENTS, PARTIALS

_CALL_SECONDS = 10.0


def require(consumer: QuietConsumer, kafka: KafkaConfig) -> None:
    """Raises FatalStageError when no broker answers, ConfigError when a topic that is needed is missing."""
    require_topics(consumer, consumer.errors, kafka, (EVENTS, PARTIALS, DEADLETTER))


def starts(
    consumer: Consumer,
    partitions: list[TopicPartition],
    own: Mapping[Place, int],
    lag: LagReport,
    log: FilteringBoundLogger,
) -> dict[int, int]:
    """By partition, from which offset to read on; `own` is what this process has committed itself.

    Raises:
        FatalStageError: when it cannot be known.
    """
    try:
        found = group_offsets.committed(consumer, partitions, _CALL_SECONDS, own)
        bounds = lag.began(found)
    except KafkaException as error:
        raise FatalStageError(f"where to read from cannot be known: {error.args[0]}") from None
    return {of.partition: _start(of, *bounds[of.topic, of.partition], log) for of in found}


def begin_anew(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    """These logs are others than those that were read: what comes next reads them from their beginning.

    Raises:
        FatalStageError: when the brokers refuse.
    """
    group_offsets.commit_first(consumer, partitions, _CALL_SECONDS)


def _start(committed: TopicPartition, low: int, high: int, log: FilteringBoundLogger) -> int:
    """The committed offset, if the log still goes that far back and already that far on; else its beginning."""
    if committed.offset < 0:
        return low
    place = {"partition": committed.partition, "committed": committed.offset}
    if committed.offset > high:
        log.error("the log is not what it was: read from its beginning", **place, first=low, end=high)
        return low
    if committed.offset < low:
        LOST.labels(STAGE, EVENTS.name).inc(low - committed.offset)
        log.error("records deleted before they were read", **place, upto=low - committed.offset)
        return low
    return committed.offset
