"""What a backtest reads of Kafka: the partials that it keeps, and the audit, of which what is signed is believed."""

from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import KafkaException, Message

from pipeline.backtest.recorded import Log
from pipeline.correlate.ports import AuditRecord, PartialRecord
from pipeline.halt.believe import TrustedKeys
from pipeline.halt.chain import by_fleet, examined
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.log_offsets import LogOffsets
from pipeline.runtime.say import say
from pipeline.runtime.topic_reader import OffsetRange, TopicReader, meaning
from pipeline.wire import topics
from pipeline.wire.audit import AuditEntry

CLIENT = "andon-backtest"
READ_SECONDS = 3_600.0  # of all that is kept


class Recording:
    """As Kafka holds it when it is opened; a context manager.

    Raises:
        AndonError: when a topic is not there, may not be read, or no broker answers.
    """

    def __init__(self, kafka: KafkaConfig, trusted: TrustedKeys) -> None:
        self._kafka, self._trusted = kafka, trusted
        self._partials = kafka.topic_prefix + topics.PARTIALS.name
        with TopicReader(kafka, CLIENT) as reader:
            self._held: list[OffsetRange] = reader.held(self._partials)

    def logs(self) -> dict[int, Log]:
        """The partitions of `fleet.partials`."""
        try:
            log_id = LogOffsets(self._kafka, CLIENT).log_id(self._partials)
        except (KafkaException, TimeoutError) as error:
            raise AndonError(f"{self._partials}: {meaning(error)}") from None
        return {each.partition: Log(log_id, each.end or 0) for each in self._held}

    def entries(self) -> Mapping[str, Sequence[AuditEntry]]:
        """Each fleet's chain of the audit, as far as it is believed; what is wrong with it is said."""
        with TopicReader(self._kafka, CLIENT) as reader:
            held = reader.held(self._kafka.topic_prefix + topics.AUDIT.name)
            messages = [message for some in reader.start(held).to_end(READ_SECONDS) for message in some]
        records = [AuditRecord(_key(m), m.value(), m.partition() or 0, m.offset() or 0) for m in messages]
        found = {fleet: examined(fleet, mine, self._trusted) for fleet, mine in by_fleet(records).items()}
        for fleet, chain in found.items():
            if chain.faults:
                say(
                    f"the audit of fleet {fleet} is not whole ({len(chain.faults)} faults, the first: "
                    f"{chain.faults[0].words}): what is missing is not repeated; see `andon audit verify`",
                    err=True,
                )
        return {fleet: chain.entries for fleet, chain in found.items()}

    def partials(self) -> Iterator[list[PartialRecord]]:
        """All of them, those of a partition in their order."""
        with TopicReader(self._kafka, CLIENT) as reader:
            for messages in reader.start(self._held).to_end(READ_SECONDS):
                yield [_record(message) for message in messages]


def _key(message: Message) -> bytes | None:
    key = message.key()
    return key.encode() if isinstance(key, str) else key


def _record(message: Message) -> PartialRecord:
    at_ms = message.timestamp()[1]
    return PartialRecord(message.partition() or 0, message.offset() or 0, _key(message), message.value() or b"", at_ms)
