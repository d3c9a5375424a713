"""The audit as Kafka holds it, and as ClickHouse does; and what signed heartbeats say that it must hold."""

from typing import TYPE_CHECKING

from pipeline.halt.believe import TrustedKeys, believed_word
from pipeline.halt.chain import AuditRecord, Head
from pipeline.halt.errors import UntrustedRecord
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_reader import TopicReader
from pipeline.wire import topics
from pipeline.wire.audit import FIRST
from pipeline.wire.record_keys import fleet_key, is_heartbeat
from pipeline.wire.verdicts import FleetHeartbeat

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

CLIENT = "andon-audit"
READ_SECONDS = 600.0  # it is kept for ever
ROWS = "SELECT fleet, record, source_partition, source_offset FROM audit FINAL ORDER BY source_partition, source_offset"


def from_kafka(kafka: KafkaConfig) -> list[AuditRecord]:
    """Every record of `fleet.audit`, those of a partition in their order.

    Raises:
        AndonError: when it is not there, or is not read to its end in time.
    """
    with TopicReader(kafka, CLIENT) as reader:
        reader.start(reader.held(kafka.topic_prefix + topics.AUDIT.name))
        read = [message for messages in reader.to_end(READ_SECONDS) for message in messages]
    return [AuditRecord(_bytes(m.key()), m.value(), m.partition() or 0, m.offset() or 0) for m in read]


def from_clickhouse(client: "Client") -> list[AuditRecord]:
    """The same as the archive has stored it."""
    rows = client.query(ROWS, column_formats={"record": "bytes"}).result_rows
    return [AuditRecord(fleet_key(fleet).encode(), record, partition, at) for fleet, record, partition, at in rows]


def known_heads(kafka: KafkaConfig, trusted: TrustedKeys) -> dict[str, Head]:
    """By fleet, the newest entry that a signed heartbeat names.

    Raises:
        AndonError: when `fleet.verdicts` is not there, or is not read to its end in time.
    """
    heads: dict[str, Head] = {}
    with TopicReader(kafka, CLIENT) as reader:
        reader.start(reader.held(kafka.topic_prefix + topics.VERDICTS.name))
        for messages in reader.to_end(READ_SECONDS):
            for message in messages:
                key, value = _bytes(message.key()), message.value()
                if value is None or not is_heartbeat(key):
                    continue
                try:
                    beat = believed_word(key, value, trusted)
                except UntrustedRecord:
                    continue
                if isinstance(beat, FleetHeartbeat) and beat.audit_seq >= heads.get(beat.fleet, Head()).seq:
                    heads[beat.fleet] = Head(beat.audit_seq, beat.audit_digest or FIRST)
    return heads


def _bytes(key: bytes | str | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key
