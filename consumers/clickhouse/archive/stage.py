"""The archive's loop: read, convert, promise, insert, settle; before all, what was promised again. One thread; inserts
run beside it."""

import time
from concurrent.futures import Future
from typing import Annotated, NamedTuple

import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumers.clickhouse.archive.convert import Converter, spans
from consumers.clickhouse.archive.insert import Abandoned, Inserter
from consumers.clickhouse.archive.lanes import Key, Lane, Load, Span, key_of
from consumers.clickhouse.archive.tables import Batch
from consumers.clickhouse.archive.takeover import taken_over
from consumers.clickhouse.connect import ClickHouseServer
from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import PROMPT, KafkaConfig, consumer_config
from pipeline.runtime.kafka_log import spoken
from pipeline.runtime.lifecycle import StopSignal
from pipeline.runtime.metrics import BATCHES, EVENTS, LAG, REJECTED
from pipeline.runtime.topic_reader import OffsetRange, TopicReader

Doc = msgspec.Meta

STAGE = "archive"
GROUP = "andon-archive"
CONSUME_MESSAGES = 10_000
POLL_SECONDS = 0.05
SAY_SECONDS = 30.0  # between two words about the same
LAG_SECONDS = 1.0
BATCHES_HELD = 4  # a batch is sent at this part of what may be held: others are held while it is on its way
DRAIN_PAUSE_SECONDS = 0.02
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


class Again(NamedTuple):
    """A promised batch that is being read again, what has come, and when (monotonic) it is said that it takes long."""

    reader: TopicReader
    found: list[Message]
    say_at: float


