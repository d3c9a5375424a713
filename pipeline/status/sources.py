"""Where `andon status` looks: the cluster's offsets and the compacted topics of verdicts and halts."""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition

from pipeline.runtime.errors import AndonError
from pipeline.runtime.group_offsets import GroupOffsets
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.kafka_log import meaning
from pipeline.runtime.log_offsets import LogOffsets
from pipeline.runtime.metadata import list_topics
from pipeline.runtime.topic_reader import OffsetRange, TopicReader
from pipeline.runtime.waiting import Deadline
from pipeline.wire import topics

REQUEST_SECONDS = 5.0
POLL_SECONDS = 0.02
GROUPS = "andon"  # consumer groups of the stages begin so

Place = tuple[str, int]  # topic, partition
NOWHERE: Mapping[Place, int] = MappingProxyType({})


class Offsets(NamedTuple):
    """The cluster at one moment (`at_seconds` on the monotonic clock); topics without their prefix."""

    at_seconds: float
    first: dict[Place, int]
    end: dict[Place, int]
    committed: dict[str, dict[Place, int]]
    untold: Mapping[str, str] = MappingProxyType({})  # groups whose offsets cannot be known now, and why
    committed_end: Mapping[Place, int] = MappingProxyType({})  # short of `end` by what open transactions hold back


class Cluster:
    """Asks the brokers; every request has a timeout. To be closed."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config, self._prefix = config, config.topic_prefix
        self._logs = LogOffsets(config, "andon-status")
        self._groups_offsets = GroupOffsets(config, "andon-status")
        self.bootstrap_servers = config.bootstrap_servers

    def partitions(self) -> dict[str, int]:
        """Andon's topics that exist, with their number of partitions.

        Raises:
            AndonError: when no broker answers.
        """
        found = list_topics(self._logs.admin, self._logs.errors, self._config, REQUEST_SECONDS)
        names = {self._prefix + topic.name: topic.name for topic in topics.ALL}
        return {names[name]: len(topic.partitions) for name, topic in found.items() if name in names}

    def offsets(self) -> Offsets:
        """Raises AndonError when the broker does not answer."""
        places = [(name, number) for name, count in self.partitions().items() for number in range(count)]
        try:
            first, ends = self._logs.first(map(self._full, places)), self._logs.ends(map(self._full, places))
            told, untold = self._committed(places)
        except (KafkaException, TimeoutError) as error:
            raise AndonError(
                f"the broker at {self.bootstrap_servers} does not tell its offsets: {meaning(error)}"
            ) from None
        return Offsets(
            time.monotonic(),
            {place: first[self._full(place)] for place in places},
            {place: ends[self._full(place)].written for place in places},
            told,
            untold,
            {place: ends[self._full(place)].committed for place in places},
        )

    def _full(self, place: Place) -> Place:
        return self._prefix + place[0], place[1]

    def _groups(self) -> list[str]:
        answer = self._logs.admin.list_consumer_groups(request_timeout=REQUEST_SECONDS).result()
        return sorted(g.group_id for g in answer.valid if g.group_id.startswith(self._prefix + GROUPS))

    def _committed(self, places: list[Place]) -> tuple[dict[str, dict[Place, int]], dict[str, str]]:
        """By group what it has committed; and the groups of which nobody says so, with the reason."""
        asked = [TopicPartition(self._prefix + topic, number) for topic, number in places]
        told: dict[str, dict[Place, int]] = {}
        untold: dict[str, str] = {}
        for group in self._groups():
            try:
                found = self._groups_offsets.committed(group, asked, REQUEST_SECONDS)
            except KafkaException as error:
                untold[group] = meaning(error)
                continue
            told[group] = {self._place(at): at.offset for at in found if at.offset >= 0}
        return told, untold

    def _place(self, at: TopicPartition) -> Place:
        return at.topic.removeprefix(self._prefix), at.partition

    def close(self) -> None:
        """Let go of the clients."""
        self._groups_offsets.close()


class Followed:
    """The records of a topic, as they come; without a value one erases its key."""

    def __init__(
        self, config: KafkaConfig, topic: topics.Topic, take: Callable[[bytes | None, bytes | None], object]
    ) -> None:
        self._name, self._topic = topic.name, config.topic_prefix + topic.name
        self._take = take
        self._partitions = 0
        self._reader = TopicReader(config, "andon-status")

    def refresh(self, partitions: int, wait_seconds: float, starts: Mapping[Place, int] = NOWHERE) -> None:
        """Read what is new; the first time, to the end of the topic or for `wait_seconds`, from where `starts` says."""
        if partitions != self._partitions:
            self._partitions = partitions
            self._reader.start(
                OffsetRange(self._topic, number, starts.get((self._name, number), OFFSET_BEGINNING))
                for number in range(partitions)
            )
        deadline = Deadline(wait_seconds)
        while partitions:
            messages = self._reader.poll(POLL_SECONDS)
            for message in messages:
                key: Any = message.key()
                self._take(key, message.value())
            if deadline.has_passed or (not messages and self._reader.at_end):
                return

    def close(self) -> None:
        """Leave the cluster."""
        self._reader.close()


def summed(offsets: Mapping[Place, int]) -> dict[str, int]:
    """By topic."""
    totals: dict[str, int] = {}
    for (topic, _), offset in offsets.items():
        totals[topic] = totals.get(topic, 0) + offset
    return totals
