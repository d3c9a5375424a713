"""A rollout system that obeys: which halts of the topic it believes, and has not obeyed before."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.halt.believe import believed_halt
from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.safety import ERASED
from pipeline.halt.signing import TrustedKeys
from pipeline.halt.trust import TrustedDirectory
from pipeline.runtime.kafka import KafkaConfig
from pipeline.simulate.tail import Tail
from pipeline.wire import topics
from pipeline.wire.halts import Halt


class Obedience:
    """What a rollout system makes of the halt topic: halts that a trusted key signed, each epoch once."""

    def __init__(self, trusted: TrustedKeys) -> None:
        self._trusted = trusted
        self._epochs: dict[str, int] = {}
        self.refused: Counter[str] = Counter()  # why records were not believed, and how many

    def read(self, key: bytes, value: bytes) -> Halt | None:
        """The halt or resume to obey, or None for what was obeyed before or cannot be believed."""
        if not value:
            self.refused[ERASED] += 1
            return None
        try:
            halt = believed_halt(key, value, self._trusted)
        except UntrustedRecord as error:
            self.refused[error.reason] += 1
            return None
        if halt.epoch <= self._epochs.get(halt.key, 0):
            return None
        self._epochs[halt.key] = halt.epoch
        return halt


class HaltReader:
    """Follows `fleet.halts` while its block runs, and obeys what a key of the directory signed."""

    def __init__(self, kafka: KafkaConfig, keys: Path) -> None:
        self._obedience = Obedience(TrustedDirectory(keys))
        self._tail = Tail(kafka, [topics.HALTS])

    @property
    def refused(self) -> Counter[str]:
        """Why records were not believed, and how many."""
        return self._obedience.refused

    def halts(self) -> Iterator[Halt]:
        """Those that have come since last time."""
        for record in self._tail.take():
            halt = self._obedience.read(record.key, record.value)
            if halt is not None:
                yield halt

    def __enter__(self) -> Self:
        self._tail.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tail.__exit__(kind, error, trace)
