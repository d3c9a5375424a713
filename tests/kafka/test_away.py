"""Every command that needs Kafka, when there is none, and when something there hangs: one sentence, soon, with the exit
code that says so."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException
from support.outside import ANDON
from support.rollout_world import Operator

from pipeline.local.machine.ports import free_port
from pipeline.runtime import metadata
from pipeline.runtime.kafka_log import meaning

pytestmark = pytest.mark.service

WITHIN_SECONDS = 10.0
BUSY_SECONDS = 20.0  # more, as all of them start at once
# By command line, with KEYS for a directory of trust and KEY for an operator's key file: the exit code.
COMMANDS = {
    "topics apply": 1,
    "topics list": 1,
    "gate v/p/1 --fleet acme --ring canary --trusted-keys-dir KEYS": 3,
    "halts list --trusted-keys-dir KEYS": 1,
    "halts why v/p/1 --fleet acme --trusted-keys-dir KEYS": 1,
    "halts show acme/v/p/1 --trusted-keys-dir KEYS": 1,
    "halts force v/p/1 --fleet acme --reason x --trusted-keys-dir KEYS --key KEY": 1,
    "halts approve abc --fleet acme --yes --trusted-keys-dir KEYS --key KEY": 1,
    "status --once": 1,
    "status --once --json": 1,
    "doctor": 1,
    "audit verify --trusted-keys-dir KEYS": 1,
    "deadletter list": 1,
    "deadletter show 0:0": 1,
    "deadletter retry 0:0": 1,
    "replay quiet-week --hosts 10": 1,
}
HUNG = ("topics apply", "status --once", "gate v/p/1 --fleet acme --ring canary --trusted-keys-dir KEYS")


@pytest.fixture
def hung() -> Iterator[str]:
    """Of one that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_every_command_without_kafka(tmp_path: Path, hung: str) -> None:
    """It names the address and what is there, and no error of the client's as it is; none takes long."""
    keys, operator = tmp_path / "keys", Operator("ann", tmp_path / "keys")
    key = tmp_path / "ann.pem"
    operator.write_private(key)
    away = f"127.0.0.1:{free_port()}"

    def ask(words: str, where: str) -> tuple[int, str, float]:
        argv = [ANDON, *words.replace("KEYS", str(keys)).replace("KEY", str(key)).split()]
        environ = os.environ | {"ANDON_KAFKA_BOOTSTRAP_SERVERS": where}
        began = time.monotonic()
        done = subprocess.run(argv, capture_output=True, text=True, env=environ, timeout=90, check=False)
        return done.returncode, done.stdout + done.stderr, time.monotonic() - began

    asked = [(words, away) for words in COMMANDS] + [(words, hung) for words in HUNG]
    with ThreadPoolExecutor(len(asked)) as pool:
        found = list(pool.map(ask, *zip(*asked, strict=True)))
    for (words, where), (code, said, seconds) in zip(asked, found, strict=True):
        case = f"{words} at {where}: {said}"
        assert code == COMMANDS[words], case
        assert where in said, case
        assert ("nothing listens there" if where == away else "does not answer") in said, case
        assert not re.search(r"Traceback|KafkaError|rdkafka|bootstrap:|%\d\|", said), case
        assert seconds < BUSY_SECONDS, case
    assert metadata.CALL_SECONDS < WITHIN_SECONDS


@pytest.mark.parametrize(
    ("code", "text", "words"),
    [
        (KafkaError._TRANSPORT, "a:1/bootstrap: Connect to ipv4#1 failed: Connection refused", "nothing listens there"),
        (KafkaError._RESOLVE, "a:1/bootstrap: Failed to resolve 'a:1': unknown", "there is no such host"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "FindCoordinator response error", "may not use that consumer group"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "Broker: Topic authorization failed", "andon doctor --as"),
        (KafkaError._AUTHENTICATION, "SASL authentication error: no", "look at kafka.sasl_username"),
        (KafkaError._MSG_TIMED_OUT, "Local: Message timed out", "no broker took it in time"),
        (KafkaError._STATE, "something else", "something else"),
    ],
)
def test_what_the_client_says_is_said_in_words(code: int, text: str, words: str) -> None:
    """What was met most; of the rest librdkafka's own text."""
    error = KafkaError(code, text)
    assert words in meaning(error)
    assert meaning(KafkaException(error)) == meaning(error)
