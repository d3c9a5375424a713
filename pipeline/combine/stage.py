"""The combiner: consume, fold, commit, again and again. It keeps no state between batches but the soft `Admission`."""

import time
from collections.abc import Iterator

from confluent_kafka import OFFSET_STORED, Consumer, KafkaError, TopicPartition
from structlog.typing import FilteringBoundLogger

from pipeline.combine.admit import Admission
from pipeline.combine.batch import Batch
from pipeline.combine.config import GROUP, MAX_BATCH_MS, CombineConfig
from pipeline.combine.guard import RejectGuard
from pipeline.combine.transaction import AbortedError, Record, TransactionalProducer
from pipeline.runtime import metrics
from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import KafkaConfig, consumer_config
from pipeline.runtime.kafka_log import Errors, spoken
from pipeline.runtime.lifecycle import StopSignal
from pipeline.runtime.metadata import require_topics
from pipeline.wire import topics
from pipeline.wire.deadletter import DeadLetter
from pipeline.wire.events import MAX_MESSAGE_BYTES
from pipeline.wire.learned import LearnedDecoder
from pipeline.wire.partials import encode_partial
from pipeline.wire.spans import HOUR_MS

STAGE = "combine"
CALL_SECONDS = 10.0
MAX_LETTER_BYTES = 16 << 20  # a dead letter may be as large as the topic that it came from allows
_CONSUME_AT_ONCE = 4_096  # messages held as client objects at a time
_MAX_ABORTS = 10  # in a row; then a new process may fare better
_LAG_SECONDS = 1.0
_SHORTEST_WAIT_SECONDS = 0.001  # the client waits for whole milliseconds: asked for less it returns at once
# Less than the client's defaults: a deeper queue costs memory and brings no speed, a shallower one leaves the loop
# waiting for the next answer. Nothing is stored for auto-commit.
_PREFETCH = {
    "enable.auto.offset.store": False,
    "queued.min.messages": 10_000,
    "queued.max.messages.kbytes": 16 * 1024,
    "message.max.bytes": 1 << 20,  # only a floor for the next: a single larger message is still fetched
    "fetch.max.bytes": 1 << 20,
    "fetch.message.max.bytes": 512 << 10,  # compressed: some 6,000 events
}


