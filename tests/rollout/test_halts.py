"""A subscriber on a broker: what holds is handed over until it is done with, acknowledged, and not again after that."""

import logging
import threading
from pathlib import Path

import pytest
from support.brokers import Clients
from support.rollout_world import ASKED, STRANGER, TRUSTED, Message, beat, halt, instead
from support.waiting import DEADLINE_SECONDS, until

from consumers.rollout import Gate, Halts, Order, Pace, Source, Subscriber
from pipeline.halt.believe import TrustedKey, believed_ack
from pipeline.halt.signing import SigningKey, load_or_create
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.runtime.clock import wall_clock_ms
from pipeline.wire import topics
from pipeline.wire.acks import HaltAck
from pipeline.wire.halts import decode_halt

HOUR_MS = 3_600_000
TOPICS = (topics.HALTS, topics.VERDICTS, topics.HALT_ACKS)
PACE = Pace(again_seconds=0.2, handler_seconds=0.5, backoff_seconds=0.05, doubt_seconds=0.2)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """The subscriber's."""
    return load_or_create(tmp_path / "subscriber")


class Line:
    """Topics of one test."""

    def __init__(self, clients: Clients, key: SigningKey) -> None:
        self.clients, self.key = clients, key
        self.source = Source(clients.kafka, TRUSTED, ["acme"])
        self.handed: list[Order] = []
        self._make()
        self.said: list[HaltAck] = []
        self._trusted = {key.kid: TrustedKey(key.public, "subscriber", "deployer")}

    def _make(self) -> None:
        for topic in TOPICS:
            self.clients.topic(topic.name)
        self._producer = self.clients.producer()
        self._acks = self.clients.reader(self.clients.kafka.topic_prefix + topics.HALT_ACKS.name)

    def make_anew(self) -> None:
        """All of them, empty."""
        names = {self.clients.kafka.topic_prefix + topic.name for topic in TOPICS}
        for gone in self.clients.admin.delete_topics(list(names)).values():
            gone.result(DEADLINE_SECONDS)
        until(
            "they are gone", lambda: not names & self.clients.admin.list_topics(timeout=DEADLINE_SECONDS).topics.keys()
        )
        self._make()

    def put(self, *messages: Message) -> None:
        """Acknowledged when it returns."""
        for topic, name, value in messages:
            self._producer.produce(self.clients.kafka.topic_prefix + topic, value, name)
        assert self._producer.flush(DEADLINE_SECONDS) == 0

    def halts(self) -> Halts:
        """A subscriber."""
        return Halts(self.source, Subscriber("deployer", self.key), PACE)

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


def test_a_resume_that_ends_while_it_is_followed_lets_the_halt_stand_again(line: Line) -> None:
    """Nothing comes on the topic: time alone hands the halt over again, under the resume's epoch."""
    now = wall_clock_ms()
    with line.halts().start(line.handed.append):
        line.put(beat(now), halt(1, issued_at=now, expires_at=now + HOUR_MS))
        until("it is stopped", lambda: line.acks() == [(1, "halt", "confirmed")])
        now = wall_clock_ms()
        line.put(beat(now), halt(2, "resume", issued_at=now, expires_at=now + 2_000))
        wanted = [(1, "halt", "confirmed"), (2, "resume", "confirmed"), (2, "halt", "confirmed")]
        until("it is stopped again", lambda: line.acks() == wanted)
    assert "the halt stands again" in line.handed[2].reason


def test_an_erased_record_stops_what_was_resumed(line: Line) -> None:
    """Whoever may write the topic can take a resume away, and cannot lift a halt by that."""
    now = wall_clock_ms()
    times = {"issued_at": now, "expires_at": now + HOUR_MS}
    with line.halts().start(line.handed.append):
        line.put(beat(now), halt(2, "resume", **times))
        until("it goes on", lambda: line.acks() == [(2, "resume", "confirmed")])
        line.put(instead(halt(), None))
        until("it is stopped", lambda: line.acks()[1:] == [(2, "halt", "confirmed")])
        line.put(instead(halt(version="never-seen"), None))
        until("so is what nobody knew", lambda: line.acks()[2:] == [(1, "halt", "confirmed")])
    assert [order.doubt for order in line.handed] == ["", "erased", "erased"]


