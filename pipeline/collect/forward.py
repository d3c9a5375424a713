"""To the broker: one producer, one countdown a request, and no thread.

Delivery callbacks need the interpreter lock once a message. Polled from a second thread, each of them waits for the
event loop to let go of it; polled from the loop itself, a request's 200 callbacks run in one go.
"""

import asyncio
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.collect.refusals import buffer_full
from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.runtime.kafka_log import spoken
from pipeline.runtime.metrics import BUFFERED
from pipeline.runtime.seldom import Seldom
from pipeline.wire import topics
from pipeline.wire.deadletter import DeadLetter

POLL_SECONDS = 0.001  # adds at most this to an acknowledgement; a poll costs about a microsecond
LISTEN_SECONDS = 1.0
MAX_DEADLETTER_BYTES = 512 * 1024  # a Kafka message is limited to 1 MB by default


class Delivery:
    """Counts a batch down as the broker answers; `done` gets the number of messages that were not acknowledged."""

    __slots__ = ("done", "failed", "left")

    def __init__(self, count: int, done: asyncio.Future[int]) -> None:
        self.left = count
        self.failed = 0
        self.done = done

    def __call__(self, error: KafkaError | None, _message: Message) -> None:
        """Delivery callback, shared by the whole batch."""
        if error is not None:
            self.failed += 1
        self.left -= 1
        if not self.left:
            self.done.set_result(self.failed)

    def abandon(self, count: int) -> None:
        """`count` messages were never handed over."""
        self.left -= count
        self.failed += count
        if not self.left:
            self.done.set_result(self.failed)


class Forwarder:
    """Hands events and dead letters to the producer; at most `limit` messages are under way at once."""

    def __init__(self, kafka: KafkaConfig, limit: int, delivery_timeout_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._log = structlog.get_logger(stage="collect")
        self._seldom = Seldom()
        self._limit = limit
        self._events_topic = kafka.topic_prefix + topics.EVENTS.name
        self._deadletter_topic = kafka.topic_prefix + topics.DEADLETTER.name
        self._pumping = False
        self._acknowledging = True
        self.in_flight = 0
        self.fatal = self._loop.create_future()
        more: dict[str, Any] = {
            "message.timeout.ms": int(delivery_timeout_seconds * 1000),
            "linger.ms": 5,  # measured: less costs a tenth more CPU an event, more only adds waiting
            "error_cb": self._on_error,
            **spoken(self._log),
        }
        self._producer = Producer(producer_config(kafka, "andon-collect", **more))
        self._listen()

    def check_room(self, count: int) -> None:
        """Raises Refusal: 429 while `count` more messages would be too many under way."""
        if self.in_flight + count > self._limit:
            raise buffer_full(f"{self.in_flight} events are waiting for the broker, at most {self._limit} may")

    def send(self, events: list[tuple[str, bytes]]) -> asyncio.Future[int]:
        """Hand over (host, bytes). The future, once all have an answer, holds how many were not acknowledged."""
        delivery = self._begin(len(events))
        produce, topic = self._producer.produce, self._events_topic
        handed_over = 0
        try:
            for host, raw in events:
                produce(topic, raw, host, on_delivery=delivery)
                handed_over += 1
        except (BufferError, KafkaException) as error:
            self._give_up(delivery, len(events) - handed_over, error)
        return delivery.done

    def bury(self, letters: list[DeadLetter]) -> None:
        """Send dead letters without waiting: the sender is told of each refusal in the answer anyway."""
        delivery = self._begin(len(letters))
        handed_over = 0
        try:
            for letter in letters:
                value = letter.value[:MAX_DEADLETTER_BYTES]
                headers: list[tuple[str, str | bytes | None]] = [*letter.headers()]
                self._producer.produce(self._deadletter_topic, value, letter.key, on_delivery=delivery, headers=headers)
                handed_over += 1
        except (BufferError, KafkaException) as error:
            self._give_up(delivery, len(letters) - handed_over, error)

    def _begin(self, count: int) -> Delivery:
        """So many are about to be handed over."""
        delivery = Delivery(count, self._loop.create_future())
        if not count:
            delivery.done.set_result(0)
            return delivery
        delivery.done.add_done_callback(lambda done: self._settle(count, done.result()))
        self.in_flight += count
        self._pump_soon()
        return delivery

    def _give_up(self, delivery: Delivery, count: int, error: Exception) -> None:
        if (more := self._seldom.turn("hand over")) is not None:
            self._log.warning("cannot hand over to the producer", error=str(error), **more)
        delivery.abandon(count)

    def _settle(self, count: int, failed: int) -> None:
        self.in_flight -= count
        BUFFERED.set(self.in_flight)
        if bool(failed) == self._acknowledging:
            self._acknowledging = not failed
            if failed:
                self._log.error("the broker does not acknowledge; senders are told to retry", failed=failed)
            else:
                self._log.info("the broker acknowledges again")

    def _pump_soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._loop.call_later(POLL_SECONDS, self._pump)

    def _listen(self) -> None:
        """Without events under way too: what the client says would pile up, and a fatal error go unnoticed."""
        self._producer.poll(0)
        self._loop.call_later(LISTEN_SECONDS, self._listen)

    def _pump(self) -> None:
        self._pumping = False
        self._producer.poll(0)
        if self.in_flight:
            self._pump_soon()

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() and not self.fatal.done():
            self.fatal.set_result(error.str())

    def missing_topics(self, timeout_seconds: float) -> list[str]:
        """Topics of ours that the cluster lacks. Blocks; raises KafkaException when no broker answers in time."""
        found = self._producer.list_topics(timeout=timeout_seconds).topics
        return [name for name in (self._events_topic, self._deadletter_topic) if name not in found]

    def check(self) -> None:
        """Raises FatalStageError when the producer cannot go on."""
        if self.fatal.done():
            raise FatalStageError(f"the Kafka producer cannot go on: {self.fatal.result()}")

    def flush(self, timeout_seconds: float) -> int:
        """Wait for what is under way; blocks. The number of messages still not acknowledged."""
        left: int = self._producer.flush(timeout_seconds)
        return left
