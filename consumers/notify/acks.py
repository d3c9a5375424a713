"""What subscribers say of halts: `fleet.halt-acks`, followed as long as halts are."""

import logging

from confluent_kafka import KafkaException, Message

from pipeline.halt.believe import TrustedKeys, believed_ack
from pipeline.halt.errors import UntrustedRecord
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.seldom import Seldom
from pipeline.runtime.topic_reader import TopicReader
from pipeline.runtime.waiting import Deadline
from pipeline.wire import topics
from pipeline.wire.acks import HaltAck

CLIENT = "andon-notify-acks"
GROUP = "rollout-notify"  # joined by nobody; for the right to a group that begins so
READ_SECONDS = 15.0
AGAIN_SECONDS = 10.0  # after it could not be read
LOOK_SECONDS = 1.0  # on a broker that would be asked all the time
MAX_ACKS = 100_000  # the oldest are let go
log = logging.getLogger("andon.notify")

_Of = tuple[str, str, int, str]  # subscriber, halt key, epoch, action


class Acks:
    """The believed ones, of each order every subscriber's first and newest of a status. Not for several threads."""

    def __init__(self, kafka: KafkaConfig, trusted: TrustedKeys) -> None:
        self._kafka, self._trusted = kafka, trusted
        self._topic = kafka.topic_prefix + topics.HALT_ACKS.name
        self._reader: TopicReader | None = None
        self._again, self._seldom = Deadline(0), Seldom()
        self._found: dict[tuple[_Of, str], HaltAck] = {}
        self.trouble = "not read yet"

    @property
    def all(self) -> list[HaltAck]:
        """Those that there are."""
        return list(self._found.values())

    def look(self) -> bool:
        """Take in what has come; whether there was anything. What cannot be read is tried again later, and said."""
        if self._reader is None and not self._again.has_passed:
            return False
        try:
            messages = self._begin() if self._reader is None else self._reader.poll(0)
            if self._reader is not None and self._reader.fault is not None:
                raise AndonError(self._reader.fault.str())
        except (AndonError, KafkaException) as error:
            self._lost(str(error))
            return False
        self.trouble = ""
        return sum(self._take(message) for message in messages) > 0

    def _begin(self) -> list[Message]:
        self._reader = TopicReader(self._kafka, CLIENT, GROUP, {"fetch.wait.max.ms": 50}, LOOK_SECONDS)
        self._reader.start(self._reader.whole(self._topic))
        return [message for messages in self._reader.to_end(READ_SECONDS) for message in messages]

    def _take(self, message: Message) -> bool:
        key = message.key()
        try:
            ack = believed_ack(key.encode() if isinstance(key, str) else key, message.value() or b"", self._trusted)
        except UntrustedRecord as error:
            if (more := self._seldom.turn("forged")) is not None:
                log.warning("%s: an acknowledgement is not believed: %s %s", self._topic, error.reason, more)
            return False
        of = (ack.subscriber, ack.halt_key, ack.epoch, ack.action)
        first = self._found.setdefault((of, f"first {ack.status}"), ack)
        self._found[of, "newest"] = ack
        while len(self._found) > MAX_ACKS:
            del self._found[next(iter(self._found))]
        return first is ack

    def _lost(self, why: str) -> None:
        self.trouble = f"who obeys is unknown: {why}"
        if self._seldom.turn(why[:40]) is not None:
            log.warning("%s cannot be followed: %s", self._topic, why)
        self.close()
        self._again = Deadline(AGAIN_SECONDS)

    def close(self) -> None:
        """Let go of the client."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
