"""Partitions of topics, read outside of any group: committed records only, from where one says to where one says."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.runtime.kafka_log import meaning as meaning  # for who reads
from pipeline.runtime.metadata import CALL_SECONDS, list_topics
from pipeline.runtime.quiet import QuietConsumer
from pipeline.runtime.waiting import Deadline

AT_ONCE = 5_000  # messages of one poll
POLL_SECONDS = 0.1
NO_MORE: Mapping[str, Any] = MappingProxyType({})


class OffsetRange(NamedTuple):
    """[start, end) of a partition of a topic, which is named as the cluster names it.

    Without an end it is read on and on, and is at its end as soon as there was nothing more for once.
    """

    topic: str
    partition: int
    start: int = OFFSET_BEGINNING
    end: int | None = None


class TopicReader:
    """A context manager, or to be closed. Joins no group and commits nothing; not for several threads at once.

    `group` is there for its rights: librdkafka asks for its coordinator even so, and ACLs may allow that of no other
    name. It is that of the client unless given, and stands behind the topics' prefix. `settings` are librdkafka's;
    `look_seconds` as of QuietConsumer.
    """

    def __init__(
        self,
        kafka: KafkaConfig,
        client_id: str,
        group: str = "",
        settings: Mapping[str, Any] = NO_MORE,
        look_seconds: float | None = None,
    ) -> None:
        self.fault: KafkaError | None = None  # the newest that the brokers answered with; it is waited out
        self._kafka = kafka
        self._ranges: dict[tuple[str, int], OffsetRange] = {}
        self._unread: set[tuple[str, int]] = set()
        own = {
            "group.id": kafka.topic_prefix + (group or client_id),
            "group.protocol": "classic",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
        self._consumer = QuietConsumer(client_config(kafka, client_id) | own | {**settings}, look_seconds)

    # -- what there is to read

    def whole(self, *topics: str, seconds: float = CALL_SECONDS) -> list[OffsetRange]:
        """Every partition of the topics, from its beginning on, without an end; to learn them may take so long.

        Raises:
            AndonError: when there is no such topic, or no broker answers.
        """
        found = list_topics(self._consumer, self._consumer.errors, self._kafka, max(seconds, 0.1))
        for topic in topics:
            if topic not in found:
                raise AndonError(f"topic {topic} does not exist: create it with `andon topics apply`")
        return [OffsetRange(topic, number) for topic in topics for number in sorted(found[topic].partitions)]

    def held(self, *topics: str) -> list[OffsetRange]:
        """What every partition of the topics holds by now: from its first record to the end of what is committed.

        Raises:
            AndonError: when there is no such topic, or no broker answers.
        """
        try:
            return [self._held(each) for each in self.whole(*topics)]
        except KafkaException as error:
            raise AndonError(f"Kafka at {self._kafka.bootstrap_servers}: {self._why(error)}") from None

    def _held(self, whole: OffsetRange) -> OffsetRange:
        place = TopicPartition(whole.topic, whole.partition)
        low, high = self._consumer.get_watermark_offsets(place, timeout=CALL_SECONDS) or (0, 0)
        return whole._replace(start=low, end=high)

    # -- reading

    def start(self, ranges: Iterable[OffsetRange]) -> Self:
        """Read these from now on, and nothing that was read before."""
        self._ranges = {(each.topic, each.partition): each for each in ranges}
        self._unread = {at for at, each in self._ranges.items() if each.end is None or max(0, each.start) < each.end}
        self.fault = None
        self._consumer.assign([TopicPartition(*at, self._ranges[at].start) for at in self._unread])
        return self

    @property
    def at_end(self) -> bool:
        """Whether every range has been read to its end."""
        return not self._unread

    def poll(self, seconds: float = 0.0) -> list[Message]:
        """Records that have come; for the first of them it waits so long, or until an end is reached. Each partition's
        are in order."""
        first = self._consumer.poll(seconds)
        if first is None:
            return []
        return [message for message in (first, *self._consumer.consume(AT_ONCE - 1, 0)) if self._is_wanted(message)]

    def _is_wanted(self, message: Message) -> bool:
        """Whether it is a record of its range. What is no record says that the partition's end was reached, at its
        offset, or is a fault."""
        error, offset = message.error(), message.offset() or 0
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            self.fault = error
            return False
        at = message.topic() or "", message.partition() or 0
        _, _, start, end = self._ranges[at]
        if end is None:
            if error is not None:
                self._unread.discard(at)
            return error is None
        # The last record of a range may be gone, or be the marker of a transaction: then the partition's end shows it.
        if offset >= (end - 1 if error is None else end) and at in self._unread:
            self._unread.discard(at)
            self._consumer.pause([TopicPartition(*at)])
        return error is None and start <= offset < end

    def to_end(self, timeout_seconds: float) -> Iterator[list[Message]]:
        """What comes until every range has been read to its end, as it comes.

        Raises:
            AndonError: when the brokers refuse, or the end is not reached in time.
        """
        deadline = Deadline(timeout_seconds)
        while self._unread:
            if deadline.has_passed:
                why = f"not read to its end within {timeout_seconds:g} s"
                raise AndonError(f"{self._unread_topics()}: {self._why(why)}")
            if records := self.poll(POLL_SECONDS):
                yield records
            if self.fault is not None and self._unread:
                raise AndonError(f"{self._unread_topics()} cannot be read: {meaning(self.fault)}")

    def _unread_topics(self) -> str:
        return ", ".join(sorted({topic for topic, _ in self._unread}))

    def _why(self, failure: KafkaException | str) -> str:
        return self._consumer.errors.why(failure, self._consumer.poll)

    def position(self, topic: str, partition: int) -> int:
        """The offset that is read next, transaction markers passed; 0 before the first record."""
        return max(0, self._consumer.position([TopicPartition(topic, partition)])[0].offset)

    # -- life

    def close(self) -> None:
        """Let go of the client."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
