"""A restore's side of Kafka: where the archive goes on, and the topics of a cluster that begins anew."""

import time
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.backup.manifest import TopicMade
from pipeline.backup.records import Copied
from pipeline.runtime import group_offsets
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, client_config, producer_config
from pipeline.runtime.kafka_log import meaning
from pipeline.runtime.topic_admin import TopicAdmin
from pipeline.runtime.topic_reader import OffsetRange, TopicReader
from pipeline.runtime.waiting import Deadline
from pipeline.wire.topics import Topic

CLIENT = "andon-backup"
MEMBERS_SECONDS = 20.0  # a static member that died stays one for its session, 6 s
ANSWER_SECONDS = 15.0
FLUSH_SECONDS = 120.0
PAUSE_SECONDS = 0.5

Places = Mapping[tuple[str, int], int]  # an offset by topic, without its prefix, and partition


class Cluster:
    """Topics and groups under one prefix."""

    def __init__(self, kafka: KafkaConfig) -> None:
        self._kafka = kafka
        self._admin = TopicAdmin(kafka)

    def _full(self, name: str) -> str:
        return self._kafka.topic_prefix + name

    # -- what there is

    def held(self, names: Iterable[str]) -> dict[tuple[str, int], OffsetRange]:
        """What the partitions of those topics hold that there are."""
        there = self._admin.find(map(self._full, names))
        with TopicReader(self._kafka, CLIENT) as reader:
            found = reader.held(*there) if there else []
        return {(each.topic.removeprefix(self._kafka.topic_prefix), each.partition): each for each in found}

    # -- where a group goes on

    def take_place(self, group: str, places: Places) -> None:
        """Commit these offsets for a group of which no member is left.

        Raises:
            AndonError: when members are there, or the brokers refuse.
        """
        wanted = [TopicPartition(self._full(topic), at, offset, metadata="") for (topic, at), offset in places.items()]
        self._commit(group, wanted)

    def require_left(self, group: str, topics: Sequence[tuple[str, int]]) -> None:
        """Raises AndonError when the group has members: it commits once more what it has committed."""
        with_group = self._client(group)
        try:
            found = group_offsets.committed(
                with_group, [TopicPartition(self._full(topic), at) for topic, at in topics], ANSWER_SECONDS
            )
        except KafkaException as error:
            raise AndonError(f"what {group} has committed cannot be asked for: {meaning(error)}") from None
        finally:
            with_group.close()
        same = [TopicPartition(of.topic, of.partition, of.offset, metadata=of.metadata or "") for of in found]
        self._commit(group, [of for of in same if of.offset >= 0])

    def _client(self, group: str) -> Consumer:
        own = {"group.id": self._full(group), "group.protocol": "classic", "enable.auto.commit": False}
        return Consumer(client_config(self._kafka, CLIENT) | own | {"isolation.level": "read_committed"})

    def _commit(self, group: str, places: list[TopicPartition]) -> None:
        if not places:
            return
        client, deadline = self._client(group), Deadline(MEMBERS_SECONDS)
        try:
            while (refused := _refusal(client, places)) is not None:
                if deadline.has_passed:
                    raise AndonError(
                        f"{self._full(group)} takes no offsets: {refused.str()}. Is the stage stopped everywhere? "
                        "One that was killed counts as a member for 6 s more"
                    )
                time.sleep(PAUSE_SECONDS)
        finally:
            client.close()

    # -- topics of a cluster that begins anew

    def require_unused(self, topics: Iterable[TopicMade]) -> None:
        """Raises AndonError when one of them holds a record, or is there with other partitions."""
        made = {topic.name: topic for topic in topics}
        held = self.held(made)
        for (name, _), each in held.items():
            if each.end:
                raise AndonError(
                    f"{each.topic} holds records, or has held some: a cluster that lost everything has none. Restore "
                    "before anything is started on it, or with --kafka survived"
                )
            count = sum(topic == name for topic, _ in held)
            if count != made[name].partitions:
                raise AndonError(f"{each.topic} has {count} partitions, and had {made[name].partitions}: delete it")

    def make(self, topics: Iterable[TopicMade], replication: int) -> list[str]:
        """Those that are not there; their names."""
        wanted = {self._full(topic.name): topic for topic in topics}
        missing = wanted.keys() - self._admin.find(wanted).keys()
        for name in sorted(missing):
            topic = wanted[name]
            self._admin.create(Topic(topic.name, "", topic.partitions, topic.config, ""), name, replication)
        self._admin.find(wanted, missing)
        return sorted(missing)

    def delete(self, names: Sequence[str]) -> None:
        """Topics by their full names, as far as the brokers will."""
        admin = AdminClient(client_config(self._kafka, CLIENT))
        for future in admin.delete_topics(list(names), operation_timeout=ANSWER_SECONDS).values() if names else ():
            try:
                future.result(ANSWER_SECONDS)
            except (KafkaException, TimeoutError):
                continue

    def put(self, topic: str, records: Iterable[Copied]) -> None:
        """Onto the partitions that they stood on, in their order.

        Raises:
            AndonError: when the brokers have not acknowledged all.
        """
        failed: list[KafkaError] = []
        producer = Producer(producer_config(self._kafka, CLIENT, **{"message.max.bytes": 16 << 20}))
        for record in records:
            while True:
                try:
                    producer.produce(
                        self._full(topic),
                        record.value,
                        record.key,
                        record.partition,
                        on_delivery=lambda error, _: failed.extend(filter(None, [error])),
                        headers=[(name, value) for name, value in record.headers],
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
        left = producer.flush(FLUSH_SECONDS)
        if left or failed:
            why = failed[0].str() if failed else f"{left} were not acknowledged"
            raise AndonError(f"records cannot be written to {self._full(topic)}: {why}")


def _refusal(client: Consumer, places: list[TopicPartition]) -> KafkaError | None:
    try:
        done = client.commit(offsets=places, asynchronous=False) or []
    except KafkaException as failure:
        refused: KafkaError = failure.args[0]
        return refused
    return next((of.error for of in done if of.error is not None), None)
