"""The archive's loop: read, convert, promise, insert, settle; before all, what was promised again. One thread; inserts
run beside it."""

import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Annotated, Any

import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumers.clickhouse.connect import ClickHouseServer
from consumers.clickhouse.convert import Converter, spans
from consumers.clickhouse.insert import Abandoned, Inserter
from consumers.clickhouse.intent import Place, decode_intent, encode_intent, under_way
from consumers.clickhouse.lanes import Key, Lane, Load, Span, key_of
from consumers.clickhouse.tables import Batch
from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import KafkaConfig, consumer_config
from pipeline.runtime.kafka_log import spoken
from pipeline.runtime.kafka_ranges import read_ranges
from pipeline.runtime.lifecycle import StopSignal
from pipeline.runtime.metrics import BATCHES, EVENTS, LAG, REJECTED

Doc = msgspec.Meta

STAGE = "archive"
GROUP = "andon-archive"
CONSUME_MESSAGES = 10_000
POLL_SECONDS = 0.05
COMMITTED_SECONDS = 10.0
REREAD_SECONDS = 60.0  # for a promised batch
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


class Archive:
    """The lanes, and the consumer and inserter that they share."""

    def __init__(self, config: ArchiveConfig, kafka: KafkaConfig, log: structlog.typing.FilteringBoundLogger) -> None:
        self._config, self._kafka, self._log = config, kafka, log
        self._convert = Converter(kafka.topic_prefix)
        name = f"{GROUP}-{config.slot}"
        self._consumer = Consumer(consumer_config(kafka, name, GROUP, name, **_FETCHING, **spoken(log)))
        self._inserter = Inserter(config, log)
        self._lanes: dict[Key, Lane] = {}
        self._futures: dict[Future[None], Lane] = {}
        self._paused = False
        self._lag_at = 0.0

    def run(self, stop: StopSignal) -> None:
        """Until the stop.

        Raises:
            FatalStageError: when this process cannot go on.
        """
        self._consumer.subscribe(list(self._convert.sources), on_assign=self._assigned, on_revoke=self._revoked)
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
        self._repeat()
        self._hand_over(drain)
        self._settle()
        self._throttle()
        self._report_lag()

    def _take(self, messages: list[Message]) -> None:
        if any(map(Message.error, messages)):
            messages = [message for message in messages if self._usable(message)]
        for key, run in _runs(messages).items():
            if lane := self._lanes.get(key):
                self._hold(lane, run)

    def _usable(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.fatal() or error.code() in _FENCED:
            raise FatalStageError(f"Kafka: {error}")
        self._log.warning("Kafka error", error=str(error))
        return False

    def _hold(self, lane: Lane, run: list[Message]) -> None:
        read = spans(run)
        self._warn_of_gaps(lane, read)
        batch = self._rows(lane, run, read[0])
        lane.hold(batch, read, time.monotonic())
        for reason in batch.refused:
            REJECTED.labels(STAGE, reason).inc()

    def _warn_of_gaps(self, lane: Lane, read: list[Span]) -> None:
        """Offsets skip transaction markers; but records that retention deleted unread are lost, and that is said."""
        for span in read:
            before = lane.following[span.partition]
            if before is None or span.first == before or lane.compacted or lane.holds(span.partition):
                continue
            log = self._log.bind(topic=lane.topic, partition=span.partition)
            if span.first < before:
                log.error("the log is not what it was: read again", from_offset=span.first, was_at=before)
            low, _ = self._consumer.get_watermark_offsets(TopicPartition(lane.topic, span.partition), cached=True)
            if low > before:
                log.error("records deleted before they were read", upto=low - before)

    def _rows(self, lane: Lane, run: list[Message], first: Span) -> Batch:
        batch = self._convert(lane.topic, run)
        if self._convert.is_events(lane.topic):
            EVENTS.labels(STAGE).inc(batch.rows)
        elif batch.refused:
            log = self._log.bind(topic=lane.topic, partition=first.partition, first_offset=first.first)
            log.warning("records that cannot be read; see dead_letters", records=len(batch.refused))
        return batch

    def _repeat(self) -> None:
        """Read again and insert again what may be in ClickHouse or may not; what is read meanwhile waits behind it."""
        for lane in self._lanes.values():
            if lane.promised and lane.inserting is None:
                ranges = [(of.partition, of.start, of.end) for of in lane.promised[0].ranges]
                found = read_ranges(self._kafka, GROUP, lane.topic, ranges, REREAD_SECONDS)
                first_ms = {span.partition: span.first_ms for span in spans(found)}
                load = lane.repeat(self._convert(lane.topic, found), first_ms)
                self._futures[self._inserter.submit(load)] = lane
                self._log.info("promised batch repeated", topic=lane.topic, ranges=ranges, rows=load.intent.rows)

    def _hand_over(self, drain: bool) -> None:
        now, wait = time.monotonic(), 0.0 if drain else self._config.batch_ms / 1000
        limits = self._config.batch_rows, self._config.max_held_bytes // BATCHES_HELD
        due = [lane for lane in self._lanes.values() if lane.due(now, wait, *limits)]
        loads = [(lane, lane.promise()) for lane in due]
        if not loads or not self._commit(place for lane, load in loads for place in _intent_offsets(lane, load)):
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
                raise FatalStageError(f"{lane.topic}: batch cannot be inserted: {error!r}") from error
            if error is None:
                lane.acknowledged()

    def _settle(self) -> None:
        """Say on the broker that nothing is under way any more; a lane that goes on says it with its next intent."""
        idle = [lane for lane in self._lanes.values() if lane.unsettled and lane.idle]
        if idle and self._commit(place for lane in idle for place in _settled_offsets(lane)):
            for lane in idle:
                lane.unsettled.clear()

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
        committed = self._committed(partitions)
        intents = {(topic, place.intent) for (topic, _), place in committed.items() if place.intent is not None}
        lacking = {(topic, of.partition) for topic, intent in intents for of in intent.ranges} - committed.keys()
        committed |= self._committed([TopicPartition(*place) for place in lacking])
        kept = {
            (topic, intent)
            for topic, intent in intents
            if under_way(intent, {of.partition: committed[topic, of.partition] for of in intent.ranges})
        }
        for found in partitions:
            lane = self._lane(found)
            place = committed[found.topic, found.partition]
            start = lane.own(found.partition, place, (found.topic, place.intent) in kept)
            found.offset = OFFSET_BEGINNING if start is None else start
            stored = lane.stored[found.partition]
            self._log.info("assigned", topic=found.topic, partition=found.partition, stored=stored, reads_from=start)
        consumer.assign(partitions)
        self._paused = False

    def _lane(self, found: TopicPartition) -> Lane:
        key = key_of(found.topic, found.partition)
        if key not in self._lanes:
            self._lanes[key] = Lane(found.topic, self._convert.sources[found.topic].compacted)
        return self._lanes[key]

    def _committed(self, partitions: list[TopicPartition]) -> dict[tuple[str, int], Place]:
        committed = {}
        for found in self._consumer.committed(partitions, timeout=COMMITTED_SECONDS) if partitions else ():
            try:
                intent = decode_intent(found.metadata) if found.offset >= 0 else None
            except msgspec.DecodeError as error:
                text = f"{found.topic}[{found.partition}]: commit metadata {found.metadata!r} is none of ours: {error}"
                raise FatalStageError(text) from None
            committed[found.topic, found.partition] = Place(found.offset, intent)
        return committed

    def _revoked(self, _: Consumer, __: list[TopicPartition]) -> None:
        """What is held is dropped: the next owner reads it again, and repeats what may be under way by its intent. The
        classic protocol takes all partitions away before it gives any."""
        self._lanes.clear()
        self._futures.clear()

    def _report_lag(self) -> None:
        now = time.monotonic()
        if now < self._lag_at:
            return
        self._lag_at = now + LAG_SECONDS
        for lane in self._lanes.values():
            for partition, stored in lane.stored.items():
                _, high = self._consumer.get_watermark_offsets(TopicPartition(lane.topic, partition), cached=True)
                if high >= 0:
                    LAG.labels(STAGE, lane.topic, partition).set(max(0, high - (stored or 0)))

    def _drain(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and any(self._unfinished(lane) for lane in self._lanes.values()):
            self._turn(drain=True)
            time.sleep(0.005)
        left = sum(self._unfinished(lane) for lane in self._lanes.values())
        self._log.info("stopped", topics_left_promised=left)

    @staticmethod
    def _unfinished(lane: Lane) -> bool:
        return bool(lane.unsettled) or not lane.idle


def _runs(messages: list[Message]) -> dict[Key, list[Message]]:
    """Messages by their lane: most often there is one."""
    places = list(zip(map(Message.topic, messages), map(Message.partition, messages), strict=True))
    keys = {(topic, partition): key_of(topic or "", partition or 0) for topic, partition in set(places)}
    if len(set(keys.values())) == 1:
        return {keys[places[0]]: messages}
    runs: dict[Key, list[Message]] = {}
    for place, message in zip(places, messages, strict=True):
        runs.setdefault(keys[place], []).append(message)
    return runs


def _intent_offsets(lane: Lane, load: Load) -> list[TopicPartition]:
    said = encode_intent(load.intent)
    ranges = [TopicPartition(lane.topic, of.partition, of.start, metadata=said) for of in load.intent.ranges]
    return ranges + _settled_offsets(lane, load)


def _settled_offsets(lane: Lane, load: Load | None = None) -> list[TopicPartition]:
    return [TopicPartition(lane.topic, partition, offset) for partition, offset in lane.to_settle(load).items()]