def test_topics_that_are_made_anew_are_read_and_written_anew(line: Line) -> None:
    """What stood halted stays so; what comes on the new topic is handed over, and acknowledged on the new one."""
    line.put(halt(1))
    with line.halts().start(line.handed.append) as halts, Gate(line.source) as gate:
        until("it is stopped", lambda: line.acks() == [(1, "halt", "confirmed")])
        line.make_anew()
        line.put(halt(1, version="292"))
        until("the next one is stopped", lambda: line.acks()[1:] == [(1, "halt", "confirmed")])
        assert gate.decision(*ASKED[1:4], fleet="acme", ring="broad").permission == "never"
        until("all is well", lambda: halts.why_not() == [])
    assert [order.version for order in line.handed] == ["291", "292"]


def test_what_was_signed_for_another_fleet_lets_nothing_through(line: Line) -> None:
    """Another fleet's resume, moved under this one's key, is no resume; nor is one with operators' words about another
    fleet; another fleet's own records are nobody's business here."""
    now = wall_clock_ms()
    times = {"issued_at": now, "expires_at": now + HOUR_MS}
    theirs = halt(2, "resume", fleet="other", **times)
    orders = decode_halt(theirs[2] or b"").orders
    with line.halts().start(line.handed.append):
        line.put(beat(now), theirs, (theirs[0], halt()[1], theirs[2]))
        line.put(halt(2, "resume", version="292", orders=orders, **times))
        until("both are stopped", lambda: len(line.acks()) == 2)
    assert {(o.fleet, o.version, o.action, o.doubt) for o in line.handed} == {
        ("acme", "291", "halt", "wrong_key"), ("acme", "292", "halt", "unapproved"),
    }  # fmt: skip


def test_hostile_text_reaches_the_handler_as_it_is_and_no_terminal(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    """Names, rings and words of an endpoint's choosing: data for the handler; printable where people read them."""
    bad = "\x1b[2J\n'\"`$(reboot)\x00\u202e{0}%s/../"
    caplog.set_level(logging.INFO, "andon.rollout")

    def handler(order: Order) -> None:
        line.handed.append(order)
        raise RuntimeError(order.reason)

    line.put(halt(1, vendor=bad, product=bad, version=bad, rings=(bad,), reason=bad, policy=bad))
    with line.halts().start(handler):
        until("it has failed", lambda: line.acks()[:1] == [(1, "halt", "failed")])
    (order, *_) = line.handed
    assert (order.vendor, order.product, order.version, order.rings) == (bad, bad, bad, (bad,))
    assert bad in order.reason
    for said in (line.said[0].detail, *(word for r in caplog.records for word in r.getMessage().splitlines())):
        assert said.isprintable(), said


@pytest.mark.service
def test_kafka_away_hung_and_back(key: SigningKey, tmp_path: Path) -> None:
    """Nobody there at the start, then a broker, one that hangs, one that is gone, and back: at any time it is said,
    nothing goes on, and what came meanwhile is handed over."""
    broker = EmbeddedBroker(tmp_path)
    clients = Clients(broker)
    source = Source(clients.kafka, TRUSTED, ["acme"])
    handed: list[Order] = []
    with (
        Halts(source, Subscriber("deployer", key), PACE).start(handed.append) as halts,
        Gate(source, on_silence="proceed") as gate,
    ):
        until("it is said", halts.why_not)
        with broker:
            line = Line(clients, key)
            line.put(halt(1))
            until("it is stopped", lambda: line.acks() == [(1, "halt", "confirmed")])
            until("all is well", lambda: halts.why_not() == [])
            until("the gate, which reads for itself, has read it", lambda: not _proceeds(gate))
            broker.process.freeze()
            assert not _proceeds(gate)
            broker.process.thaw()
            line.put(halt(1, version="292"))
            until("the next is stopped", lambda: line.acks()[1:] == [(1, "halt", "confirmed")])
        assert not _proceeds(gate)
        with broker:
            line.put(halt(1, version="293"))
            until("and the next", lambda: [order.version for order in handed] == ["291", "292", "293"])
            assert halts.settle(DEADLINE_SECONDS)
    clients.close()


def _proceeds(gate: Gate) -> bool:
    """Whether the update that stands halted may go on, for a caller who goes on when nobody knows."""
    return gate.decision(*ASKED[1:4], fleet="acme", ring="broad").may_proceed
