"""Where the combiner writes: a batch's partials to `fleet.partials`, and what it refused to `fleet.deadletter`."""

from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import TopicPartition
from structlog.typing import FilteringBoundLogger

from pipeline.combine.batch import Batch
from pipeline.combine.config import CombineConfig
from pipeline.combine.emit import partials_of
from pipeline.combine.fold import Fold
from pipeline.combine.transaction import AbortedError, Record, TransactionalProducer
from pipeline.runtime.kafka import KafkaConfig
from pipeline.wire import topics
from pipeline.wire.deadletter import DeadLetter
from pipeline.wire.events import MAX_MESSAGE_BYTES
from pipeline.wire.partials import encode_partial

MAX_LETTER_BYTES = 16 << 20  # a dead letter may be as large as the topic that it came from allows


class Sink:
    """Writes a batch and the offsets where it ends, all or nothing."""

    def __init__(
        self, kafka: KafkaConfig, config: CombineConfig, seal: Callable[[bytes], bytes], log: FilteringBoundLogger
    ) -> None:
        """`seal` makes of an encoded partial what is written. Raises FatalStageError when the brokers take no
        transactions."""
        self.producer = TransactionalProducer(kafka, config.identity, MAX_LETTER_BYTES, log)
        self._topic_prefix = kafka.topic_prefix
        self._slot, self._seal = config.slot, seal
        self._cut_letters = False  # once the dead-letter topic has refused one for its size

    def write(self, batch: Batch, fold: Fold, offsets: list[TopicPartition], group_metadata: Any) -> None:
        """Commit what follows from a batch; `fold` is the batch's.

        Raises:
            AbortedError: nothing of it was written.
            FatalStageError: this process cannot write any more.
        """
        try:
            self.producer.write(self._records(batch, fold), offsets, group_metadata)
        except AbortedError as error:
            self._cut_letters |= error.too_large
            raise

    def _records(self, batch: Batch, fold: Fold) -> Iterator[Record]:
        for partial in partials_of(fold, self._slot, batch.ingested_at_ms):
            value = self._seal(encode_partial(partial))
            yield self._topic_prefix + topics.PARTIALS.name, partial.fleet.encode(), value, []
        for letter in batch.dead_letters:
            sent = cut(letter) if self._cut_letters else letter
            yield self._topic_prefix + topics.DEADLETTER.name, sent.key, sent.value, [*sent.headers()]


def cut(letter: DeadLetter) -> DeadLetter:
    """The letter with no more bytes than an event may have: its topic takes no larger ones, and the stream goes on."""
    if len(letter.value) <= MAX_MESSAGE_BYTES:
        return letter
    detail = f"cut from {len(letter.value)} bytes; {letter.detail}"
    return letter._replace(value=letter.value[:MAX_MESSAGE_BYTES], detail=detail)
