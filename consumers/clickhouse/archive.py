"""The archive's loop: read, convert, promise, insert, settle. One thread; inserts run beside it."""

import time
from collections.abc import Iterable
from concurrent.futures import Future
from operator import itemgetter
from typing import Annotated, Any

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumers.clickhouse.connect import ClickHouseServer
from consumers.clickhouse.insert import Abandoned, Inserter
from consumers.clickhouse.intent import decode_intent, encode_intent
from consumers.clickhouse.lanes import Lane, Load
from consumers.clickhouse.tables import SOURCES, Batch, EventRows, Record, record_rows
from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import KafkaConfig, consumer_config
from pipeline.runtime.kafka_log import spoken
from pipeline.runtime.lifecycle import StopSignal
from pipeline.runtime.metrics import BATCHES, EVENTS, LAG, REJECTED
from pipeline.wire.topics import EVENTS as EVENTS_TOPIC

Doc = msgspec.Meta

STAGE = "archive"
GROUP = "andon-archive"
CONSUME_MESSAGES = 10_000
POLL_SECONDS = 0.05
COMMITTED_SECONDS = 10.0
LAG_SECONDS = 1.0
BATCHES_HELD = 4  # a batch is sent at this part of what may be held: others are held while it is on its way
STOP_SECONDS = 10.0  # to get into ClickHouse what is held, after SIGTERM

# Memory: a fetched response lives as long as any message of it, so little is asked for at a time. (The embedded broker
# minds the limit of a whole response only, and even then answers with all that one partition has.)
_FETCHING = {
    "queued.min.messages": 10_000,
    "queued.max.messages.kbytes": 8 * 1024,
    "fetch.max.bytes": 1 << 20,
    "fetch.message.max.bytes": 1 << 20,
}

# The broker has given this member's place to another; a new process asks anew.
_FENCED = {KafkaError.FENCED_INSTANCE_ID, KafkaError._FENCED, KafkaError._FATAL}


class ArchiveConfig(ClickHouseServer, frozen=True):
    """Section "archive"."""

    slot: Annotated[int, Doc(ge=0, description="number of this worker: its stable place in the group")] = 0
    batch_ms: Annotated[int, Doc(ge=10, description="longest time that a row waits for its batch")] = 500
    batch_rows: Annotated[int, Doc(ge=1, le=500_000, description="rows of a batch that is sent at once")] = 50_000
    max_held_rows: Annotated[int, Doc(ge=1, description="rows held in all before reading pauses")] = 120_000
    max_held_bytes: Annotated[int, Doc(ge=1 << 20, description="the same in bytes: dead letters are large")] = 64 << 20


Key = tuple[str, int]


