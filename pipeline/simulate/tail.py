"""An outside subscriber: reads topics from a group of nobody's, and notes when each record arrived."""

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import NamedTuple

from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.kafka import PROMPT, KafkaConfig
from pipeline.runtime.topic_reader import TopicReader
from pipeline.wire.topics import Topic

POLL_SECONDS = 0.1
MAX_WAITING = 50_000  # records read and not yet taken; the reader then waits
STOP_SECONDS = 5.0


class ReceivedRecord(NamedTuple):
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
        self._reader = TopicReader(config, "andon-tail", settings=PROMPT)
        self._records: queue.Queue[ReceivedRecord] = queue.Queue(MAX_WAITING)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, name="andon-tail", daemon=True)

    def __enter__(self) -> "Tail":
        self._reader.start(self._reader.whole(*self._names))
        self._thread.start()
        return self

    def _read(self) -> None:
        while not self._stopping.is_set():
            for message in self._reader.poll(POLL_SECONDS):
                topic = str(message.topic()).removeprefix(self._prefix)
                self._put(ReceivedRecord(topic, message.key() or b"", message.value() or b"", wall_clock_ms()))

    def _put(self, record: ReceivedRecord) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                self._records.put(record, timeout=POLL_SECONDS)
                return

    def take(self) -> Iterator[ReceivedRecord]:
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
        self._reader.close()
