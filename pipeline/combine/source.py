"""Where the combiner reads: its partitions of `fleet.events`, how far it has come, and from where to read again."""

from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from structlog.typing import FilteringBoundLogger

from pipeline.combine.batch import Batch
from pipeline.combine.config import GROUP, MAX_BATCH_MS, STAGE, CombineConfig
from pipeline.runtime import group_offsets, metrics
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import FatalStageError, TopicMadeAnewError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.lag import LagReport, Place
from pipeline.runtime.metadata import require_topics
from pipeline.runtime.quiet import member
from pipeline.runtime.waiting import Deadline
from pipeline.wire import topics

_READ_AT_ONCE = 4_096  # messages held as client objects at a time
_NO_WAY_ON = (KafkaError._FATAL, KafkaError._AUTO_OFFSET_RESET)  # of a consumer only the code says that it is fatal
_CALL_SECONDS = 10.0
_SHORTEST_WAIT_SECONDS = 0.001  # the client waits for whole milliseconds: asked for less it returns at once
# Less than the client's defaults: a deeper queue costs memory and brings no speed, a shallower one leaves the loop
# waiting for the next answer. Nothing is stored for auto-commit.
_PREFETCH = {
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # a client that begins anew by itself would count again what was counted
    "queued.min.messages": 10_000,
    "queued.max.messages.kbytes": 16 * 1024,
    "message.max.bytes": 1 << 20,  # only a floor for the next: a single larger message is still fetched
    "fetch.max.bytes": 1 << 20,
    "fetch.message.max.bytes": 512 << 10,  # compressed: some 6,000 events
}

Tell = Callable[[Mapping[Place, int]], None]  # hears up to where everything is committed, at each turn


class Source:
    """A member of the combiner's group."""

    def __init__(
        self,
        kafka: KafkaConfig,
        config: CombineConfig,
        log: FilteringBoundLogger,
        tell: Callable[[dict[Place, int]], None],
    ) -> None:
        """Raises FatalStageError when no broker answers, ConfigError when a topic that is needed is missing."""
        self._config, self._log, self._tell = config, log, tell
        self._topic = kafka.topic_prefix + topics.EVENTS.name
        self._consumer = member(kafka, GROUP, config.identity, log, **_PREFETCH)
        needed = topics.EVENTS, topics.PARTIALS, topics.DEADLETTER
        require_topics(self._consumer, self._consumer.errors, kafka, needed)
        self._assigned: list[TopicPartition] = []
        self._next: list[TopicPartition] = []  # where to read on
        self._committed: dict[int, int] = {}  # by partition: where what is not committed begins
        self._lag = LagReport(self._consumer, STAGE, kafka.topic_prefix)
        self._revoked = False  # during the call to consume that is under way

    def open(self, on_revoke: Callable[[], None], on_lost: Callable[[str], None]) -> None:
        """Join the group. `on_revoke` is called before partitions go, the last time to commit what was read from them;
        `on_lost` when they are another's already, with the reason."""

        def revoke(_: Consumer, partitions: list[TopicPartition]) -> None:
            self._log.info("partitions revoked", partitions=[place.partition for place in partitions])
            self._assigned, self._revoked = [], True
            on_revoke()
            self._forget()

        def lose(_: Consumer, partitions: list[TopicPartition]) -> None:
            self._assigned, self._revoked = [], True
            self._forget()
            on_lost(f"lost partitions {[place.partition for place in partitions]}")

        self._consumer.subscribe([self._topic], on_assign=self._assign, on_revoke=revoke, on_lost=lose)

    def close(self) -> None:
        """Leave off, without committing anything."""
        self._consumer.close()

    def fill(self, batch: Batch) -> bool:
        """Read until the batch is full or old enough; with more waiting, as long as a batch may be. False when
        partitions went meanwhile: what came with that is left out, it may be from before `rewind`."""
        deadline, latest = Deadline(self._config.batch_ms / 1000), Deadline(MAX_BATCH_MS / 1000)
        while (left := deadline.left_seconds) >= _SHORTEST_WAIT_SECONDS:
            wanted = min(self._config.batch_messages - batch.messages, _READ_AT_ONCE)
            if wanted <= 0:
                break
            messages = self._consumer.consume(wanted, left)
            if self._revoked:
                self._revoked = False
                return False
            batch.take(messages, wall_clock_ms())
            self._lag.saw(messages)
            self._next = self._consumer.position(self._assigned)
            if len(messages) == wanted:
                deadline = latest
        return True

    def offsets(self) -> list[TopicPartition]:
        """Where everything that was read ends."""
        return [place for place in self._next if place.offset >= 0]

    def group_metadata(self) -> Any:
        """What a transaction that commits offsets has to show."""
        return self._consumer.consumer_group_metadata()

    def commit(self, offsets: list[TopicPartition]) -> None:
        """These have been committed."""
        self._committed |= {place.partition: place.offset for place in offsets}

    def rewind(self) -> None:
        """Read on from the committed offsets."""
        if self._assigned:
            starts = [TopicPartition(of.topic, of.partition, self._committed[of.partition]) for of in self._assigned]
            self._consumer.assign(starts)
        self._next = []

    def report_lag(self) -> None:
        """Tell the metric, now and then, and whoever watches. Raises FatalStageError when this process cannot go on."""
        try:
            self._tell({(self._topic, partition): offset for partition, offset in self._committed.items()})
        except TopicMadeAnewError:
            group_offsets.commit_first(self._consumer, self._assigned, _CALL_SECONDS)
            raise
        read = self._committed | {place.partition: place.offset for place in self.offsets()}
        self._lag.report({(self._topic, partition): offset for partition, offset in read.items()})

    def judge(self, error: KafkaError) -> None:
        """Take in what the client says in between the messages. Raises FatalStageError when it cannot go on: a new
        process looks anew where to begin."""
        if error.fatal() or error.code() in _NO_WAY_ON:
            raise FatalStageError(f"consumer: {error}")
        self._log.warning("consumer", error=str(error))

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            found = group_offsets.committed(consumer, partitions, _CALL_SECONDS)
            bounds = self._lag.began(found)
        except KafkaException as error:
            raise FatalStageError(f"where to read from cannot be known: {error.args[0]}") from None
        self._assigned = partitions
        self._committed = {of.partition: self._start(of, *bounds[of.topic, of.partition]) for of in found}
        self.rewind()
        read_from = [self._committed[place.partition] for place in partitions]
        self._log.info("partitions assigned", partitions=[place.partition for place in partitions], read_from=read_from)

    def _forget(self) -> None:
        self._next, self._committed = [], {}
        self._lag.forget()

    def _start(self, committed: TopicPartition, low: int, high: int) -> int:
        """The committed offset, if the log still goes that far back and already that far on; else its beginning."""
        if committed.offset < 0:
            return low
        place = {"partition": committed.partition, "committed": committed.offset}
        if committed.offset > high:
            self._log.error("the log is not what it was: read from its beginning", **place, first=low, end=high)
            return low
        if committed.offset < low:
            metrics.LOST.labels(STAGE, topics.EVENTS.name).inc(low - committed.offset)
            self._log.error("records deleted before they were read", **place, upto=low - committed.offset)
            return low
        return committed.offset
