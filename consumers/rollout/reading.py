"""A gate's knowledge from Kafka: both topics to their committed end, and then what comes."""

from types import TracebackType
from typing import Self

from confluent_kafka import Message

from consumers.rollout.backlog import Backlog
from consumers.rollout.gate import Gate, Question
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_reader import TopicReader
from pipeline.wire import topics

CLIENT = "andon-gate"
GROUP = "rollout-gate"  # joined by nobody; for the right to a group that begins so
READ_SECONDS = 15.0
# The end of a topic shows when a fetch finds nothing, which the broker answers after so long.
SETTINGS = {"fetch.wait.max.ms": 50, "fetch.queue.backoff.ms": 2}


class GateReader:
    """Feeds a gate what one question needs. A context manager; every call ends within its time."""

    def __init__(self, kafka: KafkaConfig, gate: Gate, asked: Question) -> None:
        self._kafka, self._gate, self._asked = kafka, gate, asked
        self._backlog = Backlog(asked)
        self._reader = TopicReader(kafka, CLIENT, GROUP, SETTINGS)

    def read(self, seconds: float = READ_SECONDS) -> None:
        """Both topics, from their beginning to their committed end.

        Raises:
            AndonError: when one is not there, may not be read, or is not read in time.
        """
        names = [self._kafka.topic_prefix + topic.name for topic in (topics.VERDICTS, topics.HALTS)]
        self._reader.start(self._reader.whole(*names))
        for messages in self._reader.to_end(seconds):
            self._put(messages)
        self._put(self._reader.poll())  # what has come on the one while the other was read
        self._feed()
        self._gate.caught_up()

    def follow(self, seconds: float) -> None:
        """What comes; for the first record it waits so long.

        Raises:
            AndonError: when the brokers refuse.
        """
        self._put(self._reader.poll(seconds))
        self._feed()
        if self._reader.fault is not None:
            raise AndonError(f"{topics.HALTS.name} and {topics.VERDICTS.name}: {self._reader.fault.str()}")

    def _put(self, messages: list[Message]) -> None:
        is_halt = self._kafka.topic_prefix + topics.HALTS.name
        for message in messages:
            put = self._backlog.put_halt if message.topic() == is_halt else self._backlog.put_word
            key = message.key()
            put(key.encode() if isinstance(key, str) else key, message.value())

    def _feed(self) -> None:
        for key, value in self._backlog.words():
            self._gate.take_word(key, value)
        for key, value in self._backlog.halts():
            self._gate.take_halt(key, value)
        beat = self._gate.record.beats.get(self._asked.fleet)
        if beat is not None and beat.standing_total > len(beat.standing or ()):  # it counts more than it names
            for key, value in self._backlog.others():
                self._gate.take_halt(key, value)

    def close(self) -> None:
        """Let go of the client."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
