"""Batches that were left under way: their ranges are read again, beside the stream, by clients that join no group."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import structlog
from confluent_kafka import Message

from consumers.clickhouse.archive.intent import Intent
from consumers.clickhouse.archive.lanes import LaneKey
from pipeline.runtime.kafka import PROMPT, KafkaConfig
from pipeline.runtime.topic_reader import OffsetRange, TopicReader
from pipeline.runtime.waiting import Deadline

SAY_SECONDS = 30.0  # between two words about one that takes long


class _Reading(NamedTuple):
    reader: TopicReader
    found: list[Message]
    say: Deadline


class ReadAgain:
    """One batch a lane at a time."""

    def __init__(
        self, kafka: KafkaConfig, group: str, fetching: Mapping[str, Any], log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._kafka, self._group, self._fetching, self._log = kafka, group, fetching, log
        self._reading: dict[LaneKey, _Reading] = {}

    def poll(self, key: LaneKey, intent: Intent) -> list[Message] | None:
        """The records of a lane's batch once all of them have come, else None."""
        if key not in self._reading:
            self._reading[key] = self._start(key.topic, intent)
        reader, found, say = self._reading[key]
        found += reader.poll()
        if reader.at_end:
            self._reading.pop(key).reader.close()
            return found
        if say.has_passed:
            self._reading[key] = _Reading(reader, found, Deadline(SAY_SECONDS))
            self._log.warning("a batch left under way cannot be read again yet", topic=key.topic)
        return None

    def _start(self, topic: str, intent: Intent) -> _Reading:
        ranges = [OffsetRange(topic, of.partition, of.start, of.end) for of in intent.ranges]
        reader = TopicReader(self._kafka, f"{self._group}-ranges", self._group, PROMPT | {**self._fetching})
        return _Reading(reader.start(ranges), [], Deadline(SAY_SECONDS))

    def forget(self) -> None:
        """Read none of them any more."""
        for reading in self._reading.values():
            reading.reader.close()
        self._reading.clear()
