"""How far a consumer is behind the ends of the logs that it reads, as metrics; and where those logs begin and end."""

import time
from collections.abc import Collection, Mapping, Sequence

from confluent_kafka import Consumer, Message, TopicPartition

from pipeline.runtime.clock import Clock, wall_clock_ms
from pipeline.runtime.metrics import LAG, LAG_SECONDS, LOST, from_zero
from pipeline.runtime.waiting import Deadline
from pipeline.wire.topics import DEADLETTER, PARTIALS

REPORT_SECONDS = 1.0
CALL_SECONDS = 10.0
STALE_SECONDS, STALE_PAUSE_SECONDS = 10.0, 0.1
LOOKED_AT_EVERY = 512  # messages: to read the timestamp of one costs a tenth of decoding it

MARKER = 1  # of a transaction: it may stand behind the last record of a log, and is read by nobody
IN_TRANSACTIONS = {PARTIALS.name, DEADLETTER.name}  # the combiner writes them so

Place = tuple[str, int]  # topic, as the cluster names it, and partition


class Behind:
    """For how long what waits in logs may have waited. Pure; times in unix ms. What has not been read yet is younger
    than the newest that was read (by the time that the record bears), and than the last moment at which nothing waited.
    """

    def __init__(self) -> None:
        self._since_ms: dict[Place, int] = {}
        self._seen_ms: dict[Place, int] = {}  # when a log was looked at first of which nothing is known yet

    def read(self, place: Place, at_ms: int) -> None:
        """A record of that time was read there."""
        self._since_ms[place] = max(at_ms, self._since_ms.get(place, 0))

    def look(self, messages: Mapping[Place, int], now_ms: int) -> dict[Place, float]:
        """So many messages wait, in these logs and no others; for how many seconds, each."""
        known = {place: now_ms if lag <= 0 else self._since_ms.get(place) for place, lag in messages.items()}
        self._since_ms = {place: at_ms for place, at_ms in known.items() if at_ms is not None}
        self._seen_ms = {place: self._seen_ms.get(place, now_ms) for place, at_ms in known.items() if at_ms is None}
        since = self._since_ms | self._seen_ms
        return {place: max(0.0, (now_ms - since[place]) / 1000) for place in messages}


class Lags:
    """The metrics of one stage. What is no longer read is no longer shown: another's word for it would be newer."""

    def __init__(self, stage: str, topic_prefix: str, clock: Clock = wall_clock_ms) -> None:
        self._stage, self._prefix, self._clock = stage, topic_prefix, clock
        self._shown: set[tuple[str, str]] = set()
        self.behind = Behind()

    def show(self, messages: Mapping[Place, int]) -> None:
        """These, and no others. Nobody waits for a marker, which is one message behind all the same: whether a single
        record waits there instead, readiness looks."""
        names = {topic: topic.removeprefix(self._prefix) for topic, _ in messages}
        waiting = {place: lag - MARKER * (names[place[0]] in IN_TRANSACTIONS) for place, lag in messages.items()}
        seconds = self.behind.look(waiting, self._clock())
        places = {(names[topic], str(at)): (topic, at) for topic, at in messages}
        for gone in self._shown - places.keys():
            LAG.remove(self._stage, *gone)
            LAG_SECONDS.remove(self._stage, *gone)
        for label, place in places.items():
            LAG.labels(self._stage, *label).set(max(0, messages[place]))
            LAG_SECONDS.labels(self._stage, *label).set(seconds[place])
        self._shown = set(places)


class LagReport:
    """Of a librdkafka consumer: asks once when it is assigned partitions, and knows from its fetches after that."""

    def __init__(self, consumer: Consumer, stage: str, topic_prefix: str) -> None:
        self._consumer, self._lags = consumer, Lags(stage, topic_prefix)
        self._stage, self._prefix = stage, topic_prefix
        self._ends: dict[Place, int] = {}
        self._next = Deadline(0)

    def began(self, committed: Collection[TopicPartition]) -> dict[Place, tuple[int, int]]:
        """Partitions were assigned, of which this is committed: the first offset of each log, and the next to be
        written. A broker that was cut off says for a moment that a log ends where it did when it led it: it is asked
        until the log holds what is committed, or for so long that it must be another.

        Raises:
            KafkaException: when the brokers do not say.
        """
        from_zero(LOST, [self._stage], {of.topic.removeprefix(self._prefix) for of in committed})
        deadline = Deadline(STALE_SECONDS)
        found = self._bounds(committed)
        while not deadline.has_passed and any(of.offset > found[of.topic, of.partition][1] for of in committed):
            time.sleep(STALE_PAUSE_SECONDS)
            found = self._bounds(committed)
        self._ends |= {place: end for place, (_, end) in found.items()}
        self._next = Deadline(0)
        return found

    def _bounds(self, places: Collection[TopicPartition]) -> dict[Place, tuple[int, int]]:
        asked = {
            (of.topic, of.partition): self._consumer.get_watermark_offsets(of, timeout=CALL_SECONDS) for of in places
        }
        return {place: bounds or (0, 0) for place, bounds in asked.items()}

    def saw(self, messages: Sequence[Message]) -> None:
        """These have been read: of a few of them it is looked at when they were written."""
        for message in (*messages[::LOOKED_AT_EVERY], *messages[-1:]):
            if message.error() is None:
                place = message.topic() or "", message.partition() or 0
                self._lags.behind.read(place, message.timestamp()[1])

    def report(self, read: Mapping[Place, int]) -> None:
        """Where it reads next, or all before is stored, by partition; told now and then."""
        if not self._next.has_passed:
            return
        self._next = Deadline(REPORT_SECONDS)
        for place in self._ends:
            _, end = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            self._ends[place] = max(end, self._ends[place])
        self._lags.show({place: end - read.get(place, 0) for place, end in self._ends.items()})

    def forget(self) -> None:
        """The partitions went."""
        self._ends.clear()
        self._lags.show({})
