"""What `fleet.commands` and `fleet.audit` hold, committed records only. Blocking: call it in a thread."""

import threading
from collections.abc import Mapping

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaException, Message

from pipeline.correlate.config import GROUP
from pipeline.correlate.ports import CommandRecord
from pipeline.halt.chain import AuditRecord
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_reader import OffsetRange, TopicReader
from pipeline.wire import topics

AUDIT_SECONDS = 120.0  # of a whole audit, which is kept for ever
LOOK_SECONDS = 5.0  # of a look, which comes again
AUDIT_CLIENT, COMMANDS_CLIENT = "andon-correlate-audit", "andon-correlate-commands"


def read_audit(kafka: KafkaConfig) -> list[AuditRecord]:
    """Every record, in the order of its partition.

    Raises:
        AndonError: when the end is not reached in time. Answering without it might answer things twice.
    """
    with TopicReader(kafka, AUDIT_CLIENT, GROUP) as reader:
        reader.start(reader.whole(kafka.topic_prefix + topics.AUDIT.name))
        read = [message for messages in reader.to_end(AUDIT_SECONDS) for message in messages]
    return [
        AuditRecord(message.key(), message.value(), message.partition() or 0, message.offset() or 0) for message in read
    ]


class CommandsReader:
    """Reads `fleet.commands` again and again, from where it is told. To be closed; safe for several threads."""

    def __init__(self, kafka: KafkaConfig) -> None:
        self._kafka = kafka
        self._topic = kafka.topic_prefix + topics.COMMANDS.name
        self._reader: TopicReader | None = None
        self._lock = threading.Lock()

    def read(self, since: Mapping[int, int]) -> list[CommandRecord]:
        """From these offsets on, by partition; from its beginning where none is given, and where the log ends before.

        Raises:
            AndonError: when the topic is not there, or its end is not reached in time.
        """
        with self._lock:
            if self._reader is None:
                self._reader = TopicReader(self._kafka, COMMANDS_CLIENT, GROUP)
            try:
                ranges = [_behind(each, since.get(each.partition, 0)) for each in self._reader.held(self._topic)]
                news = [each for each in ranges if each.start < (each.end or 0)]
                found = [message for some in self._reader.start(news).to_end(LOOK_SECONDS) for message in some]
            except KafkaException as error:
                raise AndonError(f"{self._topic}: {error.args[0].str()}") from None
        return [_command(message) for message in found]

    def close(self) -> None:
        """Let go of the client."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None


def _behind(held: OffsetRange, offset: int) -> OffsetRange:
    return held._replace(start=max(held.start, offset)) if offset <= (held.end or 0) else held


def _command(message: Message) -> CommandRecord:
    kind, stamp_ms = message.timestamp()
    appended_at_ms = stamp_ms if kind == TIMESTAMP_LOG_APPEND_TIME else wall_clock_ms()  # else its author's word
    return CommandRecord(
        message.partition() or 0, message.offset() or 0, message.key(), message.value() or b"", appended_at_ms
    )
