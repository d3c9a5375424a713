"""`andon halts` from outside, on a broker, without ClickHouse: what it says, and that it never hangs."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.brokers import Clients
from support.outside import ANDON
from support.rollout_world import ASKED, NAMES
from support.waiting import DEADLINE_SECONDS

from pipeline.halt.signing import SigningKey, load_or_create
from pipeline.halts.page import MOST_LINES
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.machine.ports import free_port
from pipeline.runtime.clock import wall_clock_ms
from pipeline.wire import topics
from pipeline.wire.acks import HaltAck, encode_ack
from pipeline.wire.halts import Evidence, Halt, encode_halt
from pipeline.wire.verdicts import Explanation, FleetHeartbeat, StandingHalt, Verdict, encode_verdict

pytestmark = pytest.mark.service
KEY = ASKED.halt_key
EVIDENCE = Evidence(
    log10_evidence=7.2, threshold=6.0, basis="concurrent", observed=5, expected=0.01, relative_risk=(900.0, 10_000.0),
    crashed_hosts=5, exposed_trials=40, explanation=Explanation("signature", "0x50", "csagent.sys"), stream_time=1,
)  # fmt: skip


class Line:
    """Topics with one halt that a subscriber has confirmed, and a forged acknowledgement; keys that are trusted."""

    def __init__(self, clients: Clients, place: Path) -> None:
        self.clients, self.keys, self.now = clients, place / "keys", wall_clock_ms()
        key, subscriber = load_or_create(self.keys), SigningKey(Ed25519PrivateKey.generate())
        public = subscriber.public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (self.keys / f"subscriber.sccm.{subscriber.kid}.pub.pem").write_bytes(public)
        for topic in (topics.HALTS, topics.VERDICTS):
            clients.topic(topic.name, cleanup_policy="compact")
        clients.topic(topics.HALT_ACKS.name)
        halt = key.sign(
            Halt(
                action="halt", rings=("*",), epoch=1, issued_at=self.now, expires_at=self.now + 3_600_000,
                decided_by="andon", policy="", reason="5 hosts crashed", evidence=EVIDENCE, kid="", **NAMES,
            )
        )  # fmt: skip
        figures = {name: getattr(EVIDENCE, name) for name in Evidence.__struct_fields__ if name != "stream_time"}
        verdict = Verdict(**NAMES, **figures, ring="broad", state="halted", at=self.now, spreading_hosts_per_minute=4.0)
        beat = FleetHeartbeat(
            fleet="acme", at=self.now, stream_time=self.now, live_updates=1, events=9, offset=3,
            standing=(StandingHalt(KEY, 1),), standing_total=1,
        )  # fmt: skip
        ack = HaltAck(halt_key=KEY, epoch=1, subscriber="sccm", status="confirmed", at=self.now + 1_500)
        forged = msgspec.structs.replace(ack, subscriber="intune")
        self.producer: Producer = clients.producer()
        self._put(topics.VERDICTS, verdict.key, encode_verdict(key.sign_word(verdict)))
        self._put(topics.HALTS, KEY, encode_halt(halt))
        self._put(topics.VERDICTS, beat.key, encode_verdict(key.sign_word(beat)))
        self._put(topics.HALT_ACKS, KEY, encode_ack(subscriber.sign_word(ack)))
        self._put(topics.HALT_ACKS, KEY, encode_ack(subscriber.sign_word(forged)))

    def _put(self, topic: topics.Topic, key: str, value: bytes) -> None:
        self.producer.produce(self.clients.kafka.topic_prefix + topic.name, value, key)
        assert self.producer.flush(DEADLINE_SECONDS) == 0

    def ask(self, *words: str, **environment: str) -> tuple[int, str, str]:
        """Exit code, standard output and error of `andon halts`."""
        env = os.environ | {
            "ANDON_KAFKA_BOOTSTRAP_SERVERS": self.clients.kafka.bootstrap_servers,
            "ANDON_KAFKA_TOPIC_PREFIX": self.clients.kafka.topic_prefix,
            "ANDON_TRUST_KEYS_DIR": str(self.keys),
            **environment,
        }
        run = subprocess.run(
            [ANDON, "halts", *words], capture_output=True, text=True, env=env, timeout=DEADLINE_SECONDS, check=False
        )
        return run.returncode, run.stdout, run.stderr


@pytest.fixture(scope="module")
def line(embedded: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """Topics of the module's own."""
    clients = Clients(embedded, f"halts-{uuid.uuid4().hex[:6]}.")
    yield Line(clients, tmp_path_factory.mktemp("halts"))
    clients.close()


def test_list_show_and_why(line: Line) -> None:
    """Each says what it is for, from Kafka alone; of the acknowledgements only the subscriber's own counts."""
    code, said, _ = line.ask("list")
    assert code == 0
    assert said.splitlines()[1].split()[:2] == ["standing", KEY]
    assert "1 of 1" in said
    assert "not believed: 1" in said
    code, said, _ = line.ask("list", "--json")
    assert [json.loads(row)["key"] for row in said.splitlines()] == [KEY]
    code, said, _ = line.ask("show", KEY)
    assert code == 0
    assert "sccm confirmed after 1.5 s" in said
    assert "SPREADING: 4 hosts a minute" in said
    code, said, _ = line.ask("why", "/".join(ASKED[1:4]), "--fleet", "acme")
    assert code == 0
    assert "HALTED: crowdstrike/falcon-content/291 of acme" in said
    assert len(said.splitlines()) <= MOST_LINES
    assert (
        json.loads(line.ask("why", "/".join(ASKED[1:4]), "--fleet", "acme", "--json")[1])["row"]["state"] == "standing"
    )


def test_names_as_lists_print_them(line: Line) -> None:
    """FLEET/VENDOR/PRODUCT/VERSION is understood wherever an update is named; the one fleet needs no name."""
    for words in ((KEY,), ("/".join(ASKED[1:4]),), (KEY, "--fleet", "acme")):
        code, said, error = line.ask("why", *words)
        assert (code, "HALTED: crowdstrike/falcon-content/291 of acme" in said) == (0, True), error
    code, _, error = line.ask("why", KEY, "--fleet", "beta")
    assert (code, "is of fleet 'acme', not 'beta'" in error) == (2, True)
    code, _, error = line.ask("why", "a/b/c/d/e")
    assert (code, "should be [FLEET/]VENDOR/PRODUCT/VERSION" in error) == (2, True)


def test_unknown_names_and_unreachable_servers_are_said_in_time(line: Line) -> None:
    """A near name; a broker that is not there, within ten seconds; a ClickHouse that is not there only leaves out what
    it would add; no keys, and nothing could be believed."""
    code, _, error = line.ask("why", "crowdstrike/falcon-content/29", "--fleet", "acme")
    assert (code, "did you mean" in error) == (1, True)
    began = time.monotonic()
    code, _, error = line.ask("list", ANDON_KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    assert (code, "no Kafka broker answers" in error) == (1, True)
    assert time.monotonic() - began < 12
    gone = f"http://127.0.0.1:{free_port()}"
    code, said, _ = line.ask("why", "/".join(ASKED[1:4]), "--fleet", "acme", ANDON_CLICKHOUSE_URL=gone)
    assert (code, "ClickHouse did not answer" in " ".join(said.split())) == (0, True)
    code, _, error = line.ask("list", ANDON_TRUST_KEYS_DIR=str(line.keys / "nowhere"))
    assert (code, "nothing could be believed" in error) == (2, True)
