"""How far a consumer is behind the ends of the logs that it reads, as a metric; and where those logs begin and end."""

import time
from collections.abc import Collection, Mapping

from confluent_kafka import Consumer, TopicPartition

from pipeline.runtime.metrics import LAG
from pipeline.runtime.waiting import Deadline

REPORT_SECONDS = 1.0
CALL_SECONDS = 10.0
STALE_SECONDS, STALE_PAUSE_SECONDS = 10.0, 0.1

Place = tuple[str, int]  # topic, as the cluster names it, and partition


class Lags:
    """The metric of one stage. What is no longer read is no longer shown: another's word for it would be newer."""

    def __init__(self, stage: str, topic_prefix: str) -> None:
        self._stage, self._prefix = stage, topic_prefix
        self._shown: set[tuple[str, str]] = set()

    def show(self, messages: Mapping[Place, int]) -> None:
        """These, and no others."""
        labels = {(topic.removeprefix(self._prefix), str(at)): lag for (topic, at), lag in messages.items()}
        for gone in self._shown - labels.keys():
            LAG.remove(self._stage, *gone)
        for label, lag in labels.items():
            LAG.labels(self._stage, *label).set(max(0, lag))
        self._shown = set(labels)


class LagReport:
    """Of a librdkafka consumer: asks once when it is assigned partitions, and knows from its fetches after that."""

    def __init__(self, consumer: Consumer, stage: str, topic_prefix: str) -> None:
        self._consumer, self._lags = consumer, Lags(stage, topic_prefix)
        self._ends: dict[Place, int] = {}
        self._next = Deadline(0)

    def began(self, committed: Collection[TopicPartition]) -> dict[Place, tuple[int, int]]:
        """Partitions were assigned, of which this is committed: the first offset of each log, and the next to be
        written. A broker that was cut off says for a moment that a log ends where it did when it led it: it is asked
        until the log holds what is committed, or for so long that it must be another.

        Raises:
            KafkaException: when the brokers do not say.
        """
        deadline = Deadline(STALE_SECONDS)
        found = self._bounds(committed)
        while not deadline.has_passed and any(of.offset > found[of.topic, of.partition][1] for of in committed):
            time.sleep(STALE_PAUSE_SECONDS)
            found = self._bounds(committed)
        self._ends |= {place: end for place, (_, end) in found.items()}
        self._next = Deadline(0)
        return found

    def _bounds(self, places: Collection[TopicPartition]) -> dict[Place, tuple[int, int]]:
        asked = {
            (of.topic, of.partition): self._consumer.get_watermark_offsets(of, timeout=CALL_SECONDS) for of in places
        }
        return {place: bounds or (0, 0) for place, bounds in asked.items()}

    def report(self, read: Mapping[Place, int]) -> None:
        """Where it reads next, or all before is stored, by partition; told now and then."""
        if not self._next.has_passed:
            return
        self._next = Deadline(REPORT_SECONDS)
        for place in self._ends:
            _, end = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            self._ends[place] = max(end, self._ends[place])
        self._lags.show({place: end - read.get(place, 0) for place, end in self._ends.items()})

    def forget(self) -> None:
        """The partitions went."""
        self._ends.clear()
        self._lags.show({})
