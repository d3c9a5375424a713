"""What `fleet.halts` says by now: committed records, from its beginning to its end, and then what comes. Blocking: call
it in a thread."""

import threading
from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import KafkaException, Message

from pipeline.correlate.config import GROUP
from pipeline.correlate.ports import HaltRecord, HaltsRead
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_reader import OffsetRange, TopicReader
from pipeline.wire import topics

TIMEOUT_SECONDS = 30.0
LOOK_TIMEOUT_SECONDS = 5.0  # of a look, which comes again
CLIENT = "andon-correlate-halts"


def read_halts(config: KafkaConfig) -> list[HaltRecord]:
    """Every record in the topic's order.

    Raises:
        AndonError: when the end is not reached in time. Deciding without it might say things twice.
    """
    with TopicReader(config, CLIENT, GROUP) as reader:
        reader.start(reader.whole(config.topic_prefix + topics.HALTS.name))
        return [_mark(message).record for messages in reader.to_end(TIMEOUT_SECONDS) for message in messages]


class _Mark(NamedTuple):
    """The last record that was read of a partition: a log that has another one there is not the log of before."""

    offset: int
    stamp_ms: int
    record: HaltRecord


class HaltsFollower:
    """Reads the topic again and again, each time what has come since. To be closed; safe for several threads.

    Between two reads nothing is fetched. A topic that was deleted and made anew, whatever it holds by now, is read from
    its beginning, and so is one whose last record was cleaned away.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._topic = config.topic_prefix + topics.HALTS.name
        self._reader: TopicReader | None = None
        self._marks: dict[int, _Mark] | None = None
        self._lock = threading.Lock()

    def read(self, anew: bool = False) -> HaltsRead:
        """What has come since the last time, or everything; that is for sure if `anew`.

        Raises:
            AndonError: when the topic is not there, or its end is not reached in time; the next read begins anew.
        """
        with self._lock:
            marks, self._marks = None if anew else self._marks, None
            if self._reader is None:
                self._reader = TopicReader(self._config, CLIENT, GROUP)
            try:
                held = self._reader.held(self._topic)
                since = None if marks is None else self._since(self._reader, held, marks)
                if since is not None:
                    return HaltsRead(False, since)
                return HaltsRead(True, self._take(self._reader, held, {}) or [])
            except KafkaException as error:
                raise AndonError(f"{self._topic}: {error.args[0].str()}") from None

    def _since(
        self, reader: TopicReader, held: list[OffsetRange], marks: dict[int, _Mark]
    ) -> Sequence[HaltRecord] | None:
        """From the last record that is known, which must be there as it was; None when it is not."""
        ranges = []
        for each in held:
            mark = marks.get(each.partition)
            if mark is not None and not each.start <= mark.offset < (each.end or 0):
                return None
            ranges.append(each if mark is None else each._replace(start=mark.offset))
        return self._take(reader, ranges, marks)

    def _take(
        self, reader: TopicReader, ranges: list[OffsetRange], marks: dict[int, _Mark]
    ) -> Sequence[HaltRecord] | None:
        """The records of these ranges behind the marks, each of which must be there; None when one is not."""
        found: list[HaltRecord] = []
        expected = dict(marks)
        newest = dict(marks)
        for message in _messages(reader.start(ranges)):
            mark = _mark(message)
            newest[message.partition() or 0] = mark
            before = expected.pop(message.partition() or 0, None)
            if before is None:
                found.append(mark.record)
            elif before != mark:
                return None
        if expected:
            return None
        self._marks = newest
        return found

    def close(self) -> None:
        """Let go of the client."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None


def _messages(reader: TopicReader) -> list[Message]:
    return [message for messages in reader.to_end(LOOK_TIMEOUT_SECONDS) for message in messages]


def _mark(message: Message) -> _Mark:
    record = HaltRecord(message.key(), message.value())
    return _Mark(message.offset() or 0, message.timestamp()[1], record)
