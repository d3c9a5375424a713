"""Joining the group, what earlier owners of partitions have committed, and what of it may still be under way."""

from collections.abc import Callable, Collection, Iterator, Mapping

import msgspec
import structlog
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from consumers.clickhouse.archive.intent import Committed, decode_intent, under_way
from pipeline.runtime import group_offsets
from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.lag import Place
from pipeline.runtime.metadata import require_topics
from pipeline.runtime.quiet import QuietConsumer
from pipeline.wire.topics import ALL

COMMITTED_SECONDS = 10.0

Change = Callable[[Consumer, list[TopicPartition]], None]


def join(
    consumer: QuietConsumer, kafka: KafkaConfig, names: Collection[str], on_assign: Change, on_revoke: Change
) -> None:
    """Become a member that reads these topics, named as the cluster names them.

    Raises:
        ConfigError: when one is missing: to be started again does not help.
        FatalStageError: when no broker answers.
    """
    wanted = [topic for topic in ALL if kafka.topic_prefix + topic.name in names]
    require_topics(consumer, consumer.errors, kafka, wanted)
    consumer.subscribe(list(names), on_assign=on_assign, on_revoke=on_revoke)


def taken_over(
    consumer: Consumer,
    partitions: list[TopicPartition],
    ends_of: Callable[[list[TopicPartition]], Mapping[Place, int]],
    own: Mapping[Place, int],
    log: structlog.typing.FilteringBoundLogger,
) -> Iterator[tuple[TopicPartition, Committed, bool]]:
    """Each partition, what is committed for it, and whether the intent in it is to be kept. Partitions of the same
    batches that belong to others are looked at too. `ends_of` says where the logs end of which this is committed: what
    is beyond is of another log. `own` is what this process has committed: no answer from before that is believed.

    Raises:
        FatalStageError: when it cannot be known.
    """
    committed = _committed(consumer, partitions, own)
    ends = ends_of([TopicPartition(*place, here.offset) for place, here in committed.items()])
    intents = {(topic, each.intent) for (topic, _), each in committed.items() if each.intent is not None}
    lacking = {(topic, of.partition) for topic, intent in intents for of in intent.ranges} - committed.keys()
    committed |= _committed(consumer, [TopicPartition(*each) for each in lacking], own)
    kept = {
        (topic, intent)
        for topic, intent in intents
        if under_way(intent, {of.partition: committed[topic, of.partition] for of in intent.ranges})
    }
    for found in partitions:
        here, end = committed[found.topic, found.partition], ends[found.topic, found.partition]
        if here.offset > end and here.intent is None:
            place = {"topic": found.topic, "partition": found.partition, "committed": here.offset, "end": end}
            log.error("the log is not what it was: read from its beginning", **place)
            here = Committed(OFFSET_INVALID, None)
        yield found, here, (found.topic, here.intent) in kept


def _committed(
    consumer: Consumer, partitions: list[TopicPartition], own: Mapping[Place, int]
) -> dict[tuple[str, int], Committed]:
    try:
        found = group_offsets.committed(consumer, partitions, COMMITTED_SECONDS, own)
    except KafkaException as failure:
        raise FatalStageError(f"what is committed cannot be asked for: {failure.args[0]}") from None
    return {(of.topic, of.partition): _said(of) for of in found}


def _said(of: TopicPartition) -> Committed:
    try:
        return Committed(of.offset, decode_intent(of.metadata) if of.offset >= 0 else None)
    except msgspec.DecodeError as error:
        text = f"{of.topic}[{of.partition}]: commit metadata {of.metadata!r} is none of ours: {error}"
        raise FatalStageError(text) from None


def begin_anew(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    """From now on these logs, which are others than those that were read, are read from their beginning; what was under
    way of the others is given up.

    Raises:
        FatalStageError: when the brokers refuse.
    """
    group_offsets.commit_first(consumer, partitions, COMMITTED_SECONDS)
