"""An outside subscriber: reads topics from a group of nobody's, and notes when each record arrived."""

import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.halt.keys import TrustedKeys
from pipeline.halt.register import HaltRegister
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.runtime.kafka_log import Errors
from pipeline.wire.halts import Halt, decode_halt
from pipeline.wire.topics import Topic

METADATA_SECONDS = 10.0
POLL_SECONDS = 0.1
MAX_WAITING = 50_000  # records read and not yet taken; the reader then waits
STOP_SECONDS = 5.0


class Record(NamedTuple):
    """One record; `received_ms` is this machine's wall clock when it could first be read here."""

    topic: str
    key: bytes
    value: bytes
    received_ms: int


class Tail:
    """Reads whole topics, from their beginning, in a thread, while its block runs; read committed, commits nothing."""

    def __init__(self, config: KafkaConfig, topics: Iterable[Topic]) -> None:
        self._names = [config.topic_prefix + topic.name for topic in topics]
        self._prefix = config.topic_prefix
        self._where = config.bootstrap_servers
        settings = client_config(config, "andon-tail")
        self._errors = Errors()
        self._admin = AdminClient(settings | self._errors.settings)
        self._consumer = Consumer(
            settings
            | {
                "group.id": "andon-tail",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
                "fetch.queue.backoff.ms": 2,
            }
        )
        self._records: queue.Queue[Record] = queue.Queue(MAX_WAITING)
        self._stopping = threading.Event()
        self._failure = ""
        self._thread = threading.Thread(target=self._read, name="andon-tail", daemon=True)

    def __enter__(self) -> "Tail":
        self._consumer.assign(self._partitions())
        self._thread.start()
        return self

    def _partitions(self) -> list[TopicPartition]:
        try:
            known = self._admin.list_topics(timeout=METADATA_SECONDS).topics
        except KafkaException as error:
            why = self._errors.why(error, self._admin.poll)
            raise AndonError(f"no Kafka broker answers at {self._where}: {why}") from None
        for name in self._names:
            if name not in known:
                raise AndonError(f"topic {name} does not exist: create it with `andon topics apply`")
        return [TopicPartition(name, number, 0) for name in self._names for number in known[name].partitions]

    def _read(self) -> None:
        while not self._stopping.is_set():
            message = self._consumer.poll(POLL_SECONDS)
            if message is None:
                continue
            if message.error() is not None:
                self._failure = str(message.error())
                continue
            topic = str(message.topic()).removeprefix(self._prefix)
            record = Record(topic, message.key() or b"", message.value() or b"", wall_clock_ms())
            while not self._stopping.is_set():
                try:
                    self._records.put(record, timeout=POLL_SECONDS)
                    break
                except queue.Full:
                    continue

    def take(self) -> Iterator[Record]:
        """What has arrived since the last time."""
        while True:
            try:
                yield self._records.get_nowait()
            except queue.Empty:
                return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)
        self._consumer.close()


class Obedience:
    """What a rollout system makes of the halt topic: halts that a trusted key signed, each epoch once."""

    def __init__(self, trusted: TrustedKeys) -> None:
        self._register = HaltRegister(trusted)
        self._epochs: dict[str, int] = {}
        self.refused: list[str] = []  # why records were not believed

    def read(self, value: bytes) -> Halt | None:
        """The halt or resume to obey, or None for what was obeyed before or cannot be believed."""
        try:
            halt = decode_halt(value)
        except ValueError as error:
            self.refused.append(f"undecodable: {error}")
            return None
        if reason := self._register.learn(halt):
            self.refused.append(reason)
            return None
        if halt.epoch <= self._epochs.get(halt.key, 0):
            return None
        self._epochs[halt.key] = halt.epoch
        return halt
