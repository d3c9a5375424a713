"""One question asked until it is answered: the loop of `andon gate`. It blocks."""

import time
from collections.abc import Iterator
from contextlib import closing

from consumers.rollout.backlog import Backlog
from consumers.rollout.gate import Decision, Knowledge, Question, Shadow
from consumers.rollout.reading import READ_SECONDS, GateReader
from pipeline.halt.believe import TrustedKeys
from pipeline.runtime.clock import Clock
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.waiting import Deadline

LOOK_SECONDS = 0.5  # between two looks, if no record comes: time alone can make a heartbeat old
AGAIN_SECONDS = 1.0  # after brokers could not be reached
SETTLED = ("CLEARED", "HALTED")


def ask(
    kafka: KafkaConfig, trusted: TrustedKeys, asked: Question, shadow: Shadow, wait_seconds: float, clock: Clock
) -> Decision:
    """The answer: at once, or as soon as it is CLEARED or HALTED, at the latest after `wait_seconds`.

    Raises:
        ConfigError: for settings that no client can be made with, or a directory of keys that is not to be trusted.
    """
    gate, deadline = Knowledge(trusted, shadow), Deadline(wait_seconds)
    while True:
        try:
            for _ in _looks(kafka, gate, asked, deadline):
                decision = gate.decide(asked, clock())
                if decision.state in SETTLED or deadline.has_passed:
                    return decision
        except ConfigError:
            raise
        except AndonError as error:
            gate.lost_track(str(error))
        if deadline.has_passed:
            return gate.decide(asked, clock())
        time.sleep(min(AGAIN_SECONDS, deadline.left_seconds))


def _looks(kafka: KafkaConfig, gate: Knowledge, asked: Question, deadline: Deadline) -> Iterator[None]:
    """A turn once all was read, and whenever something may have changed since."""
    with closing(GateReader(kafka, gate, Backlog(asked))) as reader:
        reader.read(READ_SECONDS)
        while True:
            yield
            reader.follow(min(LOOK_SECONDS, deadline.left_seconds))
