"""`andon gate` from outside, on a broker: exit codes, the line and the row, what waits and what ends it."""

import json
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from support.brokers import Clients
from support.outside import ANDON
from support.rollout_world import ASKED, NOW
from support.waiting import DEADLINE_SECONDS, until

from pipeline.decide.orders import HaltOrder
from pipeline.halt.issue import issue
from pipeline.halt.issuer import HaltIssuer
from pipeline.halt.signing import load_or_create, load_trusted
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.runtime.clock import wall_clock_ms
from pipeline.wire import topics
from pipeline.wire.halts import Evidence, Halt, encode_halt
from pipeline.wire.spans import DAY_MS
from pipeline.wire.verdicts import Explanation, FleetHeartbeat, StandingHalt, Verdict, encode_verdict

pytestmark = pytest.mark.service
UPDATE = "/".join(ASKED[1:4])
FIGURES: dict[str, Any] = {
    "log10_evidence": 7.2,
    "threshold": 6.0,
    "basis": "concurrent",
    "observed": 5,
    "expected": 0.01,
    "relative_risk": (900.0, 10_000.0),
    "crashed_hosts": 5,
    "exposed_trials": 40,
    "explanation": Explanation("signature", "0x50", "csagent.sys"),
}


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class Line:
    """Topics of one test, the correlator's key, and what is said with it."""

    def __init__(self, clients: Clients, place: Path) -> None:
        self.clients, self.keys = clients, place / "keys"
        key = load_or_create(self.keys)
        self.issuer = HaltIssuer(key, load_trusted(self.keys), DAY_MS)
        self.stranger = HaltIssuer(load_or_create(place / "stranger"), {}, DAY_MS)
        self.producer: Producer = clients.producer()
        for topic in (topics.HALTS, topics.VERDICTS):
            clients.topic(topic.name, cleanup_policy="compact")

    def put(self, topic: topics.Topic, key: str, value: bytes | None) -> None:
        """Acknowledged when it returns."""
        self.producer.produce(self.clients.kafka.topic_prefix + topic.name, value, key)
        assert self.producer.flush(DEADLINE_SECONDS) == 0

    def halt(self, issuer: HaltIssuer | None = None) -> Halt:
        """A halt of the update, as the correlator issues it."""
        evidence = Evidence(**FIGURES, stream_time=NOW)
        order = HaltOrder("enforce", *ASKED[:4], ("*",), "6367f8bfea40", "5 hosts crashed", evidence)
        halt = (issuer or self.issuer).answer(order, wall_clock_ms())
        assert halt is not None
        self.put(topics.HALTS, halt.key, encode_halt(halt))
        return halt

    def beat(self, age_ms: int = 0, *standing: StandingHalt) -> None:
        """A heartbeat."""
        at = wall_clock_ms() - age_ms
        beat = FleetHeartbeat(
            fleet="acme", at=at, stream_time=at, live_updates=1, events=9, offset=3, standing=standing,
            standing_total=len(standing),
        )  # fmt: skip
        self.put(topics.VERDICTS, beat.key, encode_verdict(self.issuer.signed(beat)))

    def verdict(self, state: Any, **other: Any) -> None:
        """The verdict on the update in the ring."""
        names = dict(zip(("fleet", "vendor", "product", "version", "ring"), ASKED, strict=True))
        verdict = Verdict(**names | FIGURES | {"state": state, "at": NOW} | other)
        self.put(topics.VERDICTS, verdict.key, encode_verdict(self.issuer.signed(verdict)))

    def environment(self, **other: str) -> dict[str, str]:
        """Of the command."""
        return os.environ | {
            "ANDON_KAFKA_BOOTSTRAP_SERVERS": self.clients.kafka.bootstrap_servers,
            "ANDON_KAFKA_TOPIC_PREFIX": self.clients.kafka.topic_prefix,
            "ANDON_TRUST_KEYS_DIR": str(self.keys),
            **other,
        }

    def start(self, *options: str, stdout: Any = subprocess.PIPE, **environment: str) -> subprocess.Popen[str]:
        """The command, asked for the update."""
        argv = [ANDON, "gate", UPDATE, "--fleet", "acme", "--ring", "broad", *options]
        env = self.environment(**environment)
        # What the tests' own parent lets them ignore, as nohup does, the command would ignore, too.
        return subprocess.Popen(
            argv, stdout=stdout, stderr=subprocess.PIPE, text=True, env=env, preexec_fn=_heed_signals
        )

    def gate(self, *options: str, **environment: str) -> tuple[int, str]:
        """Its exit code, and all that it printed."""
        return ended(self.start(*options, **environment))


def _heed_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and output."""
    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    return process.returncode, (out or "") + err


@pytest.fixture
def line(embedded: EmbeddedBroker, tmp_path: Path) -> Iterator[Line]:
    """Topics of the test's own."""
    clients = Clients(embedded, f"gate-{uuid.uuid4().hex[:6]}.")
    yield Line(clients, tmp_path)
    clients.close()


