"""One subscriber at work: what holds is read, handed over and acknowledged until it is stopped. It blocks; handlers run
elsewhere."""

import logging
import threading
import time

from confluent_kafka import KafkaException

from consumers.rollout.acknowledging import AckWriter, OwnAcks, Subscriber, Unsaid
from consumers.rollout.duties import Duties, Outcome, Pace
from consumers.rollout.follower import Follower, Source
from consumers.rollout.handlers import MAX_HANGING, WORKERS, Runner
from consumers.rollout.orders import Orders
from pipeline.runtime.clock import Clock, wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.logging import printable
from pipeline.runtime.waiting import Deadline

CLIENT = "andon-subscriber"
READ_ACKS_SECONDS = 15.0  # past it a halt may be handed over once more: better than not at all
LOOK_SECONDS = 1.0  # between two looks at what time alone changes
SETTLE_SECONDS = 0.05  # the same, while somebody waits until all is settled
ANOTHER_SECONDS = 60.0  # between two words on another subscriber of this name
LAST_SECONDS = 5.0  # at the end, for acknowledgements that are under way
log = logging.getLogger("andon.rollout")


class Working:
    """What `Halts` and `AsyncHalts` share. `run` in one thread; `stop` from any."""

    def __init__(self, source: Source, subscriber: Subscriber | None, pace: Pace, clock: Clock = wall_clock_ms) -> None:
        self.follower = Follower(source, CLIENT)
        self.acks = AckWriter(source.kafka, subscriber, clock) if subscriber is not None else Unsaid()
        self._own = OwnAcks(source.kafka, subscriber) if subscriber is not None else None
        self._name, self._clock = subscriber.name if subscriber is not None else "", clock
        self._orders, self._duties = Orders(self.follower.knowledge.record, source.named()), Duties(pace)
        self._stopping = threading.Event()
        self._look, self._another = Deadline(0), Deadline(0)
        self._seen = -1
        self._turned_at = time.monotonic()
        self._asked, self._settled = threading.Event(), threading.Event()  # of `settle`
        self._ended = ""  # why nothing is handed over at all
        self._reads_own = False  # whether the own acknowledgements are followed

    # -- for others

    def why_not(self) -> list[str]:
        """Why it is not obeying as it should; empty when it is."""
        found = [each for each in (self._ended, self.follower.trouble) if each]
        if hanging := self._duties.hanging:
            found.append(f"{hanging} handler(s) do not return")
        if (waiting := self.acks.waiting) > WORKERS:
            found.append(f"{waiting} acknowledgements could not be written yet")
        return found

    def still_seconds(self) -> float:
        """For how long the work has not turned; handlers do not hold it up."""
        return time.monotonic() - self._turned_at

    def stop(self) -> None:
        """Ask for the end."""
        self._stopping.set()
        self.follower.wake()

    def settle(self, seconds: float) -> bool:
        """Wait until all that holds is done with and acknowledged; whether that came in time."""
        self._settled.clear()
        self._asked.set()
        self.follower.wake()
        return self._settled.wait(seconds)

    def _is_settled(self) -> bool:
        if self._duties.running or self.acks.waiting or self._seen != self.follower.changes:
            return False
        return not self._duties.unsettled  # last, as it looks at all

    # -- the work

    def run(self, runner: Runner) -> None:
        """Until `stop`; what is under way then is acknowledged if it ends within moments.

        Raises:
            ConfigError: for settings that no client can be made with.
        """
        try:
            self._work(runner)
        except BaseException as error:
            self._ended = f"it has ended: {type(error).__name__}: {error}"
            raise
        self._ended = "it has ended"

    def _work(self, runner: Runner) -> None:
        self.follower.start()
        try:
            self._begin()
            while not self._stopping.is_set():
                self._turn_or_say(runner)
            end = Deadline(LAST_SECONDS)
            while self._duties.running > self._duties.hanging and not end.has_passed:
                wakes = self.follower.wakes
                self._take(runner)
                self._wait(wakes, min(0.1, end.left_seconds))
            self._take(runner)
        finally:
            self.follower.close()
            if self._own is not None:
                self._own.close()
            if left := self.acks.close(LAST_SECONDS):
                log.warning("%d acknowledgements were not written: what they are about is handed over again", left)

    def _begin(self) -> None:
        """What was acknowledged before, and what holds: both read to their end."""
        while not self._stopping.is_set() and not self.follower.ready.wait(0.1):
            self._turned_at = time.monotonic()
        if self._stopping.is_set() or self._own is None:
            return
        try:
            for ack in self._own.read(READ_ACKS_SECONDS):
                if not ack.doubt:
                    self._duties.remember(ack.halt_key, ack.epoch, ack.action, ack.status)
            self._reads_own = True
        except (AndonError, KafkaException) as error:
            log.warning("what was acknowledged before cannot be read, so it may be handed over again: %s", error)

    def _turn_or_say(self, runner: Runner) -> None:
        self._turned_at = time.monotonic()
        """A thread that ends unseen would be deaf for good."""
        try:
            self._turn(runner)
            self._ended = ""
        except Exception as error:
            self._ended = printable(f"{type(error).__name__}: {error}")
            log.exception("obeying failed; it is tried again")
            self._stopping.wait(LOOK_SECONDS)

    def _turn(self, runner: Runner) -> None:
        wakes = self.follower.wakes
        self._take(runner)
        now = time.monotonic()
        if self._look.has_passed or self.follower.changes != self._seen:
            with self.follower.news:
                self._seen = self.follower.changes
                changes = self._orders.changes(self._clock())
            self._duties.hold(changes, now)
        for outcome in self._duties.overdue(now):
            log.warning("%s %s: %s", outcome.order.action, printable(outcome.order.key), outcome.detail)
            self.acks.put(outcome)
            runner.give_up(outcome.order)
        room = WORKERS + self._duties.hanging - self._duties.running if self._duties.hanging < MAX_HANGING else 0
        for order in self._duties.due(now, room):
            runner.begin(order)
        if self._look.has_passed:
            self._look = Deadline(LOOK_SECONDS)
            self._see_others()
        self.acks.poll()
        if self._asked.is_set() and self._is_settled():
            self._asked.clear()
            self._settled.set()
        look = SETTLE_SECONDS if self._asked.is_set() else LOOK_SECONDS
        self._wait(wakes, min(look, self._duties.next_at() - now) if room else look)

    def _wait(self, wakes: int, seconds: float) -> None:
        """For a word from the topics or a handler."""
        with self.follower.news:
            self.follower.news.wait_for(lambda: self.follower.wakes != wakes, max(0.0, seconds))

    def _see_others(self) -> None:
        """Two subscribers of one name each take the other's word for their own when they begin."""
        if self._own is None or not self._reads_own:
            return
        strangers = [ack for ack in self._own.look() if not self.acks.is_own(ack)]
        if strangers and self._another.has_passed:
            self._another = Deadline(ANOTHER_SECONDS)
            log.warning(
                "another subscriber acknowledges as %s with the same key (%s of %s): give each its own name and key",
                self._name, strangers[-1].status, printable(strangers[-1].halt_key),
            )  # fmt: skip

    def _take(self, runner: Runner) -> None:
        """What handlers have said."""
        now = time.monotonic()
        while not runner.ended.empty():
            order, done, raised, again_soon = runner.ended.get()
            outcome: Outcome | None
            if raised:
                outcome = self._duties.raised(order, raised, now, again_soon)
            else:
                outcome = self._duties.returned(order, done.status, done.detail, now)
            if outcome is not None:
                self.acks.put(outcome)
