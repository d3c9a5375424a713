"""Programs that obey, in processes of their own: the page's deployer as it stands there, one that is killed again and
again, two of one name, and coroutines."""

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from support.brokers import Clients
from support.rollout_world import ANN, ASKED, BOB, DETECTOR, NAMES, TRUSTED, Message, beat, halt, verdict
from support.waiting import DEADLINE_SECONDS, until

from consumers.rollout import AsyncGate, AsyncHalts, Gate, Halts, Order, Pace, Source, Subscriber
from pipeline.halt.believe import TrustedKey, believed_ack
from pipeline.halt.signing import load_or_create
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.runtime.clock import wall_clock_ms
from pipeline.wire import topics
from pipeline.wire.acks import HaltAck

pytestmark = pytest.mark.service
PAGE = Path(__file__).parents[2] / "docs" / "rollout.md"
KILLS, HALTS = 20, 40
# Notes what it is asked, on disk, then takes its time, so that kills come amid handlers.
LEDGER = """
import json, os, sys, time
from consumers.rollout import Halts
def obey(order):
    with open(sys.argv[1], "a") as ledger:
        ledger.write(json.dumps([order.version, order.epoch, order.action]) + "\\n")
        ledger.flush()
        os.fsync(ledger.fileno())
    time.sleep(0.1)
Halts.configured().run(obey)
"""