def test_from_silence_to_a_halt_and_what_disturbs_it(line: Line) -> None:
    """3 while no heartbeat is heard, 2 while nothing is known, 0 once cleared; a forged record on the key, a halt, and
    its tombstone are 1; an old heartbeat is 3."""
    line.verdict("watching", needs_trials=41_000)
    assert line.gate()[0] == 3
    line.beat(60_000)
    assert line.gate()[0] == 3
    line.beat()
    code, said = line.gate()
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"WATCHING {UPDATE} in broad of acme: not decided: needs 41,000 more trials")
    line.verdict("cleared", at=NOW + 1)
    assert line.gate()[0] == 0
    forged = line.halt(line.stranger)
    assert line.gate()[0] == 1
    halt = line.halt()
    code, said = line.gate("--json")
    row = json.loads(said)
    assert (code, row["state"], row["rule"], row["permission"]) == (1, "HALTED", "halted", "never")
    assert msgspec.convert(row["halt"], Halt) == halt
    assert halt.epoch == forged.epoch
    line.put(topics.HALTS, halt.key, None)
    assert line.gate()[0] == 1


def test_a_halt_that_is_gone_is_missed(line: Line) -> None:
    """The heartbeat names it, and no record is there: 1; once the correlator has put it back, it is halted again."""
    line.verdict("cleared")
    halt = issue(HaltOrder("enforce", *ASKED[:4], ("*",), "", "because", Evidence(**FIGURES, stream_time=1)), None, 6, NOW, 1)  # fmt: skip # noqa: E501
    assert halt is not None
    line.beat(0, StandingHalt(halt.key, halt.epoch))
    code, said = line.gate()
    assert (code, "the heartbeat names it as halted" in said) == (1, True)
    back = line.issuer.restored(halt, wall_clock_ms())
    line.put(topics.HALTS, back.key, encode_halt(back))
    code, said = line.gate()
    assert (code, "halted in every ring by andon: because" in said) == (1, True)


def test_it_waits_for_an_answer(line: Line) -> None:
    """What is cleared, or halted, meanwhile ends the waiting at once; else the time does, with what is missing."""
    line.beat()
    assert line.gate("--wait", "1s")[0] == 2
    line.verdict("watching")
    waiting = line.start("--wait", "30m")
    line.verdict("cleared", at=NOW + 1)
    assert ended(waiting)[0] == 0
    line.beat()
    line.verdict("watching", at=NOW + 2)
    waiting = line.start("--wait", "30m")
    line.halt()
    assert ended(waiting)[0] == 1


def test_who_cannot_be_reached_is_silent(line: Line) -> None:
    """No broker, or no topics: 3 and a row that says why."""
    waiting = line.start("--json", ANDON_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    code, said = line.gate("--json", ANDON_KAFKA_TOPIC_PREFIX="nobody.")
    assert (code, json.loads(said)["state"]) == (3, "DETECTOR_SILENT")
    assert "nobody.fleet.verdicts does not exist" in json.loads(said)["reason"]
    code, said = ended(waiting)
    assert (code, json.loads(said)["rule"]) == (3, "unread")
    assert "no Kafka broker answers at 127.0.0.1:1" in json.loads(said)["reason"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing argument"),
        (["--help"], "Usage:"),
        (["a/b", "--fleet", "f", "--ring", "r"], "should be VENDOR/PRODUCT/VERSION"),
        (["a//c", "--fleet", "f", "--ring", "r"], "1 to 128 characters"),
        (["a/b/c", "--fleet", "f"], "Missing option '--ring'"),
        (["a/b/c", "--fleet", "f", "--ring", "r", "--wait", "30"], "30m"),
        (["a/b/c", "--fleet", "f", "--ring", "r", "--nosuch"], "No such option"),
        (["a/b/c", "--fleet", "f", "--ring", "r"], "trust.keys_dir"),
        (["a/b/c", "--fleet", "f", "--ring", "r", "--security-protocol", "SSH"], "kafka.security_protocol"),
    ],
)
def test_what_is_not_understood(words: list[str], said: str) -> None:
    """4, where click would say 2, or 0 after its help: neither is an answer about an update."""
    done = subprocess.run(
        [ANDON, "gate", *words], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert (done.returncode, said in done.stdout + done.stderr) == (4, True), done.stderr


def test_an_exception_is_no_halt(line: Line, tmp_path: Path) -> None:
    """3, where Python would say 1: a library that cannot be loaded, an output that takes nothing."""
    broken = tmp_path / "broken"
    (broken / "confluent_kafka").mkdir(parents=True)
    (broken / "confluent_kafka" / "__init__.py").write_text("raise RuntimeError('broken')\n", "utf-8")
    code, said = line.gate(PYTHONPATH=str(broken))
    assert (code, "RuntimeError: broken" in said) == (3, True)
    line.beat()
    line.verdict("cleared")
    with Path("/dev/full").open("w") as full:
        assert ended(line.start(stdout=full))[0] == 3


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_no_answer(line: Line, number: signal.Signals) -> None:
    """3 at once, though it waits: also inside of a call that takes its time."""
    process = line.start("--wait", "30m", ANDON_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    until("the command handles signals", lambda: _handles(process.pid, number))
    process.send_signal(number)
    code, said = ended(process)
    assert (code, f"ended by {number.name}" in said) == (3, True)


def _handles(pid: int, number: int) -> bool:
    """Whether the process has a handler of its own for a signal, and has begun to wait."""
    status = dict(row.split(":\t", 1) for row in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in row)
    return bool(int(status["SigCgt"], 16) >> (number - 1) & 1) and int(status["Threads"]) > 2
