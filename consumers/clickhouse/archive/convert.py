"""Kafka messages as rows: the client's type ends here."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import pyarrow as pa
from confluent_kafka import Message

from consumers.clickhouse.archive.events import EventRows
from consumers.clickhouse.archive.intent import Range
from consumers.clickhouse.archive.records import ROUTES, Record, record_rows
from consumers.clickhouse.archive.rows import Rows
from pipeline.halt.signing import TrustedKeys
from pipeline.wire.hosts import HostNames as HostNames
from pipeline.wire.topics import EVENTS


class Converter:
    """Of one process: what the decoder of events has learned is kept."""

    def __init__(self, topic_prefix: str, trusted: TrustedKeys | None = None, hosts: HostNames | None = None) -> None:
        self._prefix, self._trusted = topic_prefix, trusted
        self._event_rows = EventRows(hosts)
        pa.array(())  # looks for pandas, which takes most of a second where there is one: no batch should wait for it
        self.routes = {topic_prefix + name: route for name, route in ROUTES.items()}

    def is_events(self, topic: str) -> bool:
        """Whether the topic, as the cluster names it, is that of the events."""
        return topic == self._prefix + EVENTS.name

    def __call__(self, topic: str, messages: Sequence[Message]) -> Rows:
        """Messages of one topic, none of them an error."""
        if self.is_events(topic):
            values = [value or b"" for value in map(Message.value, messages)]
            return self._event_rows(values, list(map(itemgetter(1), map(Message.timestamp, messages))))
        return record_rows(topic.removeprefix(self._prefix), [_record(message) for message in messages], self._trusted)


def ranges(messages: Sequence[Message]) -> list[Range]:
    """Of one topic's messages, each partition in order: from the first that has come to the last."""
    partitions, offsets = list(map(Message.partition, messages)), list(map(Message.offset, messages))
    last: dict[Any, Any] = dict(zip(partitions, offsets, strict=True))
    first: dict[Any, Message] = dict(zip(reversed(partitions), reversed(messages), strict=True))
    return [
        Range(partition, first[partition].offset() or 0, offset + 1, first[partition].timestamp()[1])
        for partition, offset in last.items()
    ]


def _record(message: Message) -> Record:
    key: Any = message.key()
    headers: Any = message.headers() or ()
    at_ms = message.timestamp()[1]
    return Record(message.partition() or 0, message.offset() or 0, at_ms, key, message.value(), headers)
