"""What is known of some fleets, kept up in a thread of its own: read, followed, and read anew after every trouble."""

import logging
import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing
from typing import NamedTuple

from confluent_kafka import KafkaException

from consumers.rollout.backlog import FleetBacklog
from consumers.rollout.gate import Knowledge, OnSilence, Shadow
from consumers.rollout.reading import READ_SECONDS, GateReader
from pipeline.halt.believe import TrustedKeys
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.kafka_log import meaning
from pipeline.runtime.log_offsets import LogOffsets
from pipeline.runtime.logging import printable
from pipeline.runtime.seldom import Seldom
from pipeline.runtime.waiting import Deadline

FOLLOW_SECONDS = 0.5  # of one wait for records
AGAIN_SECONDS = 1.0  # after brokers could not be reached
ANEW_SECONDS = 5.0  # between two looks whether the topics are still the ones that they were
STOP_SECONDS = 5.0
log = logging.getLogger("andon.rollout")


class Source(NamedTuple):
    """Whose records are read, from where, and who is believed. `fleets`: None for every one, which `Halts` refuses."""

    kafka: KafkaConfig
    trusted: TrustedKeys
    fleets: Collection[str] | None

    def named(self) -> Collection[str]:
        """Raises ValueError when none is named: nobody obeys for every fleet there may ever be by mistake."""
        if not self.fleets or isinstance(self.fleets, str):
            raise ValueError("fleets: name at least one, as a list")
        return self.fleets


class Follower:
    """Keeps `knowledge` up from `start` to `close`; hold `news`, a condition, while you look at it. What was once known
    to stand halted stays known, whatever becomes of the topics."""

    def __init__(
        self,
        source: Source,
        client: str,
        shadow: Shadow = "watching",
        on_silence: OnSilence = "hold",
        look_seconds: float | None = None,
    ) -> None:
        """`look_seconds`: how much later it may hear of something, for who has time."""
        self._look_seconds = look_seconds
        self._fleets = "every one" if source.fleets is None else printable(", ".join(sorted(source.named())))
        self._source, self._client = source, client
        self.knowledge = Knowledge(source.trusted, shadow, on_silence)
        self.news = threading.Condition()
        self.wakes = self.changes = 0  # how often whoever waits was woken, and how often what is known has changed
        self.ready = threading.Event()  # both topics have been read to their end, once
        self.trouble = "they are being read"  # why they are not being followed now; "" when they are
        self._stopping = threading.Event()
        self._seldom = Seldom()
        self._thread = threading.Thread(target=self._run, name=client, daemon=True)

    def start(self) -> None:
        """Begin.

        Raises:
            ConfigError: for settings that no client can be made with.
        """
        self._reader().close()
        self._thread.start()

    def close(self) -> None:
        """Stop; returns when the thread has ended, or after some seconds."""
        self._stopping.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(STOP_SECONDS)

    def wake(self) -> None:
        """Whoever waits for news looks again."""
        with self.news:
            self.wakes += 1
            self.news.notify_all()

    def _changed(self) -> None:
        with self.news:
            self.changes += 1
        self.wake()

    def _reader(self) -> GateReader:
        backlog = FleetBacklog(self._source.fleets)
        return GateReader(self._source.kafka, self.knowledge, backlog, self._client, self.news, self._look_seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except (AndonError, KafkaException, TimeoutError) as error:
                self._lost(meaning(error))
            except Exception as error:  # a thread that ends unseen would be deaf for good
                self._lost(f"{type(error).__name__}: {error}")
                log.exception("reading what stands halted failed; it is begun anew")
            self._stopping.wait(AGAIN_SECONDS)

    def _follow(self) -> None:
        with ExitStack() as stack:
            reader = stack.enter_context(closing(self._reader()))
            logs = LogOffsets(self._source.kafka, f"{self._client}-logs")
            reader.read(READ_SECONDS)
            self._changed()
            logs.made_anew(reader.places)
            self._found()
            look = Deadline(ANEW_SECONDS)
            while not self._stopping.is_set():
                if reader.follow(FOLLOW_SECONDS):
                    self._changed()
                if look.has_passed:
                    look = Deadline(ANEW_SECONDS)
                    if others := self._asked(lambda: logs.made_anew(reader.places)):
                        raise AndonError(f"{', '.join(sorted(others))}: not the topic that it was: it is read anew")

    def _asked(self, ask: Callable[[], set[str]]) -> set[str]:
        """Brokers that do not answer here are no reason to begin anew: what is not heard is silence soon enough."""
        try:
            found = ask()
        except (KafkaException, TimeoutError) as error:
            self._say(f"the brokers do not answer: {meaning(error)}")
            return set()
        self._found()
        return found

    def _found(self) -> None:
        if self.trouble:
            log.info("what stands halted is followed: fleets %s", self._fleets)
        self.trouble = ""
        self.ready.set()
        self.wake()

    def _lost(self, why: str) -> None:
        with self.news:
            self.knowledge.lost_track(printable(why))
        self._changed()
        self._say(why)

    def _say(self, why: str) -> None:
        self.trouble = printable(why)
        if not self._stopping.is_set() and self._seldom.turn(why[:40]) is not None:
            log.warning("fleet.halts cannot be followed: %s; what stood halted stays so", self.trouble)
