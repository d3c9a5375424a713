"""A gate's knowledge from Kafka: both topics to their committed end, and then what comes."""

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Self

from confluent_kafka import Message

from consumers.rollout.backlog import Waiting
from consumers.rollout.gate import Knowledge
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_reader import OffsetRange, TopicReader
from pipeline.wire import topics

CLIENT = "andon-gate"
GROUP = "rollout-gate"  # joined by nobody; for the right to a group that begins so
READ_SECONDS = 15.0
# The end of a topic shows when a fetch finds nothing, which the broker answers after so long.
UNSHARED: AbstractContextManager[object] = nullcontext()
SETTINGS = {"fetch.wait.max.ms": 50, "fetch.queue.backoff.ms": 2}


class GateReader:
    """Feeds what is known of both topics, as much as the backlog lets through. A context manager; every call ends
    within its time. `lock` is held while something is taken in; `look_seconds` as of QuietConsumer.

    Raises:
        ConfigError: for settings that no client can be made with.
    """

    def __init__(
        self,
        kafka: KafkaConfig,
        knowledge: Knowledge,
        backlog: Waiting,
        client: str = CLIENT,
        lock: AbstractContextManager[object] = UNSHARED,
        look_seconds: float | None = None,
    ) -> None:
        self._kafka, self._knowledge, self._backlog, self._lock = kafka, knowledge, backlog, lock
        self._reader = TopicReader(kafka, client, GROUP, SETTINGS, look_seconds)
        self._whole: list[OffsetRange] = []

    @property
    def places(self) -> list[tuple[str, int]]:
        """What is read: topics as the cluster names them, and partitions."""
        return [(each.topic, each.partition) for each in self._whole]

    def read(self, seconds: float = READ_SECONDS) -> None:
        """Both topics, from their beginning to their committed end.

        Raises:
            AndonError: when one is not there, may not be read, or is not read in time.
        """
        names = [self._kafka.topic_prefix + topic.name for topic in (topics.VERDICTS, topics.HALTS)]
        self._whole = self._reader.whole(*names)
        self._reader.start(self._whole)
        for messages in self._reader.to_end(seconds):
            self._put(messages)
        self._put(self._reader.poll())  # what has come on the one while the other was read
        with self._lock:
            self._backlog.feed(self._knowledge)
            self._knowledge.caught_up()

    def follow(self, seconds: float) -> bool:
        """What comes; for the first record it waits so long. Whether anything was taken in.

        Raises:
            AndonError: when the brokers refuse.
        """
        self._put(self._reader.poll(seconds))
        with self._lock:
            is_news = self._backlog.feed(self._knowledge)
        if self._reader.fault is not None:
            raise AndonError(f"{topics.HALTS.name} and {topics.VERDICTS.name}: {self._reader.fault.str()}")
        return is_news

    def _put(self, messages: list[Message]) -> None:
        halts_topic = self._kafka.topic_prefix + topics.HALTS.name
        for message in messages:
            put = self._backlog.put_halt if message.topic() == halts_topic else self._backlog.put_word
            key = message.key()
            put(key.encode() if isinstance(key, str) else key, message.value())

    def close(self) -> None:
        """Let go of the client."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
