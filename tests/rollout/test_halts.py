"""A subscriber on a broker: what holds is handed over until it is done with, acknowledged, and not again after that."""

import threading
from pathlib import Path

import pytest
from support.brokers import Clients
from support.rollout_world import STRANGER, TRUSTED, Message, beat, halt
from support.waiting import DEADLINE_SECONDS, until

from consumers.rollout import Halts, Order, Pace, Source, Subscriber
from pipeline.halt.believe import TrustedKey, believed_ack
from pipeline.halt.signing import SigningKey, load_or_create
from pipeline.runtime.clock import wall_clock_ms
from pipeline.wire import topics
from pipeline.wire.acks import HaltAck

PACE = Pace(again_seconds=0.2, handler_seconds=0.5, backoff_seconds=0.05, doubt_seconds=0.2)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """The subscriber's."""
    return load_or_create(tmp_path / "subscriber")


class Line:
    """Topics of one test."""

    def __init__(self, clients: Clients, key: SigningKey) -> None:
        self.clients, self.key = clients, key
        self.handed: list[Order] = []
        for topic in (topics.HALTS, topics.VERDICTS, topics.HALT_ACKS):
            clients.topic(topic.name)
        self._producer = clients.producer()
        self._acks = clients.reader(clients.kafka.topic_prefix + topics.HALT_ACKS.name)
        self.said: list[HaltAck] = []
        self._trusted = {key.kid: TrustedKey(key.public, "subscriber", "deployer")}

    def put(self, *messages: Message) -> None:
        """Acknowledged when it returns."""
        for topic, name, value in messages:
            self._producer.produce(self.clients.kafka.topic_prefix + topic, value, name)
        assert self._producer.flush(DEADLINE_SECONDS) == 0

    def halts(self) -> Halts:
        """A subscriber."""
        return Halts(Source(self.clients.kafka, TRUSTED, ["acme"]), Subscriber("deployer", self.key), PACE)

    def acks(self) -> list[tuple[int, str, str]]:
        """What was acknowledged so far, all of it signed by the subscriber."""
        while (message := self._acks.poll(0.05)) is not None:
            assert message.error() is None
            name = message.key()
            assert isinstance(name, bytes)
            self.said.append(believed_ack(name, message.value() or b"", self._trusted))
        return [(ack.epoch, ack.action, ack.status) for ack in self.said]


@pytest.fixture
def line(clients: Clients, key: SigningKey) -> Line:
    """Topics of the test's own."""
    return Line(clients, key)


def test_a_halt_and_its_resume_are_handed_over_and_acknowledged_once(line: Line) -> None:
    """A renewal is no new halt; a restart hands nothing over that was confirmed."""
    now = wall_clock_ms()
    later = {"issued_at": now, "expires_at": now + 600_000}
    line.put(halt(1, **later))
    with line.halts().start(lambda order: line.handed.append(order)):
        until("the halt is confirmed", lambda: line.acks() == [(1, "halt", "confirmed")])
        line.put(halt(1, issued_at=now + 1, expires_at=now + 700_000), beat(now), halt(2, "resume", **later))
        until("the resume is confirmed", lambda: line.acks()[1:] == [(2, "resume", "confirmed")])
    with line.halts().start(lambda order: line.handed.append(order)):
        line.put(halt(3, **later))
        until("the next halt is confirmed", lambda: line.acks()[2:] == [(3, "halt", "confirmed")])
    assert [(order.epoch, order.action) for order in line.handed] == [(1, "halt"), (2, "resume"), (3, "halt")]


def test_a_handler_that_raises_then_says_requested_is_asked_until_it_is_done(line: Line) -> None:
    """Some tries, then `failed`; `requested` is handed over again; `confirmed` ends it."""
    calls: list[int] = []

    def handler(order: Order) -> str:
        calls.append(order.epoch)
        if len(calls) <= PACE.attempts:
            raise RuntimeError("no\x1b[2J")
        return "requested" if len(calls) == PACE.attempts + 1 else "confirmed"

    line.put(halt(1))
    with line.halts().start(handler):  # type: ignore[arg-type]
        wanted = [(1, "halt", status) for status in ("failed", "requested", "confirmed")]
        until("it is confirmed", lambda: line.acks() == wanted)
    assert line.said[0].detail == r"RuntimeError: no\x1b[2J"


def test_a_handler_that_hangs_has_failed_and_is_not_run_beside_itself(line: Line) -> None:
    """Its answer counts when it comes."""
    go_on, calls = threading.Event(), []

    def handler(order: Order) -> None:
        calls.append(order.epoch)
        go_on.wait(DEADLINE_SECONDS)

    line.put(halt(1))
    with line.halts().start(handler):
        until("it has failed", lambda: line.acks() == [(1, "halt", "failed")])
        go_on.set()
        until("it is confirmed", lambda: line.acks()[1:] == [(1, "halt", "confirmed")])
    assert calls == [1]


def test_what_cannot_be_believed_is_obeyed_as_a_halt(line: Line) -> None:
    """A forged resume lifts nothing; a forged record of an update stops it, and says why."""
    line.put(halt(1, "resume", key=STRANGER))
    with line.halts().start(lambda order: line.handed.append(order)):
        until("it is stopped", lambda: line.acks() == [(1, "halt", "confirmed")])
    assert line.handed[0].doubt == "unknown_key"
