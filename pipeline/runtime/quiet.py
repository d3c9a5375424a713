"""The consumer of every reader: librdkafka's, but one that costs next to nothing while nothing comes.

The embedded broker answers an empty fetch at once, whatever `fetch.wait.max.ms` says, and librdkafka asks again at
once: the two take most of a core for nothing. On that broker, and on no other, a consumer that has read all rests: its
partitions are paused, and every 20 ms, in a lull every 50, it asks where they end, all in one request. It reads on as
soon as one does not end where it stands itself. It trusts little: ends that it is not told, other partitions, or a rest
that lasts wake it too. Nobody else sees anything of a rest: positions, the group, and what the caller has paused stay
as they are.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.runtime.kafka import KafkaConfig, consumer_config
from pipeline.runtime.kafka_log import Errors, spoken
from pipeline.runtime.waiting import Deadline

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

EMBEDDED_CLUSTER_ID = "MkU3OEVBNTctOEUyRi00"  # of every embedded broker there is; a cluster of Kafka's draws its own
LOOK_SECONDS = 0.02  # between two questions for the ends: what comes to a consumer at rest waits so long at most
LULL_SECONDS, LULL_LOOK_SECONDS = 5.0, 0.05  # and so long once nothing has come for that long
QUIET_SECONDS = 0.02  # nothing has come for so long before a rest, which would only delay what is to come. (One that
#                       is told of ends by its client is about to be asked something else, and rests at once.)
AWAKE_SECONDS = 0.1  # one that is not at rest looks so often whether it may
REST_SECONDS = 5.0  # then it fetches for a moment, whatever it is told of the ends
ASK_SECONDS = 1.0  # for an answer that takes a millisecond; where none comes, it fetches
_LATEST, _EARLIEST = -1, -2  # the "times" that stand for a log's end and its first offset

Place = tuple[str, int]  # topic, as the cluster names it, and partition


class QuietConsumer(Consumer):
    """For one thread at a time. Partitions are taken with `assign`, in `on_assign` as well, and all that it names are
    read: no pause outlives the assignment that it was made in, as one of librdkafka's would. `errors` are the client's.
    """

    def __init__(self, settings: dict[str, Any], look_seconds: float | None = None) -> None:
        """`look_seconds`: how often one at rest asks for the ends, for whoever has time."""
        self._look_seconds = look_seconds
        self.errors = Errors()
        super().__init__(self.errors.settings | settings)
        self._spins: bool | None = None  # whether it is the broker for which all this is; None: not known yet
        self._starts: dict[Place, int] = {}  # by assigned partition, from where it is read
        self._ended: dict[Place, int] | None = {} if settings.get("enable.partition.eof") else None  # as was told
        self._held: set[Place] = set()  # paused by the caller
        self._resting: dict[Place, int] = {}  # paused by a rest, each at its end; empty when there is none
        self._newest = 0.0  # when something came last; monotonic seconds
        self._next_look = self._rest_end = Deadline(0)

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        """As librdkafka's."""
        return self._read(lambda seconds: super(QuietConsumer, self).consume(num_messages, seconds), timeout)

    def poll(self, timeout: float = -1) -> Message | None:
        """As librdkafka's."""

        def one(seconds: float) -> list[Message]:
            found = super(QuietConsumer, self).poll(seconds)
            return [] if found is None else [found]

        return next(iter(self._read(one, timeout)), None)

    def _read(self, read: Callable[[float], list[Message]], timeout: float) -> list[Message]:
        if self._spins is False:
            return read(timeout)
        deadline = Deadline(timeout if timeout >= 0 else float("inf"))
        while True:
            if not self._resting:
                found = read(_whole_ms(min(deadline.left_seconds, AWAKE_SECONDS)))
            elif (
                not (found := read(_whole_ms(min(deadline.left_seconds, self._next_look.left_seconds))))
                and self._wakes()
            ):
                # Though its time may be up: else it would spin until the next call.
                found = read(max(min(deadline.left_seconds, AWAKE_SECONDS), LOOK_SECONDS))
            if not found or self._tells_only_ends(found):
                self._rest_if_all_is_read()
            if found or deadline.has_passed:
                return found

    def _tells_only_ends(self, found: list[Message]) -> bool:
        self._newest = time.monotonic()
        if self._ended is None:
            return False
        ends = [each for each in found if (why := each.error()) and why.code() == KafkaError._PARTITION_EOF]
        self._ended |= {(each.topic() or "", each.partition() or 0): each.offset() or 0 for each in ends}
        return len(ends) == len(found)

    # -- resting

    def _rest_if_all_is_read(self) -> None:
        is_quiet = self._ended is not None or time.monotonic() - self._newest >= QUIET_SECONDS
        if self._resting or not is_quiet or not self._is_embedded():
            return
        places = self._wanted()
        ends = self._ask(places, _LATEST)
        if ends and self._has_read_to(ends):
            super().pause(_partitions(places))
            self._resting = ends
            self._next_look, self._rest_end = self._look(), Deadline(REST_SECONDS)

    def _wakes(self) -> bool:
        """Whether it reads again, after a look if one is due; unless everything is as it was."""
        if self._resting and not self._next_look.has_passed:
            return False
        self._next_look = self._look()
        places = self._wanted()
        rests = not self._rest_end.has_passed and self._resting == self._ask(places, _LATEST)
        if not rests:
            places, self._resting = places | self._resting.keys(), {}
            super().resume(_partitions(places))
            # The client's thread for a broker sees that a partition was resumed when it looks up, once a second;
            # something to ask the broker makes it look up now.
            self._ask(places, _LATEST)
        return not rests

    def _look(self) -> Deadline:
        return Deadline(self._look_seconds or pause_seconds(time.monotonic() - self._newest))

    def _wanted(self) -> set[Place]:
        return {(of.topic, of.partition) for of in self.assignment()} - self._held

    def _is_embedded(self) -> bool:
        if self._spins is None:
            with contextlib.suppress(KafkaException):  # no broker has answered anything yet
                self._spins = self.cluster_id(timeout=0) == EMBEDDED_CLUSTER_ID
        return self._spins is True

    def _has_read_to(self, ends: dict[Place, int]) -> bool:
        if self._ended is not None and not ends.items() <= self._ended.items():
            return False
        stands = {(of.topic, of.partition): of.offset for of in self.position(_partitions(ends))}
        # Until a record has come, a partition stands where reading of it began; and that may be where the log begins.
        stands = {
            at: offset if offset >= 0 else self._starts.get(at, OFFSET_BEGINNING) for at, offset in stands.items()
        }
        if begun := {at for at, offset in stands.items() if offset < 0}:
            stands |= self._ask(begun, _EARLIEST)
        return stands == ends

    def _ask(self, places: set[Place], time_ms: int) -> dict[Place, int]:
        """By partition, as this consumer may read it, so the end of what is committed; {} when it is not known."""
        try:
            found = self.offsets_for_times(_partitions(places, time_ms), timeout=ASK_SECONDS) if places else []
        except KafkaException:
            return {}
        known = {(of.topic, of.partition): of.offset for of in found if of.error is None}
        return known if known.keys() == places else {}

    # -- what else concerns it

    def assign(self, partitions: list[TopicPartition]) -> None:
        """As librdkafka's, and with all pauses gone."""
        super().assign(partitions)
        self._starts = {(of.topic, of.partition): of.offset for of in partitions}
        if self._ended is not None:
            self._ended = {}
        paused, self._held, self._resting = self._held | self._resting.keys(), set(), {}
        if paused:
            super().resume(_partitions(paused | self._starts.keys()))
        self._newest = time.monotonic()

    def pause(self, partitions: list[TopicPartition]) -> None:
        """As librdkafka's."""
        super().pause(partitions)
        self._held |= {(of.topic, of.partition) for of in partitions}
        self._rest_without(self._held)

    def resume(self, partitions: list[TopicPartition]) -> None:
        """As librdkafka's."""
        super().resume(partitions)
        resumed = {(of.topic, of.partition) for of in partitions}
        self._held -= resumed
        self._rest_without(resumed)

    def _rest_without(self, places: set[Place]) -> None:
        self._resting = {at: end for at, end in self._resting.items() if at not in places}


def member(kafka: KafkaConfig, group: str, instance: str, log: "FilteringBoundLogger", **more: Any) -> QuietConsumer:
    """A stage's slot in its group; librdkafka speaks in the log. See `consumer_config`."""
    return QuietConsumer(consumer_config(kafka, instance, group, instance, **more, **spoken(log)))


def pause_seconds(quiet_seconds: float) -> float:
    """How long to leave a broker alone to which nothing has come for so long."""
    return LOOK_SECONDS if quiet_seconds < LULL_SECONDS else LULL_LOOK_SECONDS


def _whole_ms(seconds: float) -> float:
    """Rounded up: asked to wait for less than a millisecond, librdkafka returns at once."""
    return math.ceil(seconds * 1000) / 1000


def _partitions(places: Iterable[Place], offset: int = OFFSET_BEGINNING) -> list[TopicPartition]:
    return [TopicPartition(*place, offset) for place in places]
