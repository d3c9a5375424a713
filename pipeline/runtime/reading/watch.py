"""Looks, from a thread of its own, whether a stage gets on, and says what it finds."""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import structlog
from confluent_kafka import KafkaException

from pipeline.runtime.errors import AndonError, FatalStageError, TopicMadeAnewError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.log_offsets import LogOffsets
from pipeline.runtime.reading.progress import LOOK_MS, Place, Progress, Standing
from pipeline.runtime.reading.slots import one_process
from pipeline.runtime.topic_reader import OffsetRange, TopicReader
from pipeline.runtime.web.serving import Health, Turns

LOOK_SECONDS = 2.5
READ_SECONDS = 5.0  # to find out whether what waits is records at all

Trouble = Callable[[], Sequence[str]]


class _Found(NamedTuple):
    """What the newest look has found."""

    why_not: Sequence[str] = ()
    replaced: Sequence[str] = ()  # logs that end before the place in them
    made_anew: Collection[str] = ()  # topics, as the cluster names them
    at_ms: int | None = None


class ReadingWatch:
    """Of one stage whose loop says where it is. `reads` and `done` are words for people, see Progress; `group` is the
    consumer group's whose rights it has. `trouble` may be set: what else there is that keeps it from being ready."""

    def __init__(
        self,
        kafka: KafkaConfig,
        stage: str,
        group: str,
        log: structlog.typing.FilteringBoundLogger,
        reads: str,
        done: str = "read",
    ) -> None:
        self.trouble: Trouble = tuple
        self._kafka, self._group, self._reads, self._log = kafka, group, reads, log
        self._client_id = f"andon-{stage}-ends"
        self._progress = Progress(reads, done)
        self._places: Mapping[Place, int] = {}  # topics as the cluster names them
        self._turns = Turns()
        self._found = _Found()
        self._nothing: dict[Place, tuple[int, int]] = {}  # [from, to) of a log in which there is no record to be read
        self._wake = threading.Event()

    # -- the stage's side

    def start(self) -> "ReadingWatch":
        """Begin to look.

        Raises:
            ConfigError: when the brokers cannot be asked as they are configured.
        """
        logs = LogOffsets(self._kafka, self._client_id)
        threading.Thread(target=self._run, args=(logs,), name="reading", daemon=True).start()
        return self

    def in_slot(self, slot: str | int) -> AbstractContextManager[None]:
        """For the stage's life; see `one_process`."""
        return one_process(self._kafka, self._group, slot)

    def at(self, places: Mapping[Place, int]) -> None:
        """The stage's loop has turned: all that is assigned to it, topics as the cluster names them, and the offset
        before which it is done with everything. Cheap.

        Raises:
            TopicMadeAnewError: when it reads another topic than it began with.
            FatalStageError: when a log has ended for long before that: a new process looks where to begin.
        """
        self._turns.turned()
        if places.keys() != self._places.keys():
            self._wake.set()
        self._places = places
        if self._found.made_anew:
            raise TopicMadeAnewError(self._found.made_anew)
        if self._found.replaced:
            raise FatalStageError("; ".join(self._found.replaced))

    # -- what is served

    def health(self) -> Health:
        """Of the stage."""
        return Health(self.why_not, self._turns.still_seconds)

    def why_not(self) -> list[str]:
        """Why the stage is not ready; empty when it is."""
        found, trouble = self._found, list(self.trouble())
        if not self._places:
            return [*trouble, f"no partition of {self._reads} is assigned"]
        if found.at_ms is None or _now_ms() - found.at_ms > LOOK_MS:
            return [*trouble, f"the brokers do not say where {self._reads} ends"]
        return [*trouble, *found.why_not]

    # -- looking

    def _run(self, logs: LogOffsets) -> None:
        while True:
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
            try:
                self._look(logs)
            except (AndonError, KafkaException, TimeoutError) as error:
                self._log.warning("where its logs end is not known", why=str(error) or "no answer")

    def _look(self, logs: LogOffsets) -> None:
        places = dict(self._places)
        made_anew = logs.made_anew(places)
        ends = logs.ends(places)
        found = {at: Standing(self._passed(at, place), *ends[at]) for at, place in places.items()}
        waits = self._said(found)
        for at in waits:
            self._nothing.pop(at, None)
            if not self._holds_records(at, places[at], ends[at].committed):
                self._nothing[at] = places[at], ends[at].committed
                found[at] = found[at]._replace(position=ends[at].committed)
        if waits:
            self._said(found)
        now_ms = _now_ms()
        why_not = self._progress.why_not(now_ms, bool(places))
        self._found = _Found(why_not, self._progress.replaced(now_ms), made_anew, now_ms)

    def _said(self, found: Mapping[Place, Standing]) -> list[Place]:
        """Take this in; where records have waited for long."""
        prefix, now_ms = self._kafka.topic_prefix, _now_ms()
        full = {(topic.removeprefix(prefix), number): (topic, number) for topic, number in found}
        self._progress.look({at: found[place] for at, place in full.items()}, now_ms)
        return [full[at] for at in self._progress.waiting(now_ms)]

    def _passed(self, at: Place, place: int) -> int:
        """The place, or beyond it what is known to hold nothing."""
        start, end = self._nothing.get(at, (-1, -1))
        return end if start == place else place

    def _holds_records(self, at: Place, start: int, end: int) -> bool:
        """Whether there is anything to be read there: it may all be markers of transactions, aborted, or deleted.

        Raises:
            AndonError: when that cannot be found out in time.
        """
        with TopicReader(self._kafka, self._client_id, self._group) as reader:
            reader.start([OffsetRange(*at, start, end)])
            return any(reader.to_end(READ_SECONDS))


def _now_ms() -> int:
    return int(time.monotonic() * 1000)
