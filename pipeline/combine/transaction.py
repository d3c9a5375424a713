"""One Kafka transaction per micro-batch: its partials, its dead letters and its offsets, all or nothing."""

from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from structlog.typing import FilteringBoundLogger

from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import TRANSACTION_TIMEOUT_MS, KafkaConfig, producer_config
from pipeline.runtime.kafka_log import spoken
from pipeline.runtime.waiting import Deadline
from pipeline.runtime.watchdog import Watchdog

INIT_SECONDS = 30.0  # a killed predecessor's transaction must time out first, at worst
STEP_SECONDS = 5.0  # below the transaction's own timeout: we abort before the broker does
HUNG_SECONDS = 1.0  # a call that is so much later than its timeout does not return any more

Headers = list[tuple[str, str | bytes | None]]
Record = tuple[str, bytes | None, bytes, Headers]  # topic, key, value, headers


class AbortedError(Exception):
    """The transaction was given up; its input must be read again. `too_large`: because a record exceeded a limit."""

    def __init__(self, why: str, too_large: bool) -> None:
        super().__init__(why)
        self.too_large = too_large


class TransactionalProducer:
    """A producer whose every write belongs to a transaction. A fatal error ends the process."""

    def __init__(
        self, kafka: KafkaConfig, transactional_id: str, max_message_bytes: int, log: FilteringBoundLogger
    ) -> None:
        settings = producer_config(kafka, transactional_id, **spoken(log))
        settings |= {
            "transactional.id": kafka.topic_prefix + transactional_id,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "message.timeout.ms": TRANSACTION_TIMEOUT_MS,  # may not exceed the transaction's
            "message.max.bytes": max_message_bytes,
            "linger.ms": 0,  # commit flushes at once; waiting for more would only add delay
        }
        self._too_large = False
        self._watchdog = Watchdog(log)
        self._producer = Producer(settings)
        try:
            self._step("init_transactions", lambda: self._producer.init_transactions(INIT_SECONDS), INIT_SECONDS)
        except KafkaException as error:
            raise FatalStageError(f"no transactions at {kafka.bootstrap_servers}: {error}") from error

    def write(self, records: Iterable[Record], offsets: list[TopicPartition], group_metadata: Any) -> None:
        """Commit records and input offsets together.

        Raises:
            AbortedError: nothing of it was written.
            FatalStageError: this producer is of no further use (fenced, for one).
        """
        self._too_large = False
        try:
            self._step("begin_transaction", self._producer.begin_transaction, STEP_SECONDS)
            for record in records:
                self._produce(*record)
            self._step(
                "send_offsets_to_transaction",
                lambda: self._producer.send_offsets_to_transaction(offsets, group_metadata, STEP_SECONDS),
                STEP_SECONDS,
            )
            self._step("commit_transaction", lambda: self._producer.commit_transaction(STEP_SECONDS), STEP_SECONDS)
        except (KafkaException, BufferError) as error:
            self._abort(error)
            local = isinstance(error, KafkaException) and error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
            raise AbortedError(str(error), self._too_large or local) from error

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._too_large = True

    def _produce(self, topic: str, key: bytes | None, value: bytes, headers: Headers) -> None:
        deadline = Deadline(STEP_SECONDS)
        while True:
            try:
                self._producer.produce(topic, value, key, headers=headers, on_delivery=self._delivered)
                return
            except BufferError:
                if deadline.has_passed:
                    raise
                self._producer.poll(0.01)

    def _abort(self, cause: Exception) -> None:
        try:
            self._step("abort_transaction", lambda: self._producer.abort_transaction(STEP_SECONDS), STEP_SECONDS)
        except KafkaException as error:
            raise FatalStageError(f"transaction could not be aborted: {error} (after: {cause})") from error

    def _step(self, name: str, call: Callable[[], Any], timeout_seconds: float) -> None:
        """Call, again while the error says that it helps, for so long. One that hangs ends the process.

        Raises:
            FatalStageError: on an error that this producer cannot recover from.
            KafkaException: on one that an abort clears.
        """
        deadline = Deadline(timeout_seconds)
        while True:
            try:
                with self._watchdog.within(name, timeout_seconds + HUNG_SECONDS):
                    call()
                return
            except KafkaException as exception:
                error = exception.args[0]
                if error.fatal():
                    raise FatalStageError(f"{name}: {error}") from exception
                if not error.retriable() or deadline.has_passed:
                    raise
