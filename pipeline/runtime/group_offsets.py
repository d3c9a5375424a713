"""What consumer groups have committed: asked of their coordinator until it knows.

Never in another way. An admin client crashes the process when the group's coordinator has just moved (librdkafka 2.16:
on NOT_COORDINATOR it dereferences the group that only a consumer has); an assignment without offsets asks once, and
refused in such a moment leaves its partitions unread for ever. And to a client that is not read-committed a coordinator
that has just taken over (Apache Kafka 4) gives old offsets, or none, for some moments.
"""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.runtime.waiting import Deadline

PAUSE_SECONDS = 0.1


def committed(
    consumer: Consumer,
    places: Sequence[TopicPartition],
    timeout_seconds: float,
    own: Mapping[tuple[str, int], int] = MappingProxyType({}),
) -> list[TopicPartition]:
    """Offset and metadata by partition, of the group of a read-committed consumer, which need not be a member; the
    offset is negative when nothing is committed.

    `own` is what this process has itself committed for the group, by topic and partition. An answer from before that is
    of a broker that was cut off from the others and does not know yet that another coordinates the group now: it lets a
    member in again whom it knows, for that writes nothing. (A member that is new to a partition is let in by a write,
    which such a broker cannot do.)

    Raises:
        KafkaException: the newest refusal, when none of the answers was whole in time.
    """
    deadline = Deadline(timeout_seconds)
    while True:
        try:
            return _answer(consumer, places, max(PAUSE_SECONDS, deadline.left_seconds), own)
        except KafkaException:
            if deadline.left_seconds <= PAUSE_SECONDS:
                raise
        time.sleep(PAUSE_SECONDS)


def _answer(
    consumer: Consumer, places: Sequence[TopicPartition], timeout_seconds: float, own: Mapping[tuple[str, int], int]
) -> list[TopicPartition]:
    found = consumer.committed(list(places), timeout=timeout_seconds) if places else []
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
        if place.offset < (committed_here := own.get((place.topic, place.partition), place.offset)):
            why = f"{place.topic}[{place.partition}]: {place.offset} instead of {committed_here}, committed here"
            raise KafkaException(KafkaError(KafkaError.NOT_COORDINATOR, why))
    return found


def commit_first(consumer: Consumer, places: Sequence[TopicPartition], timeout_seconds: float) -> None:
    """Commit, for the group of this member, the beginning of each of these logs: what is committed is of others. A
    refusal may be of the moment, while the group rebalances or its coordinator moves: it is tried again.

    Raises:
        FatalStageError: when in this time the brokers do not say where they begin, or refuse.
    """
    deadline = Deadline(timeout_seconds)
    while (refused := _commit_first(consumer, places, timeout_seconds)) is not None:
        if deadline.left_seconds <= PAUSE_SECONDS or refused.fatal():
            raise FatalStageError(f"what is committed cannot be set back: {refused}")
        time.sleep(PAUSE_SECONDS)


def _commit_first(consumer: Consumer, places: Sequence[TopicPartition], timeout_seconds: float) -> KafkaError | None:
    try:
        bounds = [consumer.get_watermark_offsets(place, timeout=timeout_seconds) or (0, 0) for place in places]
        starts = [TopicPartition(of.topic, of.partition, low) for of, (low, _) in zip(places, bounds, strict=True)]
        done = (consumer.commit(offsets=starts, asynchronous=False) or []) if starts else []
    except KafkaException as failure:
        refused: KafkaError = failure.args[0]
        return refused
    return next((of.error for of in done if of.error is not None), None)


class GroupOffsets:
    """Asks for groups that it is no member of; one client for each. To be closed."""

    def __init__(self, kafka: KafkaConfig, client_id: str) -> None:
        self._settings = client_config(kafka, client_id) | {
            "group.protocol": "classic",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
        self._clients: dict[str, Consumer] = {}

    def committed(self, group: str, places: Sequence[TopicPartition], timeout_seconds: float) -> list[TopicPartition]:
        """See `committed`; group and topics are named as the cluster names them."""
        if group not in self._clients:
            self._clients[group] = Consumer(self._settings | {"group.id": group})
        return committed(self._clients[group], places, timeout_seconds)

    def close(self) -> None:
        """Let go of the clients."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
