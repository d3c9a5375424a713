"""Where the combiner reads: its partitions of `fleet.events`, how far it has come, and from where to read again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from structlog.typing import FilteringBoundLogger

from pipeline.combine.batch import Batch
from pipeline.combine.begin import begin_anew, require, starts
from pipeline.combine.config import GROUP, MAX_BATCH_MS, STAGE, CombineConfig
from pipeline.combine.onward import Onward
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import FatalStageError, TopicMadeAnewError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.lag import LagReport, Place
from pipeline.runtime.metrics import READ_AGAIN
from pipeline.runtime.quiet import member
from pipeline.runtime.waiting import Deadline
from pipeline.wire.topics import EVENTS

_READ_AT_ONCE = 4_096  # messages held as client objects at a time
_NO_WAY_ON = (KafkaError._FATAL, KafkaError._AUTO_OFFSET_RESET)  # of a consumer only the code says that it is fatal
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
        self._topic = kafka.topic_prefix + EVENTS.name
        self._consumer = member(kafka, GROUP, config.identity, log, **_PREFETCH)
        require(self._consumer, kafka)
        self._assigned: list[TopicPartition] = []
        self._committed: dict[int, int] = {}  # by partition: where what is not committed begins
        self._own: dict[Place, int] = {}  # what this process has committed, of all that it ever had
        self._onward = Onward({})
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
                for error in filter(None, map(Message.error, messages)):
                    self.judge(error)  # they may say why: of one who was fenced nothing else ever comes
                return False
            batch.take(self._new(messages), wall_clock_ms())
            self._lag.saw(messages)
            if len(messages) == wanted:
                deadline = latest
        return True

    def _new(self, messages: list[Message]) -> Sequence[Message]:
        position = {place.partition: place.offset for place in self._consumer.position(self._assigned)}
        new = self._onward.take(messages, position)
        if again := len(messages) - len(new):
            READ_AGAIN.labels(STAGE).inc(again)
            self._log.warning("what the client has handed over again is left out", messages=again)
        return new

    def offsets(self) -> list[TopicPartition]:
        """Where everything that was read ends, of the partitions of which something was read."""
        reached = self._onward.next.items()
        return [TopicPartition(self._topic, at, offset) for at, offset in reached if offset > self._committed[at]]

    def group_metadata(self) -> Any:
        """What a transaction that commits offsets has to show."""
        return self._consumer.consumer_group_metadata()

    def commit(self, offsets: list[TopicPartition]) -> None:
        """These have been committed."""
        self._committed |= {place.partition: place.offset for place in offsets}
        self._own |= {(place.topic, place.partition): place.offset for place in offsets}

    def rewind(self) -> None:
        """Read on from the committed offsets."""
        if self._assigned:
            places = [(of.topic, of.partition, self._committed[of.partition]) for of in self._assigned]
            self._consumer.assign([TopicPartition(*place) for place in places])
        self._onward = Onward(self._committed)

    def report_lag(self) -> None:
        """Tell the metric, now and then, and whoever watches. Raises FatalStageError when this process cannot go on."""
        try:
            self._tell({(self._topic, partition): offset for partition, offset in self._committed.items()})
        except TopicMadeAnewError:
            begin_anew(self._consumer, self._assigned)
            raise
        self._lag.report({(self._topic, partition): offset for partition, offset in self._onward.next.items()})

    def judge(self, error: KafkaError) -> None:
        """Take in what the client says in between the messages. Raises FatalStageError when it cannot go on: a new
        process looks anew where to begin."""
        if error.fatal() or error.code() in _NO_WAY_ON:
            raise FatalStageError(f"consumer: {error}")
        self._log.warning("consumer", error=str(error))

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._committed = starts(consumer, partitions, self._own, self._lag, self._log)
        self._assigned = partitions
        self.rewind()
        read_from = [self._committed[place.partition] for place in partitions]
        self._log.info("partitions assigned", partitions=[place.partition for place in partitions], read_from=read_from)

    def _forget(self) -> None:
        self._committed, self._onward = {}, Onward({})
        self._lag.forget()