class Archive:
    """The lanes, and the consumer and inserter that they share."""

    def __init__(self, config: ArchiveConfig, kafka: KafkaConfig, log: structlog.typing.FilteringBoundLogger) -> None:
        self._config, self._kafka, self._log = config, kafka, log
        self._convert = Converter(kafka.topic_prefix)
        name = f"{GROUP}-{config.slot}"
        self._consumer = Consumer(consumer_config(kafka, name, GROUP, name, **_FETCHING, **spoken(log)))
        self._inserter = Inserter(config, log)
        self._lanes: dict[Key, Lane] = {}
        self._again: dict[Key, Again] = {}
        self._futures: dict[Future[None], Lane] = {}
        self._paused = False
        self._lag_at = self._say_paused_at = 0.0

    def run(self, stop: StopSignal) -> bool:
        """Until the stop; False when a request to ClickHouse still hangs then: what it carries stays promised.

        Raises:
            FatalStageError: when this process cannot go on.
        """
        self._consumer.subscribe(list(self._convert.sources), on_assign=self._assigned, on_revoke=self._revoked)
        try:
            while not stop.is_set():
                self._turn(drain=False)
            self._drain()
        finally:
            self._forget()
            answered = self._inserter.close()
            self._consumer.close()
        return answered

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
        batch = self._rows(lane.topic, run)
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

    def _rows(self, topic: str, run: list[Message]) -> Batch:
        batch = self._convert(topic, run)
        if self._convert.is_events(topic):
            EVENTS.labels(STAGE).inc(batch.rows)
        elif batch.refused:
            self._log.warning("records that cannot be read; see dead_letters", topic=topic, records=len(batch.refused))
        return batch

    def _repeat(self) -> None:
        """Read again and insert again what may be in ClickHouse or may not; what is read meanwhile waits behind it."""
        for key, lane in self._lanes.items():
            if not lane.promised or lane.inserting is not None:
                continue
            again = self._again.get(key) or self._again.setdefault(key, self._read_again(lane))
            again.found.extend(again.reader.poll())
            if again.reader.at_end:
                first_ms = {span.partition: span.first_ms for span in spans(again.found)}
                load = lane.repeat(self._convert(lane.topic, again.found), first_ms)
                self._again.pop(key).reader.close()
                self._futures[self._inserter.submit(load)] = lane
                self._log.info("a batch left under way is finished", topic=lane.topic, rows=load.intent.rows)
            elif time.monotonic() > again.say_at:
                self._again[key] = again._replace(say_at=time.monotonic() + SAY_SECONDS)
                self._log.warning("a batch left under way cannot be read again yet", topic=lane.topic)

    def _read_again(self, lane: Lane) -> Again:
        ranges = [OffsetRange(lane.topic, of.partition, of.start, of.end) for of in lane.promised[0].ranges]
        reader = TopicReader(self._kafka, f"{GROUP}-ranges", GROUP, PROMPT | _FETCHING).start(ranges)
        return Again(reader, [], time.monotonic() + SAY_SECONDS)

    def _hand_over(self, drain: bool) -> None:
        now, wait = time.monotonic(), 0.0 if drain else self._config.batch_ms / 1000
        limits = self._config.batch_rows, self._config.max_held_bytes // BATCHES_HELD
        due = [lane for lane in self._lanes.values() if lane.due(now, wait, *limits)]
        for lane in due:
            load = lane.promise()
            if self._commit(lane, load):
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
        for lane in self._lanes.values():
            if lane.commits() and self._commit(lane):
                lane.settled()

    def _commit(self, lane: Lane, load: Load | None = None) -> bool:
        """False when it must be tried again, or a rebalance is about to take the partitions away."""
        said = [
            TopicPartition(lane.topic, number, offset, metadata=text) for number, offset, text in lane.commits(load)
        ]
        try:
            done = self._consumer.commit(offsets=said, asynchronous=False) or []
            failures = [partition.error for partition in done if partition.error is not None]
        except KafkaException as failure:
            failures = [failure.args[0]]
        for error in failures[:1]:
            if error.fatal() or error.code() in _FENCED:
                raise FatalStageError(f"Kafka: {error}") from None
            self._log.warning("commit failed, will be retried", topic=lane.topic, error=str(error))
        return not failures

    def _throttle(self) -> None:
        """ClickHouse is slower than Kafka: stop reading, hold no more than was allowed, stay in the group."""
        loads = [lane.load for lane in self._lanes.values()]
        rows, size_bytes = (sum(counts) for counts in zip((0, 0), *loads, strict=True))
        share = max(rows / self._config.max_held_rows, size_bytes / self._config.max_held_bytes)
        if self._paused != (share > (0.5 if self._paused else 1.0)):
            self._paused = not self._paused
            change = self._consumer.pause if self._paused else self._consumer.resume
            change(self._consumer.assignment())
            if self._paused and time.monotonic() > self._say_paused_at:
                self._say_paused_at = time.monotonic() + SAY_SECONDS
                self._log.info("ClickHouse is slower than Kafka: reading pauses now and then", held_rows=rows)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for found, committed, is_under_way in taken_over(consumer, partitions):
            start = self._lane(found).own(found.partition, committed, is_under_way)
            found.offset = OFFSET_BEGINNING if start is None else start
            where = {"topic": found.topic, "partition": found.partition}
            self._log.info("assigned", **where, reads_from="the beginning" if start is None else start)
        consumer.assign(partitions)
        consumer.resume(partitions)  # a pause outlives the assignment that it was made in
        self._paused = False

    def _lane(self, found: TopicPartition) -> Lane:
        key = key_of(found.topic, found.partition)
        if key not in self._lanes:
            self._lanes[key] = Lane(found.topic, self._convert.sources[found.topic].compacted)
        return self._lanes[key]

    def _revoked(self, _: Consumer, __: list[TopicPartition]) -> None:
        """What is held or not yet acknowledged is dropped: the next owner reads it again, and repeats what may be under
        way by its intent. The classic protocol takes all partitions away before it gives any."""
        self._inserter.give_up()
        self._forget()

    def _forget(self) -> None:
        for again in self._again.values():
            again.reader.close()
        self._again.clear()
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
            time.sleep(DRAIN_PAUSE_SECONDS)
        left = sum(self._unfinished(lane) for lane in self._lanes.values())
        self._log.info("stopped", batches_left_promised=left)

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
