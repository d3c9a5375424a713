"""Readers that stand beside the line: what is on its topics, committed only, and how long nothing came."""

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, Message, TopicPartition

from pipeline.bench.faults.ledger import Key, seen_in_partial
from pipeline.runtime.errors import AndonError
from pipeline.runtime.group_offsets import GroupOffsets
from pipeline.runtime.kafka import PROMPT, KafkaConfig
from pipeline.runtime.log_offsets import LogOffsets
from pipeline.runtime.topic_reader import OffsetRange, TopicReader
from pipeline.wire.halts import Halt, decode_halt
from pipeline.wire.partials import decode_partial
from pipeline.wire.topics import HALTS, PARTIALS

CALL_SECONDS = 5.0
POLL_SECONDS = 0.05
READ_SECONDS = 60.0

Decision = tuple[str, str, int]  # halt key, action, epoch


class Pulse:
    """The longest time between two signs of life, from `begin` or the first one to `stop`."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self._last: float | None = None

    def begin(self) -> None:
        """Silence counts from now on, unless it does already."""
        if self._last is None:
            self._last = time.monotonic()

    def beat(self) -> None:
        """A sign of life."""
        now = time.monotonic()
        if self._last is not None:
            self.longest_seconds = max(self.longest_seconds, now - self._last)
        self._last = now

    def stop(self) -> None:
        """From here on silence is no stall."""
        self._last = None


def longest_gap(moments: list[float]) -> float:
    """Between two that follow each other."""
    return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)


class Tail(threading.Thread, ABC):
    """Follows the one partition of a topic from its beginning; `take` gets every committed record."""

    def __init__(self, kafka: KafkaConfig, topic: str) -> None:
        super().__init__(name=f"tail {topic}", daemon=True)
        self.topic = topic
        self._range = OffsetRange(kafka.topic_prefix + topic, 0)
        self._reader = TopicReader(kafka, "bench-tail", settings=PROMPT)
        self._stop_asked = threading.Event()
        self._failure: Exception | None = None
        self.position = 0

    def run(self) -> None:
        """Until `close`."""
        self._reader.start([self._range])
        try:
            while not self._stop_asked.is_set():
                for message in self._reader.poll(POLL_SECONDS):
                    self.take(message)
                self.position = self._reader.position(self._range.topic, self._range.partition)
        except Exception as error:
            self._failure = error
        finally:
            self._reader.close()

    @abstractmethod
    def take(self, message: Message) -> None:
        """One record."""

    def check(self) -> None:
        """Raises AndonError when it cannot read on."""
        if self._failure is not None:
            raise AndonError(f"{self.name} failed: {self._failure!r}") from self._failure

    def close(self) -> None:
        """Leave."""
        self._stop_asked.set()
        self.join()


class Partials(Tail):
    """What the committed partials add up to."""

    def __init__(self, kafka: KafkaConfig) -> None:
        super().__init__(kafka, PARTIALS.name)
        self.seen: Counter[Key] = Counter()
        self.records: list[tuple[bytes | None, bytes]] = []
        self.by_fleet: Counter[str] = Counter()  # partials
        self.events_by_fleet: Counter[str] = Counter()
        self.pulse = Pulse()

    def take(self, message: Message) -> None:
        """See Tail."""
        raw = message.value() or b""
        partial = decode_partial(raw)
        self.seen.update(seen_in_partial(partial))  # += would go through all of them
        self.by_fleet[partial.fleet] += 1
        self.events_by_fleet[partial.fleet] += partial.events
        key: Any = message.key()
        self.records.append((key, raw))
        self.pulse.beat()


class Halts(Tail):
    """Every record of `fleet.halts`, and when it was read (monotonic seconds)."""

    def __init__(self, kafka: KafkaConfig) -> None:
        super().__init__(kafka, HALTS.name)
        self.halts: list[tuple[Halt, float]] = []

    def take(self, message: Message) -> None:
        """See Tail."""
        self.halts.append((decode_halt(message.value() or b""), time.monotonic()))

    def longest_gap(self, since: float) -> float:
        """The longest time without a halt from then until now, in seconds."""
        return longest_gap([since, *(at for _, at in self.halts if at > since), time.monotonic()])


class Broker:
    """Questions to the brokers about offsets."""

    def __init__(self, kafka: KafkaConfig) -> None:
        self._kafka = kafka
        self._logs = LogOffsets(kafka, "bench-look")
        self._groups = GroupOffsets(kafka, "bench-look")

    def ends(self, topic: str, partitions: int, isolation: IsolationLevel) -> list[int]:
        """The end of each partition, as a reader of this isolation sees it. Raises KafkaException."""
        places = [(self._kafka.topic_prefix + topic, number) for number in range(partitions)]
        found = self._logs.end(places, isolation)
        return [found[place] for place in places]

    def open_transaction(self) -> bool:
        """Whether `fleet.partials` holds records of a transaction that is not decided yet."""
        try:
            committed = self.ends(PARTIALS.name, 1, IsolationLevel.READ_COMMITTED)
            return committed < self.ends(PARTIALS.name, 1, IsolationLevel.READ_UNCOMMITTED)
        except (KafkaException, TimeoutError):
            return False

    def halts(self) -> Counter[Decision]:
        """How often each decision was said on `fleet.halts`."""
        said = [decode_halt(message.value() or b"") for message in self.read(HALTS.name)]
        return Counter((halt.key, halt.action, halt.epoch) for halt in said)

    def committed(self, group: str, topic: str, partitions: int) -> list[TopicPartition]:
        """What the group has committed, by partition. Raises KafkaException."""
        places = [TopicPartition(self._kafka.topic_prefix + topic, number) for number in range(partitions)]
        return sorted(self._groups.committed(self._kafka.topic_prefix + group, places, CALL_SECONDS))

    def read(self, topic: str, starts: Iterable[tuple[int, int, int]] = ()) -> list[Message]:
        """Every committed record of a topic, or of ranges (partition, start, end) of it.

        Raises:
            AndonError: when their end is not reached in time.
        """
        name = self._kafka.topic_prefix + topic
        with TopicReader(self._kafka, "bench", settings=PROMPT) as reader:
            reader.start([OffsetRange(name, *each) for each in starts] or reader.held(name))
            return [message for messages in reader.to_end(READ_SECONDS) for message in messages]
