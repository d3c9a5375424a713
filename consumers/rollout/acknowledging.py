"""A subscriber's acknowledgements on `fleet.halt-acks`: written until the brokers have them, and its own read again."""

import contextlib
import logging
import threading
from collections import OrderedDict
from functools import partial
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from consumers.rollout.duties import Outcome
from pipeline.halt.believe import TrustedKey, believed_ack
from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.signing import SigningKey
from pipeline.runtime.clock import Clock
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.runtime.logging import printable
from pipeline.runtime.seldom import Seldom
from pipeline.runtime.topic_reader import TopicReader
from pipeline.wire import topics
from pipeline.wire.acks import HaltAck, encode_ack

CLIENT = "andon-subscriber"
GROUP = "rollout-subscriber"  # joined by nobody; for the right to a group that begins so
MAX_WRITTEN = 20_000  # signatures of own records, to tell them from another's
DELIVERY_MS = 10_000  # of one try; what is not there then is sent again
log = logging.getLogger("andon.rollout")

_Of = tuple[str, int, str]  # key, epoch, action


class Subscriber(NamedTuple):
    """Who acknowledges: the name that its public key stands under in the directories of those who read it."""

    name: str
    key: SigningKey


class AckWriter:
    """Signs and sends. What the brokers have not acknowledged is sent again, the newest word on each order. Safe to
    call from any thread; `poll` serves it."""

    def __init__(self, kafka: KafkaConfig, subscriber: Subscriber, clock: Clock) -> None:
        self._topic = kafka.topic_prefix + topics.HALT_ACKS.name
        self._subscriber, self._clock = subscriber, clock
        self._settings = producer_config(kafka, CLIENT, **{"message.timeout.ms": DELIVERY_MS, "linger.ms": 0})
        self._producer = Producer(self._settings)
        self._lock = threading.Lock()
        self._unsent: OrderedDict[_Of, HaltAck] = OrderedDict()
        self._under_way: dict[_Of, HaltAck] = {}
        self._written: OrderedDict[str, None] = OrderedDict()
        self._seldom = Seldom()

    def put(self, outcome: Outcome) -> None:
        """To be acknowledged."""
        order = outcome.order
        ack = self._subscriber.key.sign_word(
            HaltAck(
                halt_key=order.key,
                epoch=order.epoch,
                action=order.action,
                subscriber=self._subscriber.name,
                status=outcome.status,
                at=self._clock(),
                detail=printable(outcome.detail),
                doubt=order.doubt,
            )
        )
        with self._lock:
            self._unsent[order.key, order.epoch, order.action] = ack
            self._written[ack.sig] = None
            while len(self._written) > MAX_WRITTEN:
                self._written.popitem(last=False)

    @property
    def waiting(self) -> int:
        """Acknowledgements that the brokers do not have yet."""
        with self._lock:
            return len(self._unsent) + len(self._under_way)

    def is_own(self, ack: HaltAck) -> bool:
        """Whether this very process wrote it, as far as it remembers."""
        with self._lock:
            return ack.sig in self._written

    def poll(self) -> None:
        """Send what waits, and learn what has arrived; waits for nothing."""
        try:
            self._producer.poll(0)
            self._send()
            self._producer.poll(0)
        except (BufferError, KafkaException) as error:
            self._say(str(error))
            if isinstance(error, KafkaException):
                self._begin_anew()

    def _send(self) -> None:
        with self._lock:
            for of, ack in list(self._unsent.items()):
                self._producer.produce(
                    self._topic, encode_ack(ack), ack.halt_key, on_delivery=partial(self._arrived, of, ack)
                )
                self._under_way[of] = self._unsent.pop(of)

    def _begin_anew(self) -> None:
        """What raises here is fatal, as when the topic was made anew: this producer sends nothing any more."""
        with self._lock:
            self._unsent = OrderedDict({**self._under_way, **self._unsent})
            self._under_way.clear()
        self._producer = Producer(self._settings)

    def _arrived(self, of: _Of, ack: HaltAck, error: KafkaError | None, _: Message) -> None:
        """What the brokers say of a record."""
        with self._lock:
            if self._under_way.get(of) is ack:  # else there is a newer word on it
                del self._under_way[of]
                if error is not None:
                    self._unsent.setdefault(of, ack)
        if error is not None:
            self._say(error.str())

    def _say(self, why: str) -> None:
        if self._seldom.turn(why) is not None:
            log.warning("%s: an acknowledgement could not be written, and is sent again: %s", self._topic, why)

    def close(self, seconds: float) -> int:
        """Wait so long for what is under way; how many the brokers do not have."""
        self.poll()
        with contextlib.suppress(KafkaException):
            self._producer.flush(seconds)
        return self.waiting


class Unsaid:
    """Of one who obeys and says nothing: a drill, a simulation."""

    waiting = 0

    def put(self, outcome: Outcome) -> None:
        """Nothing."""

    def is_own(self, ack: HaltAck) -> bool:
        """Nothing is."""
        return False

    def poll(self) -> None:
        """Nothing."""

    def close(self, seconds: float) -> int:
        """Nothing is left."""
        return 0


class OwnAcks:
    """What was acknowledged under this name with this key. A context manager is not needed: `close` it."""

    def __init__(self, kafka: KafkaConfig, subscriber: Subscriber) -> None:
        self._topic = kafka.topic_prefix + topics.HALT_ACKS.name
        self._name = subscriber.name
        self._trusted = {subscriber.key.kid: TrustedKey(subscriber.key.public, "subscriber", subscriber.name)}
        self._mark = f'"kid":"{subscriber.key.kid}"'.encode()
        self._reader = TopicReader(kafka, CLIENT, GROUP, {"fetch.wait.max.ms": 50})

    def read(self, seconds: float) -> list[HaltAck]:
        """All of them to the topic's committed end, in their order.

        Raises:
            AndonError: when the topic is not there, may not be read, or is not read in time.
        """
        self._reader.start(self._reader.whole(self._topic))
        return [ack for messages in self._reader.to_end(seconds) for ack in self._own(messages)]

    def look(self) -> list[HaltAck]:
        """What has come since, as far as the brokers let it be read."""
        return self._own(self._reader.poll(0))

    def _own(self, messages: list[Message]) -> list[HaltAck]:
        found = []
        for message in messages:
            key, value = message.key(), message.value() or b""
            if self._mark in value:  # a verification takes a thousand times as long
                try:
                    found.append(believed_ack(key.encode() if isinstance(key, str) else key, value, self._trusted))
                except UntrustedRecord as error:
                    log.warning("%s: not this subscriber's, though it says so: %s", self._topic, error.reason)
        return found

    def close(self) -> None:
        """Let go of the client."""
        self._reader.close()
