"""Batches that were left under way: their ranges are read again, beside the stream, by clients that join no group."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import structlog
from confluent_kafka import Message

from consumers.clickhouse.archive.intent import Intent
from consumers.clickhouse.archive.lanes import LaneKey
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.kafka_ranges import Offsets, RangeReader
from pipeline.runtime.waiting import Deadline

SAY_SECONDS = 30.0  # between two words about one that takes long


class _Reading(NamedTuple):
    reader: RangeReader
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
        reader, say = self._reading[key]
        if reader.poll():
            self._reading.pop(key).reader.close()
            return reader.found
        if say.has_passed:
            self._reading[key] = _Reading(reader, Deadline(SAY_SECONDS))
            self._log.warning("a batch left under way cannot be read again yet", topic=key.topic)
        return None

    def _start(self, topic: str, intent: Intent) -> _Reading:
        ranges = [Offsets(of.partition, of.start, of.end) for of in intent.ranges]
        reader = RangeReader(self._kafka, self._group, topic, ranges, **self._fetching)
        return _Reading(reader, Deadline(SAY_SECONDS))

    def forget(self) -> None:
        """Read none of them any more."""
        for reading in self._reading.values():
            reading.reader.close()
        self._reading.clear()
