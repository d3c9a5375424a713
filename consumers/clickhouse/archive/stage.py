"""The archive's loop: read, convert, promise, insert, settle; before all, what was promised again. One thread; inserts
run beside it."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from consumers.clickhouse.archive.again import ReadAgain
from consumers.clickhouse.archive.config import GROUP, STAGE, ArchiveConfig
from consumers.clickhouse.archive.convert import Converter, ranges
from consumers.clickhouse.archive.insert import Abandoned, Inserter
from consumers.clickhouse.archive.lanes import Batch, Lane, LaneKey, deleted_unread, key_of
from consumers.clickhouse.archive.takeover import begin_anew, join, taken_over
from pipeline.runtime.errors import FatalStageError, TopicMadeAnewError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.lag import LagReport, Place
from pipeline.runtime.metrics import BATCHES, EVENTS, LOST, REJECTED
from pipeline.runtime.quiet import member
from pipeline.runtime.waiting import Deadline, wait_for

CONSUME_MESSAGES = 10_000
POLL_SECONDS = 0.05
SAY_SECONDS = 30.0  # between two words about reading that pauses
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


class Archive:
    """The lanes, and the consumer and inserter that they share."""

    def __init__(
        self,
        config: ArchiveConfig,
        kafka: KafkaConfig,
        inserter: Inserter,
        log: structlog.typing.FilteringBoundLogger,
        convert: Converter | None = None,
        tell: Callable[[Mapping[Place, int]], None] = lambda _: None,  # where everything stands, each turn
    ) -> None:
        self._config, self._kafka = config, kafka
        self._inserter, self._log, self._tell = inserter, log, tell
        self._convert = convert or Converter(kafka.topic_prefix)
        name = f"{GROUP}-{config.slot}"
        self._consumer = member(kafka, GROUP, name, log, **_FETCHING)
        self._again = ReadAgain(kafka, GROUP, _FETCHING, log)
        self._lanes: dict[LaneKey, Lane] = {}
        self._futures: dict[Future[None], Lane] = {}
        self._paused = False
        self._lag = LagReport(self._consumer, STAGE, kafka.topic_prefix)
        self._first: dict[Place, int] = {}  # of each log, when it was assigned
        self._own: dict[Place, int] = {}  # what this process has committed, of all that it ever had
        self._say_paused_again = Deadline(0.0)

    def run(self, is_stopping: Callable[[], bool]) -> bool:
        """Until the stop; False when a request to ClickHouse still hangs then: what it carries stays promised.

        Raises:
            ConfigError: when a topic is missing.
            FatalStageError: when this process cannot go on.
        """
        try:
            join(self._consumer, self._kafka, self._convert.routes, self._assigned, self._revoked)
            while not is_stopping():
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
        stored = {(lane.topic, at): upto for lane in self._lanes.values() for at, upto in lane.stored.items()}
        places = {at: self._first[at] if upto is None else upto for at, upto in stored.items()}
        self._lag.report(places)
        try:
            self._tell(places)
        except TopicMadeAnewError as error:
            begin_anew(self._consumer, [TopicPartition(*at) for at in places if at[0] in error.topics])
            raise

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
        read = ranges(run)
        for of, before in lane.gaps(read):
            self._warn_of_gap(lane.topic, of.partition, of.start, before)
        rows = self._convert(lane.topic, run)
        if self._convert.is_events(lane.topic):
            EVENTS.labels(STAGE).inc(rows.total)
        elif rows.refused:
            count = len(rows.refused)
            what = "records that cannot be read or are not believed; see dead_letters"
            self._log.warning(what, topic=lane.topic, records=count)
        lane.hold(rows, read, time.monotonic())
        for reason in rows.refused:
            REJECTED.labels(STAGE, reason).inc()

    def _warn_of_gap(self, topic: str, partition: int, start: int, before: int) -> None:
        """Offsets skip transaction markers; but records that retention deleted unread are lost, and that is said."""
        log = self._log.bind(topic=topic, partition=partition)
        if start < before:
            log.error("the log is not what it was: read again", from_offset=start, was_at=before)
        low, _ = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
        if lost := deleted_unread(before, start, low):
            LOST.labels(STAGE, topic).inc(lost)
            log.error("records deleted before they were read", upto=lost)

    def _repeat(self) -> None:
        """Read again and insert again what may be in ClickHouse or may not; what is read meanwhile waits behind it."""
        for key, lane in self._lanes.items():
            if not lane.promised or lane.inserting is not None:
                continue
            found = self._again.poll(key, lane.promised[0])
            if found is not None:
                first_ms = {of.partition: of.first_ms for of in ranges(found)}
                batch = lane.repeat(self._convert(lane.topic, found), first_ms)
                self._futures[self._inserter.submit(batch)] = lane
                self._log.info("a batch left under way is finished", topic=lane.topic, rows=batch.intent.rows)

    def _hand_over(self, drain: bool) -> None:
        now, wait = time.monotonic(), 0.0 if drain else self._config.batch_ms / 1000
        limits = self._config.batch_rows, self._config.max_held_bytes // BATCHES_HELD
        due = [lane for lane in self._lanes.values() if lane.due(now, wait, *limits)]
        for lane in due:
            batch = lane.promise()
            if self._commit(lane, batch):
                lane.handed_over(batch)
                self._futures[self._inserter.submit(batch)] = lane
                BATCHES.labels(STAGE).inc()

    def _reap(self) -> None:
        for future in [future for future in self._futures if future.done()]:
            lane = self._futures.pop(future)
            error = future.exception()
            if error is not None and not isinstance(error, Abandoned):
                raise FatalStageError(f"{lane.topic}: a batch cannot be inserted: {error}") from error
            if error is None:
                lane.acknowledged()

    def _settle(self) -> None:
        """Say on the broker that nothing is under way any more; a lane that goes on says it with its next intent."""
        for lane in self._lanes.values():
            if lane.commits() and self._commit(lane):
                lane.settled()

    def _commit(self, lane: Lane, batch: Batch | None = None) -> bool:
        """False when it must be tried again, or a rebalance is about to take the partitions away."""
        said = [
            TopicPartition(lane.topic, number, offset, metadata=text) for number, offset, text in lane.commits(batch)
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
        if not failures:
            self._own |= {(of.topic, of.partition): of.offset for of in said}
        return not failures

    def _throttle(self) -> None:
        """ClickHouse is slower than Kafka: stop reading, hold no more than was allowed, stay in the group."""
        carried = [lane.carried for lane in self._lanes.values()]
        rows, size_bytes = (sum(counts) for counts in zip((0, 0), *carried, strict=True))
        share = max(rows / self._config.max_held_rows, size_bytes / self._config.max_held_bytes)
        if self._paused != (share > (0.5 if self._paused else 1.0)):
            self._paused = not self._paused
            change = self._consumer.pause if self._paused else self._consumer.resume
            change(self._consumer.assignment())
            if self._paused and self._say_paused_again.has_passed:
                self._say_paused_again = Deadline(SAY_SECONDS)
                self._log.info("ClickHouse is slower than Kafka: reading pauses now and then", held_rows=rows)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for found, committed, is_under_way in taken_over(consumer, partitions, self._ends_of, self._own, self._log):
            start = self._lane(found).own(found.partition, committed, is_under_way)
            found.offset = OFFSET_BEGINNING if start is None else start
            where = {"topic": found.topic, "partition": found.partition}
            self._log.info("assigned", **where, reads_from="the beginning" if start is None else start)
        consumer.assign(partitions)
        self._paused = False

    def _ends_of(self, committed: list[TopicPartition]) -> dict[Place, int]:
        try:
            bounds = self._lag.began(committed)
        except KafkaException as failure:
            raise FatalStageError(f"Kafka does not say where its logs end: {failure.args[0]}") from None
        self._first |= {place: low for place, (low, _) in bounds.items()}
        return {place: end for place, (_, end) in bounds.items()}

    def _lane(self, found: TopicPartition) -> Lane:
        key = key_of(found.topic, found.partition)
        if key not in self._lanes:
            self._lanes[key] = Lane(found.topic, self._convert.routes[found.topic].compacted)
        return self._lanes[key]

    def _revoked(self, _: Consumer, __: list[TopicPartition]) -> None:
        """What is held or not yet acknowledged is dropped: the next owner reads it again, and repeats what may be under
        way by its intent. The classic protocol takes all partitions away before it gives any."""
        self._inserter.give_up()
        self._forget()

    def _forget(self) -> None:
        self._again.forget()
        self._lanes.clear()
        self._futures.clear()
        self._lag.forget()
        self._first.clear()

    def _drain(self) -> None:
        wait_for(self._emptied, STOP_SECONDS, DRAIN_PAUSE_SECONDS)
        self._log.info("stopped", batches_left_promised=len(self._unfinished()))

    def _emptied(self) -> bool:
        """Whether nothing is held or under way any more, after a turn towards that if need be."""
        if self._unfinished():
            self._turn(drain=True)
        return not self._unfinished()

    def _unfinished(self) -> list[Lane]:
        return [lane for lane in self._lanes.values() if lane.unsettled or not lane.idle]


def _runs(messages: list[Message]) -> dict[LaneKey, list[Message]]:
    """Messages by their lane: most often there is one."""
    places = list(zip(map(Message.topic, messages), map(Message.partition, messages), strict=True))
    keys = {(topic, partition): key_of(topic or "", partition or 0) for topic, partition in set(places)}
    if len(set(keys.values())) == 1:
        return {keys[places[0]]: messages}
    runs: dict[LaneKey, list[Message]] = {}
    for place, message in zip(places, messages, strict=True):
        runs.setdefault(keys[place], []).append(message)
    return runs
