"""`andon hook exec` as a process on a broker: exit codes become acknowledgements, across kills and restarts."""

import json
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.brokers import Clients
from support.outside import ANDON
from support.rollout_world import DETECTOR, Message, halt
from support.waiting import DEADLINE_SECONDS, until

from pipeline.halt import keyring
from pipeline.halt.believe import believed_ack
from pipeline.halt.signing import load_trusted, public_pem
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.logging import printable
from pipeline.wire import topics
from pipeline.wire.acks import HaltAck

pytestmark = pytest.mark.service
BAD = "\x1b[2J\n'\"`$(reboot)\x00\u202e%s/../"
# Notes what it is asked, once more than it could be told in an acknowledgement; ends as the version says.
COMMAND = """
read -r order
printf '%s\\n' "$order" >> asked
env | grep -a '^HALT_' >> environment
yes | head -c 3000000
case "$HALT_VERSION" in code-*) exit "${HALT_VERSION#code-}" ;; esac
[ ! -e hold ] || exec sleep 600
"""


class Hooked:
    """Topics, keys and settings of one test; the command works in `place`."""

    def __init__(self, clients: Clients, place: Path) -> None:
        self.clients, self.place = clients, place
        for topic in (topics.HALTS, topics.VERDICTS, topics.HALT_ACKS):
            clients.topic(topic.name)
        own = keyring.make("subscriber", "hooked", place / "keys")
        (place / "keys" / f"{DETECTOR.kid}.pub.pem").write_bytes(public_pem(DETECTOR.public))
        self._environ = os.environ | {
            "ANDON_KAFKA_BOOTSTRAP_SERVERS": clients.kafka.bootstrap_servers,
            "ANDON_KAFKA_TOPIC_PREFIX": clients.kafka.topic_prefix,
            "ANDON_TRUST_KEYS_DIR": str(place / "keys"),
            "ANDON_SUBSCRIBER_NAME": "hooked",
            "ANDON_SUBSCRIBER_KEY_FILE": str(own.private),
            "ANDON_SUBSCRIBER_FLEETS": "acme",
            "ANDON_SUBSCRIBER_AGAIN_SECONDS": "1",
        }
        self._producer = clients.producer()
        self._reader = clients.reader(clients.kafka.topic_prefix + topics.HALT_ACKS.name)
        self.acks: list[HaltAck] = []

    def put(self, *messages: Message) -> None:
        """Acknowledged when it returns."""
        for topic, name, value in messages:
            self._producer.produce(self.clients.kafka.topic_prefix + topic, value, name)
        assert self._producer.flush(DEADLINE_SECONDS) == 0

    def start(self) -> subprocess.Popen[bytes]:
        """The command, its log in a file."""
        with (self.place / "log").open("ab") as log:
            words = [ANDON, "hook", "exec", "--metrics-port", "0", "--", "sh", "-c", COMMAND]
            return subprocess.Popen(words, cwd=self.place, env=self._environ, stdout=log, stderr=log)

    def said(self, version: str) -> list[str]:
        """What was acknowledged of this version, in its order."""
        while (message := self._reader.poll(0.05)) is not None:
            self.acks.append(believed_ack(message.key(), message.value() or b"", load_trusted(self.place / "keys")))
        return [ack.status for ack in self.acks if ack.halt_key.endswith(f"/{version}")]

    def asked(self) -> list[str]:
        """The versions that the command was run for."""
        path = self.place / "asked"
        return [json.loads(line)["version"] for line in path.read_text("utf-8").splitlines()] if path.exists() else []


@pytest.fixture
def hooked(embedded: EmbeddedBroker, tmp_path: Path) -> Iterator[Hooked]:
    """Topics of the test's own."""
    clients = Clients(embedded, f"hook-{uuid.uuid4().hex[:6]}.")
    yield Hooked(clients, tmp_path)
    clients.close()


def stop(process: subprocess.Popen[bytes], number: int) -> int:
    """Its exit code."""
    process.send_signal(number)
    return process.wait(DEADLINE_SECONDS)


def on(version: str) -> Message:
    """A halt of it that stands for an hour."""
    now = wall_clock_ms()
    return halt(version=version, issued_at=now, expires_at=now + 3_600_000)


def test_exit_codes_are_acknowledged_across_kills(hooked: Hooked) -> None:
    """Each code its word, `requested` and failures again and again; what was confirmed not again after SIGTERM, what
    was under way when it was killed with -9 again. What the command prints is cut."""
    codes = {"0": "confirmed", "114": "effective", "115": "ignored", "113": "requested", "7": "failed"}
    hooked.put(*(on(f"code-{code}") for code in codes))
    process = hooked.start()
    try:
        for code, status in codes.items():
            until(f"{code} is {status}", lambda c=code, s=status: hooked.said(f"code-{c}")[:1] == [s])  # type: ignore[misc]
        until("what is requested is run again", lambda: hooked.said("code-113")[1:2] == ["requested"])
        assert max(len(ack.detail) for ack in hooked.acks) <= 1_000
        assert stop(process, signal.SIGTERM) == 0, (hooked.place / "log").read_text()
        done = {version: hooked.asked().count(version) for version in ("code-0", "code-114", "code-115")}
        assert set(done.values()) == {1}
        (hooked.place / "hold").touch()
        hooked.put(on("slow"))
        process = hooked.start()
        until("it is run", lambda: hooked.asked().count("slow") == 1)
        assert stop(process, signal.SIGKILL) == -signal.SIGKILL
        (hooked.place / "hold").unlink()
        process = hooked.start()
        until("it is run again, and confirmed", lambda: hooked.said("slow") == ["confirmed"])
        assert hooked.asked().count("slow") == 2
        assert {version: hooked.asked().count(version) for version in done} == done
    finally:
        assert stop(process, signal.SIGTERM) == 0, (hooked.place / "log").read_text()


def test_hostile_text_gets_no_further_than_its_variable(hooked: Hooked) -> None:
    """In the environment printable, in a line each; as JSON as it is; in the log no control character."""
    now = wall_clock_ms()
    times = {"issued_at": now, "expires_at": now + 3_600_000}
    hooked.put(halt(vendor=BAD, product=BAD, version=BAD, rings=(BAD, "b"), reason=BAD, **times))
    process = hooked.start()
    try:
        until("it is confirmed", lambda: hooked.said("") or hooked.acks)
    finally:
        assert stop(process, signal.SIGTERM) == 0, (hooked.place / "log").read_text()
    (order,) = (json.loads(line) for line in (hooked.place / "asked").read_text("utf-8").splitlines())
    assert [order[name] for name in ("vendor", "product", "version")] == [BAD] * 3
    assert (order["rings"], BAD in order["reason"]) == ([BAD, "b"], True)
    given = dict(line.split("=", 1) for line in (hooked.place / "environment").read_text("utf-8").splitlines())
    assert given["HALT_VENDOR"] == given["HALT_VERSION"] == printable(BAD)
    assert given["HALT_RINGS"] == f"{printable(BAD)},b"
    assert all(line.isprintable() for line in (hooked.place / "log").read_text("utf-8").splitlines())
