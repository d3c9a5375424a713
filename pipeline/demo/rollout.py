"""What the demo is played on, and who its rollout is: a subscriber with a key of its own, known to the line."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from consumers.rollout import Subscriber
from pipeline.demo.watch import Watch
from pipeline.halt import keyring
from pipeline.halt.trust import TrustedDirectory
from pipeline.local import guide
from pipeline.local.stack import StackInfo
from pipeline.simulate.obedience import Obedience
from pipeline.simulate.obedience import subscriber_of as subscriber_with
from pipeline.simulate.sinks import KafkaSink, Sink
from pipeline.simulate.tail import Tail
from pipeline.wire import topics

NAME = "demo-rollout"


class Line(NamedTuple):
    """Where events go, where orders come from, and who sees what is said."""

    sink: Sink
    rollout: Obedience
    watch: Watch


@contextlib.contextmanager
def watching(info: StackInfo) -> Iterator[Watch]:
    """What any reader sees, as long as the block runs."""
    with Tail(info.kafka, [topics.HALTS, topics.VERDICTS, topics.HALT_ACKS]) as tail:
        yield Watch(tail, TrustedDirectory(guide.keys_of(info)))


@contextlib.contextmanager
def obeying(info: StackInfo, fleet: str, watch: Watch) -> Iterator[Line]:
    """A fleet's rollout, as long as the block runs."""
    with Obedience(info.kafka, TrustedDirectory(guide.keys_of(info)), fleet, subscriber_of(info)) as rollout:
        yield Line(KafkaSink(info.kafka), rollout, watch)


def subscriber_of(info: StackInfo) -> Subscriber:
    """The demo's, with its key in the line's data directory and the public half among the line's trusted keys; made
    when it is not there.

    Raises:
        ConfigError: when the directories are not to be trusted.
    """
    place = Path(info.data_dir) / NAME
    row = next((row for row in keyring.look(place).keys if row.name == NAME), None) if place.is_dir() else None
    private = place / row.private_file if row is not None else keyring.make("subscriber", NAME, place).private
    for public in place.glob(f"subscriber.{NAME}.*.pub.pem"):
        shutil.copy(public, guide.keys_of(info))
    return subscriber_with(private)