class Archive:
    """Lanes by (topic, partition), and the consumer and inserter that they share."""

    def __init__(self, config: ArchiveConfig, kafka: KafkaConfig, log: structlog.typing.FilteringBoundLogger) -> None:
        self._config, self._log = config, log
        self._sources = {kafka.topic_prefix + name: source for name, source in SOURCES.items()}
        self._prefix = kafka.topic_prefix
        self._events_topic = kafka.topic_prefix + EVENTS_TOPIC.name
        name = f"{GROUP}-{config.slot}"
        self._consumer = Consumer(consumer_config(kafka, name, GROUP, name, **_FETCHING, **spoken(log)))
        self._inserter = Inserter(config, log)
        self._event_rows = EventRows()
        self._lanes: dict[Key, Lane] = {}
        self._futures: dict[Future[None], Lane] = {}
        self._paused = False
        self._lag_at = 0.0

    def run(self, stop: StopSignal) -> None:
        """Until the stop.

        Raises:
            FatalStageError: when this process cannot go on.
        """
        self._consumer.subscribe(list(self._sources), on_assign=self._assigned, on_revoke=self._revoked)
        try:
            while not stop.is_set():
                self._turn(drain=False)
            self._drain()
        finally:
            self._inserter.close()
            self._consumer.close()

    def _turn(self, drain: bool) -> None:
        messages = [] if drain else self._consumer.consume(CONSUME_MESSAGES, POLL_SECONDS)
        if messages:
            self._take(messages)
        self._reap()
        self._hand_over(drain)
        self._settle()
        self._throttle()
        self._report_lag()

    def _take(self, messages: list[Message]) -> None:
        now = time.monotonic()
        if any(map(Message.error, messages)):
            messages = [message for message in messages if self._usable(message)]
        runs: dict[Any, list[Message]] = {}
        keys = zip(map(Message.topic, messages), map(Message.partition, messages), strict=True)
        for key, message in zip(keys, messages, strict=True):
            runs.setdefault(key, []).append(message)
        for key, run in runs.items():
            lane = self._lanes.get(key)
            if lane is not None:
                self._take_run(lane, run, now)

    def _usable(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.fatal() or error.code() in _FENCED:
            raise FatalStageError(f"Kafka: {error}")
        self._log.warning("Kafka error", error=str(error))
        return False

    def _take_run(self, lane: Lane, run: list[Message], now: float) -> None:
        if lane.promised is not None and not lane.room(_offset(run[-1])):
            inside = [message for message in run if lane.room(_offset(message))]
            self._hold(lane, inside, now, end=lane.promised.end)
            # What lies beyond is read again once the promised range has gone.
            self._consumer.seek(TopicPartition(lane.topic, lane.partition, lane.promised.end))
            return
        self._hold(lane, run, now, end=_offset(run[-1]) + 1)

    def _hold(self, lane: Lane, run: list[Message], now: float, end: int) -> None:
        first, first_ms = (_offset(run[0]), run[0].timestamp()[1]) if run else (end, 0)
        if lane.held is None and lane.stored is not None and first > lane.stored:
            self._warn_of_gap(lane)
        batch = self._rows(lane, run) if run else Batch({}, [])
        lane.hold(batch, first, end, first_ms, now)
        for reason in batch.refused:
            REJECTED.labels(STAGE, reason).inc()

    def _warn_of_gap(self, lane: Lane) -> None:
        """Offsets skip transaction markers; but records that retention deleted unread are lost, and that is said."""
        low, _ = self._consumer.get_watermark_offsets(TopicPartition(lane.topic, lane.partition), cached=True)
        if low > (lane.stored or 0) and not lane.compacted:
            lost = low - (lane.stored or 0)
            self._log.error(
                "records deleted before they were read", topic=lane.topic, partition=lane.partition, upto=lost
            )

    def _rows(self, lane: Lane, run: list[Message]) -> Batch:
        if lane.topic == self._events_topic:
            values = [value or b"" for value in map(Message.value, run)]
            batch = self._event_rows(values, list(map(itemgetter(1), map(Message.timestamp, run))))
            EVENTS.labels(STAGE).inc(batch.rows)
            return batch
        batch = record_rows(lane.topic.removeprefix(self._prefix), [_record(message) for message in run])
        if batch.refused:
            log = self._log.bind(topic=lane.topic, partition=lane.partition, first_offset=_offset(run[0]))
            log.warning("records that cannot be read; see dead_letters", records=len(batch.refused))
        return batch

    def _hand_over(self, drain: bool) -> None:
        now, wait = time.monotonic(), 0.0 if drain else self._config.batch_ms / 1000
        limits = self._config.batch_rows, self._config.max_held_bytes // BATCHES_HELD
        due = [lane for lane in self._lanes.values() if lane.due(now, wait, *limits)]
        loads = [(lane, lane.promise()) for lane in due]
        if not loads or not self._commit(_intent_offset(load) for _, load in loads):
            return
        for lane, load in loads:
            lane.handed_over(load)
            self._futures[self._inserter.submit(load)] = lane
            BATCHES.labels(STAGE).inc()

    def _reap(self) -> None:
        for future in [future for future in self._futures if future.done()]:
            lane = self._futures.pop(future)
            error = future.exception()
            if error is not None and not isinstance(error, Abandoned):
                raise FatalStageError(f"{lane.topic}[{lane.partition}]: batch cannot be inserted: {error!r}") from error
            if error is None:
                lane.acknowledged()

    def _settle(self) -> None:
        """Say on the broker that nothing is under way any more; a lane that goes on says it with its next intent."""
        idle = [
            lane
            for lane in self._lanes.values()
            if not lane.settled and lane.inserting is None and lane.held is None and lane.stored is not None
        ]
        if idle and self._commit(TopicPartition(lane.topic, lane.partition, lane.stored or 0) for lane in idle):
            for lane in idle:
                lane.settled = True

    def _commit(self, offsets: Iterable[TopicPartition]) -> bool:
        """False when it must be tried again, or a rebalance is about to take the partitions away."""
        try:
            done = self._consumer.commit(offsets=list(offsets), asynchronous=False)
        except KafkaException as failure:
            error: Any = failure.args[0]
            if error.fatal() or error.code() in _FENCED:
                raise FatalStageError(f"Kafka: {error}") from None
            self._log.warning("commit failed, will be retried", error=str(error))
            return False
        return all(partition.error is None for partition in done or ())

    def _throttle(self) -> None:
        """ClickHouse is slower than Kafka: stop reading, hold no more than was allowed, stay in the group."""
        loads = [lane.load for lane in self._lanes.values()]
        rows, size_bytes = (sum(counts) for counts in zip((0, 0), *loads, strict=True))
        share = max(rows / self._config.max_held_rows, size_bytes / self._config.max_held_bytes)
        if self._paused != (share > (0.5 if self._paused else 1.0)):
            self._paused = not self._paused
            change = self._consumer.pause if self._paused else self._consumer.resume
            change(self._consumer.assignment())

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for found in consumer.committed(partitions, timeout=COMMITTED_SECONDS):
            stored = found.offset if found.offset >= 0 else None
            try:
                promised = decode_intent(found.metadata) if stored is not None else None
            except msgspec.DecodeError as error:
                text = f"{found.topic}[{found.partition}]: commit metadata {found.metadata!r} is none of ours: {error}"
                raise FatalStageError(text) from None
            compacted = self._sources[found.topic].compacted
            self._lanes[found.topic, found.partition] = Lane(found.topic, found.partition, compacted, stored, promised)
            self._log.info("assigned", topic=found.topic, partition=found.partition, stored=stored, promised=promised)
        self._paused = False

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """What is held is dropped: the next owner reads it again, and repeats what may be under way by its intent."""
        for gone in partitions:
            lane = self._lanes.pop((gone.topic, gone.partition), None)
            self._futures = {future: owner for future, owner in self._futures.items() if owner is not lane}

    def _report_lag(self) -> None:
        now = time.monotonic()
        if now < self._lag_at:
            return
        self._lag_at = now + LAG_SECONDS
        for lane in self._lanes.values():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(lane.topic, lane.partition), cached=True)
            if high >= 0:
                LAG.labels(STAGE, lane.topic, lane.partition).set(max(0, high - (lane.stored or 0)))

    def _drain(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and any(self._unfinished(lane) for lane in self._lanes.values()):
            self._turn(drain=True)
            time.sleep(0.005)
        left = sum(self._unfinished(lane) for lane in self._lanes.values())
        self._log.info("stopped", partitions_left_promised=left)

    @staticmethod
    def _unfinished(lane: Lane) -> bool:
        partial = lane.promised is not None  # not read to its end: stays promised
        return not lane.settled or (lane.held is not None and not partial)


def _intent_offset(load: Load) -> TopicPartition:
    return TopicPartition(load.topic, load.partition, load.start, metadata=encode_intent(load.intent))


def _offset(message: Message) -> int:
    return message.offset() or 0  # only a message that carries an error has none


def _record(message: Message) -> Record:
    key: Any = message.key()
    headers: Any = message.headers() or ()
    at_ms = message.timestamp()[1]
    return Record(message.partition() or 0, _offset(message), at_ms, key, message.value(), headers)
