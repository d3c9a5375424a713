"""A rollout that obeys halts as every rollout system does, through the library. What that hands over, the simulation
takes in its own time, and only then it is acknowledged."""

import queue
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from consumers.rollout import Halts, Order, Source, Subscriber
from consumers.rollout.duties import Status
from pipeline.halt.believe import TrustedKeys
from pipeline.halt.signing import load_private
from pipeline.halt.trust import TrustedDirectory
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.waiting import Deadline

READY_SECONDS = 30.0  # until all that stands when the rollout begins is obeyed
LOOK_SECONDS = 0.05
KEY_FILE = re.compile(r"subscriber\.(.+)\.[0-9a-f]{16}\.key\.pem")  # as `andon keys new subscriber` names it


class _Handed(NamedTuple):
    order: Order
    answers: "queue.SimpleQueue[Status]"


class Obedience:
    """What one fleet's rollout obeys, while its block runs. Without a subscriber nothing is acknowledged."""

    def __init__(
        self, kafka: KafkaConfig, trusted: TrustedKeys, fleet: str, subscriber: Subscriber | None = None
    ) -> None:
        self._halts = Halts(Source(kafka, trusted, [fleet]), subscriber)
        self._handed: queue.SimpleQueue[_Handed] = queue.SimpleQueue()
        self._is_over = False

    def _obey(self, order: Order) -> Status:
        """In a thread of the library's."""
        handed = _Handed(order, queue.SimpleQueue())
        self._handed.put(handed)
        return "requested" if self._is_over else handed.answers.get()

    def orders(self) -> Iterator[Order]:
        """What has been handed over since last time; each counts as obeyed when the next one is asked for. A simulation
        cannot go on, so a resume is none of its business."""
        while not self._handed.empty():
            handed = self._handed.get()
            yield handed.order
            handed.answers.put("confirmed" if handed.order.action == "halt" else "ignored")

    def settle(self, obey: Callable[[], None]) -> None:
        """Call `obey`, which takes `orders`, until all that stands is obeyed and acknowledged.

        Raises:
            AndonError: when that does not come.
        """
        deadline = Deadline(READY_SECONDS)
        while not self._halts.settle(LOOK_SECONDS):
            obey()
            if deadline.has_passed:
                why = "; ".join(self._halts.why_not()) or "acknowledgements are under way"
                raise AndonError(f"what stands halted is not obeyed within {READY_SECONDS:g} s: {why}")

    def __enter__(self) -> Self:
        self._halts.start(self._obey)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        while not self._handed.empty():
            self._handed.get().answers.put("requested")
        self._halts.close()


def obedience(kafka: KafkaConfig, fleet: str, keys: Path, key_file: Path | None) -> Obedience:
    """Believes what keys of a directory signed, and acknowledges with a subscriber's private key, if there is one.

    Raises:
        ConfigError: when the directory or the key is not to be used.
    """
    return Obedience(kafka, TrustedDirectory(keys), fleet, subscriber_of(key_file) if key_file is not None else None)


def subscriber_of(key_file: Path) -> Subscriber:
    """Who acknowledges with this private key, by its file's name.

    Raises:
        ConfigError: when it is not one of `andon keys new subscriber NAME`.
    """
    named = KEY_FILE.fullmatch(key_file.name)
    if named is None:
        raise ConfigError(f"{key_file}: should be subscriber.NAME.KID.key.pem, as `andon keys new subscriber` makes it")
    return Subscriber(named[1], load_private(key_file))
