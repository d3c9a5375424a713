"""What a backup reads of Kafka: records, where logs end, and how far the archive and the detector have come."""

from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import KafkaException, Message, TopicPartition

from pipeline.backup.manifest import Log, TopicMade
from pipeline.backup.records import Copied
from pipeline.correlate.checkpoint import places
from pipeline.correlate.config import GROUP as CORRELATE
from pipeline.runtime.errors import AndonError
from pipeline.runtime.group_offsets import GroupOffsets
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.kafka_log import meaning
from pipeline.runtime.topic_admin import TopicAdmin
from pipeline.runtime.topic_reader import OffsetRange, TopicReader
from pipeline.wire.topics import ALL, AUDIT, COMMANDS, HALT_ACKS, HALTS, PARTIALS, VERDICTS

CLIENT = "andon-backup"
CHANGELOG = f"{CORRELATE}-state-changelog"  # Faust's name for the correlator's table
# The audit comes last: what the state says that it includes, and every answer to a command that was read, is in it.
COPIED = (CHANGELOG, COMMANDS.name, HALT_ACKS.name, VERDICTS.name, HALTS.name, AUDIT.name)
NEWEST = (CHANGELOG, VERDICTS.name, HALTS.name)  # compacted: the last record of each key is all that there is
READ_SECONDS = 600.0
ANSWER_SECONDS = 15.0
LOOK_BACK = 50  # offsets in which a record is looked for: transaction markers lie between
SETTINGS = (
    "cleanup.policy", "retention.ms", "retention.bytes", "message.timestamp.type", "max.message.bytes",
    "min.cleanable.dirty.ratio", "segment.ms",
)  # fmt: skip


class Logs:
    """A cluster, read outside of any group. To be closed."""

    def __init__(self, kafka: KafkaConfig) -> None:
        self._kafka = kafka
        self._reader = TopicReader(kafka, CLIENT)

    def made(self) -> list[TopicMade]:
        """Every topic of ours that there is, as it is."""
        names = [*(topic.name for topic in ALL), CHANGELOG]
        found = TopicAdmin(self._kafka).find(self._full(name) for name in names)
        return [
            TopicMade(name, there.partitions, {key: there.config[key] for key in SETTINGS if there.config.get(key)})
            for name in names
            if (there := found.get(self._full(name))) is not None
        ]

    def held(self, topic: str) -> list[Log]:
        """The ends of a topic's partitions; the times are not looked for. Raises AndonError."""
        return [
            Log(topic=topic, partition=each.partition, offset=each.end or 0, last_at_ms=0)
            for each in self._reader.held(self._full(topic))
        ]

    def read(self, topic: str, upto: Sequence[Log]) -> Iterator[Copied]:
        """The committed records of a topic before these places, partition by partition.

        Raises:
            AndonError: when they cannot be read in time.
        """
        lows = {each.partition: each.start for each in self._reader.held(self._full(topic))}
        for log in upto:
            start = lows.get(log.partition, 0)
            if start < log.offset:
                reading = self._reader.start([OffsetRange(self._full(topic), log.partition, start, log.offset)])
                for messages in reading.to_end(READ_SECONDS):
                    yield from map(_copied, messages)

    def dated(self, log: Log) -> Log:
        """With the time of the newest record before it, where one is still there."""
        low = next(
            (each.start for each in self._reader.held(self._full(log.topic)) if each.partition == log.partition), 0
        )
        start = max(low, log.offset - LOOK_BACK)
        at_ms = 0
        if start < log.offset:
            reading = self._reader.start([OffsetRange(self._full(log.topic), log.partition, start, log.offset)])
            for messages in reading.to_end(READ_SECONDS):
                at_ms = max([at_ms, *(message.timestamp()[1] for message in messages)])
        return Log(topic=log.topic, partition=log.partition, offset=log.offset, last_at_ms=at_ms)

    def archived(self, group: str, topics: Sequence[str]) -> list[Log]:
        """Up to where the archive has stored what these topics hold: what is under way is not.

        Raises:
            AndonError: when the brokers do not say.
        """
        held = [(topic, each) for topic in topics for each in self._reader.held(self._full(topic))]
        offsets = GroupOffsets(self._kafka, CLIENT)
        wanted = [TopicPartition(each.topic, each.partition) for _, each in held]
        try:
            found = offsets.committed(self._kafka.topic_prefix + group, wanted, ANSWER_SECONDS)
        except KafkaException as error:
            raise AndonError(f"what {group} has committed cannot be asked for: {meaning(error)}") from None
        finally:
            offsets.close()
        stored = {(of.topic, of.partition): of.offset for of in found}
        return [
            self.dated(
                Log(
                    topic=topic,
                    partition=each.partition,
                    offset=max(stored[each.topic, each.partition], each.start),
                    last_at_ms=0,
                )
            )
            for topic, each in held
        ]

    def judged(self, changelog: Sequence[Copied]) -> list[Log]:
        """Up to where the detector's state includes the partials, as its changelog says."""
        table = {record.key or b"": record.value or b"" for record in changelog}
        return [
            self.dated(Log(topic=PARTIALS.name, partition=place.partition, offset=place.offset, last_at_ms=0))
            for _, place in sorted(places(table).items())
        ]

    def _full(self, topic: str) -> str:
        return self._kafka.topic_prefix + topic

    def close(self) -> None:
        """Let go of the client."""
        self._reader.close()


def _copied(message: Message) -> Copied:
    key = message.key()
    return Copied(
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        key.encode() if isinstance(key, str) else key,
        message.value(),
        tuple(_headers(message)),
    )


def _headers(message: Message) -> Iterator[tuple[str, bytes | None]]:
    headers: Any = message.headers() or ()
    for name, value in headers:
        yield name, value.encode() if isinstance(value, str) else value