class World:
    """Topics, keys and settings of one test."""

    def __init__(self, clients: Clients, place: Path) -> None:
        self.clients, self.place = clients, place
        for topic in (topics.HALTS, topics.VERDICTS, topics.HALT_ACKS):
            clients.topic(topic.name)
        keys = place / "trusted"
        for operator in (ANN, BOB):
            operator.is_trusted_in(keys)
        form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (keys / f"{DETECTOR.kid}.pub.pem").write_bytes(DETECTOR.public.public_bytes(*form))
        (keys / f"{DETECTOR.kid}.pub.pem").chmod(0o644)
        self.key = load_or_create(place / "own")
        self.subscriber = Subscriber("deployer", self.key)
        self.source = Source(clients.kafka, TRUSTED, ["acme"])
        self._producer = clients.producer()
        self._acks = clients.reader(clients.kafka.topic_prefix + topics.HALT_ACKS.name)
        self._said: list[HaltAck] = []
        self._trusted = {self.key.kid: TrustedKey(self.key.public, "subscriber", "deployer")}

    def put(self, *messages: Message) -> None:
        """Acknowledged when it returns."""
        for topic, name, value in messages:
            self._producer.produce(self.clients.kafka.topic_prefix + topic, value, name)
        assert self._producer.flush(DEADLINE_SECONDS) == 0

    def acks(self) -> list[HaltAck]:
        """All so far; none that the subscriber did not sign."""
        while (message := self._acks.poll(0.05)) is not None:
            name = message.key()
            assert isinstance(name, bytes)
            self._said.append(believed_ack(name, message.value() or b"", self._trusted))
        return self._said

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """A program of Python, configured by its environment."""
        environ = os.environ | {
            "ANDON_KAFKA_BOOTSTRAP_SERVERS": self.clients.kafka.bootstrap_servers,
            "ANDON_KAFKA_TOPIC_PREFIX": self.clients.kafka.topic_prefix,
            "ANDON_TRUST_KEYS_DIR": str(self.place / "trusted"),
            "ANDON_SUBSCRIBER_NAME": "deployer",
            "ANDON_SUBSCRIBER_KEY_FILE": str(self.place / "own" / "signing.key.pem"),
            "ANDON_SUBSCRIBER_FLEETS": "acme",
        }
        return subprocess.Popen(
            [sys.executable, *argv],
            cwd=self.place,
            env=environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture
def world(embedded: EmbeddedBroker, tmp_path: Path) -> Iterator[World]:
    """Topics of the test's own."""
    clients = Clients(embedded, f"obey-{uuid.uuid4().hex[:6]}.")
    yield World(clients, tmp_path)
    clients.close()


def now_on() -> dict[str, int]:
    """A halt's times."""
    now = wall_clock_ms()
    return {"issued_at": now, "expires_at": now + 3_600_000}


def test_the_pages_deployer_does_what_the_page_says(world: World) -> None:
    """It goes on where the update is cleared, stops at a halt, is stopped when it begins anew, goes on once resumed."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (world.place / "deployer").write_text(program, "utf-8")
    argv = ("deployer", *ASKED)

    def ended() -> tuple[int, str]:
        process = world.start(*argv)
        said, _ = process.communicate(timeout=DEADLINE_SECONDS)
        return process.returncode, said

    world.put(beat(wall_clock_ms()), verdict(at=wall_clock_ms()))
    assert ended() == (0, "goes on after broad\n")
    world.put(halt(1, **now_on()))
    for _ in range(2):
        code, said = ended()
        assert (code, "stopped after broad: " in said) == (1, True), said
    until("the halt is confirmed", lambda: [ack.status for ack in world.acks()] == ["confirmed"])
    world.put(halt(2, "resume", **now_on()), beat(wall_clock_ms()))
    until("it goes on", lambda: world.put(beat(wall_clock_ms())) or ended()[0] == 0)
    assert [(ack.action, ack.status) for ack in world.acks()] == [("halt", "confirmed"), ("resume", "confirmed")]


def test_killed_amid_handlers_it_skips_none_and_confirms_each_once(world: World) -> None:
    """Every halt is handed over at least once, by the ledger, whatever was killed; and acknowledged once."""
    ledger = world.place / "ledger"
    versions = [f"v{number}" for number in range(HALTS)]

    def noted() -> list[str]:
        return [json.loads(line)[0] for line in ledger.read_text().splitlines()] if ledger.exists() else []

    for kill in range(KILLS):
        world.put(*(halt(1, version=version, **now_on()) for version in versions[kill::KILLS]))
        before = len(noted())
        process = world.start("-c", LEDGER, str(ledger))
        try:
            until("a handler runs", lambda before=before: len(noted()) > before)  # type: ignore[misc]
        finally:
            process.kill()
            process.communicate(timeout=DEADLINE_SECONDS)
    process = world.start("-c", LEDGER, str(ledger))
    try:
        until("all are confirmed", lambda: len(world.acks()) >= HALTS)
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_SECONDS)
    confirmed = Counter((ack.halt_key.rpartition("/")[2], ack.status) for ack in world.acks())
    assert confirmed == Counter({(version, "confirmed"): 1 for version in versions})
    assert set(noted()) == set(versions)


def test_two_of_one_name_are_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Each would take the other's word for its own."""
    caplog.set_level(logging.WARNING, "andon.rollout")

    def obey(_: Order) -> None:
        """Done at once."""

    def told() -> bool:
        return any("another subscriber acknowledges as deployer" in record.getMessage() for record in caplog.records)

    with (
        Halts(world.source, world.subscriber).start(obey),
        Halts(world.source, world.subscriber).start(obey),
    ):
        versions = iter(range(1_000))
        until("it is told", lambda: world.put(halt(version=f"v{next(versions)}", **now_on())) or told())


def test_coroutines_obey_and_ask(world: World) -> None:
    """The handler is awaited in the caller's loop; one that takes too long is cancelled, and has failed."""
    handed: list[Order] = []

    async def obey(order: Order) -> None:
        handed.append(order)
        if len(handed) == 1:
            await asyncio.sleep(DEADLINE_SECONDS)

    async def work() -> None:
        pace = Pace(again_seconds=0.1, handler_seconds=0.3)
        async with AsyncHalts(world.source, world.subscriber, pace) as halts, AsyncGate(world.source) as gate:
            running = asyncio.create_task(halts.run(obey))
            decision = await gate.wait(*ASKED[1:4], fleet="acme", ring="broad", seconds=DEADLINE_SECONDS)
            assert decision.rule == "halted"
            while [ack.status for ack in world.acks()] != ["failed", "confirmed"]:
                await asyncio.sleep(0.01)
            halts.stop()
            await running

    world.put(beat(wall_clock_ms()), halt(**now_on()))
    asyncio.run(asyncio.wait_for(work(), DEADLINE_SECONDS))
    assert len(handed) == 2


def test_what_the_caller_chose_for_silence_opens_nothing_that_stands_halted(world: World) -> None:
    """Even an expired one; and what is not halted goes on only if the caller chose so."""
    old = wall_clock_ms() - 10_000_000
    world.put(halt(issued_at=old, expires_at=old + 1_000), beat(old))
    names = {key: NAMES[key] for key in ("vendor", "product")}
    for choice, goes_on in (("hold", False), ("proceed", True)):
        with Gate(world.source, on_silence=choice) as gate:  # type: ignore[arg-type]
            held = gate.decision(**names, version="291", fleet="acme", ring="broad")
            other = gate.decision(**names, version="292", fleet="acme", ring="broad")
        assert (held.may_proceed, other.may_proceed) == (False, goes_on)
        assert (other.state, other.on_silence) == ("DETECTOR_SILENT", choice)


def test_it_needs_none_of_the_lines_packages() -> None:
    """A deployer of somebody else's loads no Faust, numpy, pyarrow or chdb."""
    code = (
        "import sys, consumers.rollout as r\n"
        "[getattr(r, name) for name in r.__all__]\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'faust', 'numpy', 'pyarrow', 'chdb'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert done.stdout == "[]\n", done.stderr