class Combiner:
    """One worker slot. `run` returns when `stop` is set and everything read is committed."""

    def __init__(self, kafka: KafkaConfig, config: CombineConfig, stop: StopSignal, log: FilteringBoundLogger) -> None:
        self._kafka, self._config, self._stop, self._log = kafka, config, stop, log
        self._events_topic = kafka.topic_prefix + topics.EVENTS.name
        self._decoder = LearnedDecoder()
        self._admission = Admission(config.admission_entries)
        errors = Errors()
        more = _PREFETCH | spoken(log) | errors.settings
        self._consumer = Consumer(consumer_config(kafka, config.identity, GROUP, config.identity, **more))
        require_topics(self._consumer, errors, kafka, (topics.EVENTS, topics.PARTIALS, topics.DEADLETTER))
        self._producer = TransactionalProducer(kafka, config.identity, MAX_LETTER_BYTES, log)
        self._assigned: list[TopicPartition] = []
        self._next: list[TopicPartition] = []  # where the open batch ends
        self._committed: dict[int, int] = {}  # by partition: where the last batch ended, since it was assigned to us
        self._revoked = False  # during the call to consume that is under way
        self._guard = RejectGuard(config.max_rejected_share, config.rejected_window)
        self._aborts = 0
        self._cut_letters = False  # once the dead-letter topic has refused one for its size
        self._lag_at = 0.0
        self._batch = self._new_batch()

    def run(self) -> None:
        """Raises FatalStageError when this process cannot go on."""
        self._consumer.subscribe(
            [self._events_topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        try:
            while not self._stop.is_set():
                self._fill()
                self._commit()
                self._report_lag()
        finally:
            self._batch = self._new_batch()  # left open by an error, it must not be committed by closing
            self._consumer.close()

    def _new_batch(self) -> Batch:
        self._admission.checkpoint()
        return Batch(self._decoder, self._admission, self._config.window_hours * HOUR_MS)

    def _fill(self) -> None:
        """Read until the batch is full or old enough; with more waiting, as long as a batch may be."""
        started = time.monotonic()
        limit_seconds = self._config.batch_ms / 1000
        while (left := started + limit_seconds - time.monotonic()) >= _SHORTEST_WAIT_SECONDS:
            room = self._config.batch_messages - self._batch.messages
            if room <= 0:
                return
            wanted = min(room, _CONSUME_AT_ONCE)
            messages = self._consumer.consume(wanted, left)
            if self._revoked:
                # Some of these may be from before, and come again from the committed offset.
                self._revoked = False
                self._rewind()
                return
            self._batch.take(messages)
            self._next = self._consumer.position(self._assigned)
            if len(messages) == wanted:
                limit_seconds = MAX_BATCH_MS / 1000

    def _commit(self) -> None:
        """Write the open batch, if there is anything in it, and begin a new one."""
        batch = self._batch
        for error in batch.errors:
            self._judge(error)
        batch.errors.clear()
        if not batch.messages:
            return
        if (why := self._guard.judge(batch.messages, len(batch.dead_letters))) is not None:
            raise FatalStageError(why)
        offsets = [place for place in self._next if place.offset >= 0]
        try:
            with metrics.BATCH_SECONDS.labels(STAGE).time():
                self._producer.write(self._records(batch), offsets, self._consumer.consumer_group_metadata())
        except AbortedError as error:
            self._cut_letters |= error.too_large
            self._give_up(str(error))
            self._rewind()
            return
        self._aborts = 0
        self._committed |= {place.partition: place.offset for place in offsets}
        self._count(batch)
        self._batch = self._new_batch()

    def _records(self, batch: Batch) -> Iterator[Record]:
        prefix = self._kafka.topic_prefix
        for partial in batch.fold.partials(self._config.slot, batch.ingested_at_ms):
            yield prefix + topics.PARTIALS.name, partial.fleet.encode(), encode_partial(partial), []
        for letter in batch.dead_letters:
            sent = _cut(letter) if self._cut_letters else letter
            yield prefix + topics.DEADLETTER.name, sent.key, sent.value, [*sent.headers()]

    def _count(self, batch: Batch) -> None:
        metrics.BATCHES.labels(STAGE).inc()
        metrics.EVENTS.labels(STAGE).inc(batch.events)
        for letter in batch.dead_letters:
            metrics.REJECTED.labels(STAGE, letter.reason.value).inc()
        if batch.events:
            metrics.STREAM_TIME.labels(STAGE).set(batch.fold.newest_ms / 1000)

    def _give_up(self, why: str) -> None:
        """Forget the open batch: it will be read again, here or elsewhere."""
        metrics.ABORTS.labels(STAGE).inc()
        self._aborts += 1
        self._log.warning("batch given up", why=why, messages=self._batch.messages, in_a_row=self._aborts)
        if self._aborts > _MAX_ABORTS:
            raise FatalStageError(f"{self._aborts} transactions in a row failed, the last: {why}")
        self._admission.rollback()
        self._batch = self._new_batch()

    def _rewind(self) -> None:
        """Read on from the committed offsets: our own word for them where we have it, for when their broker has just
        died, the client may ask for them in vain, and stand still."""
        if self._assigned:
            known = self._committed
            places = [(place.topic, place.partition) for place in self._assigned]
            self._consumer.assign([TopicPartition(t, p, known.get(p, OFFSET_STORED)) for t, p in places])
        self._next = []
        if self._aborts:
            self._stop.wait(min(5.0, 0.05 * 2**self._aborts))

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned, self._next, self._committed = partitions, [], {}
        self._log.info("partitions assigned", partitions=[place.partition for place in partitions])

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Commit or abort before letting go."""
        self._log.info("partitions revoked", partitions=[place.partition for place in partitions])
        self._assigned, self._revoked = [], True
        self._commit()
        self._next, self._committed = [], {}

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """They are another's already: nothing of the open batch may be committed."""
        self._assigned, self._next, self._committed, self._revoked = [], [], {}, True
        if self._batch.messages:
            self._give_up(f"lost partitions {[place.partition for place in partitions]}")

    def _judge(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:  # of a consumer only the code says it
            raise FatalStageError(f"consumer: {error}")
        self._log.warning("consumer", error=str(error))

    def _report_lag(self) -> None:
        now = time.monotonic()
        if now < self._lag_at + _LAG_SECONDS:
            return
        self._lag_at = now
        for place in self._next:
            _, high = self._consumer.get_watermark_offsets(place, cached=True)
            if place.offset >= 0 and high >= 0:
                lag = metrics.LAG.labels(STAGE, topics.EVENTS.name, str(place.partition))
                lag.set(max(0, high - place.offset))


def _cut(letter: DeadLetter) -> DeadLetter:
    """The letter with no more bytes than an event may have: its topic takes no larger ones, and the stream goes on."""
    if len(letter.value) <= MAX_MESSAGE_BYTES:
        return letter
    detail = f"cut from {len(letter.value)} bytes; {letter.detail}"
    return letter._replace(value=letter.value[:MAX_MESSAGE_BYTES], detail=detail)
