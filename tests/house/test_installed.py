"""`pip install andon` alone, from a wheel, into an empty environment: what obeys halts works there, and is light."""

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest
from support.brokers import Clients
from support.rollout_world import ASKED, beat, verdict
from support.sources import PACKAGES, ROOT
from support.waiting import DEADLINE_SECONDS

from pipeline.halt.signing import load_or_create
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.runtime.clock import wall_clock_ms
from pipeline.wire import topics

# All in the process of the broker that one of them asks: the environment is made once.
pytestmark = [pytest.mark.service, pytest.mark.usefixtures("embedded")]

HEAVY = {"faust", "mode", "aiokafka", "aiohttp", "numpy", "pyarrow", "chdb", "clickhouse_connect", "rich"}
MAX_IMPORT_SECONDS = 0.150  # of CPU
MAX_RSS_BYTES = 60 << 20
INSTALL_SECONDS = 300.0
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]


class Installed(NamedTuple):
    """An environment of its own."""

    bin: Path

    def run(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A program of it, away from the sources, with nothing of this process's settings."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("ANDON_", "PYTHON"))}
        argv = (str(self.bin / argv[0]), *argv[1:])
        env = plain | environment
        return subprocess.run(
            argv, capture_output=True, text=True, env=env, cwd=self.bin, timeout=DEADLINE_SECONDS, check=False
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Andon's wheel and its base dependencies, as constraints.txt pins them, in a new environment."""
    place = tmp_path_factory.mktemp("installed")
    source, venv = place / "source", place / "venv"
    source.mkdir()
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    built = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(place), str(source)]
    subprocess.run([*PIP, *built], check=True, timeout=INSTALL_SECONDS)
    (wheel,) = place.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    versions = place / "versions.txt"  # without hashes: pip takes those only where each package is asked for by itself
    pinned = re.findall(r"^[^#\s].*?==[^\\\n]*", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    versions.write_text("\n".join(pinned), "utf-8")
    wanted = ["install", "--only-binary", ":all:", "--constraint", str(versions), str(wheel)]
    done = subprocess.run(
        [*PIP, "--python", str(venv / "bin" / "python"), *wanted],
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if re.search(r"connection|timed out|Temporary failure|Max retries", done.stderr):
        pytest.skip(f"needs the package index, as `make setup` does: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr
    return Installed(venv / "bin")


def test_what_obeys_is_imported_in_no_time(installed: Installed) -> None:
    """The SDK with every name that it offers, and the gate's own module: CPU time, memory, and none of the line's
    packages. Of three times the best: the first reads from disk and compiles."""
    code = (
        "import time; began = time.process_time()\n"
        "import consumers.rollout as sdk, consumers.rollout.watch\n"
        "offered = [getattr(sdk, name) for name in getattr(sdk, '__all__', ())]\n"
        "took = time.process_time() - began\n"
        "import json, re, sys\n"
        "peak = int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])\n"  # not the parent's
        "print(json.dumps([took, peak, sorted({name.split('.')[0] for name in sys.modules})]))\n"
    )
    seen = [json.loads(installed.run("python", "-I", "-c", code).stdout) for _ in range(3)]
    assert min(took for took, _, _ in seen) <= MAX_IMPORT_SECONDS
    assert min(peak << 10 for _, peak, _ in seen) <= MAX_RSS_BYTES
    assert HEAVY.isdisjoint(seen[-1][2])


def test_the_gate_answers(installed: Installed, embedded: EmbeddedBroker, tmp_path: Path) -> None:
    """Its help, and a clearance that a broker holds."""
    helped = installed.run("andon", "gate", "--help")
    assert "Usage: andon gate" in helped.stdout
    clients = Clients(embedded, f"installed-{uuid.uuid4().hex[:6]}.")
    key = load_or_create(tmp_path / "keys")
    for topic in (topics.HALTS, topics.VERDICTS):
        clients.topic(topic.name, cleanup_policy="compact")
    producer = clients.producer()
    for topic, name, value in (beat(wall_clock_ms(), key=key), verdict("cleared", key=key)):
        producer.produce(clients.kafka.topic_prefix + topic, value, name)
    assert producer.flush(DEADLINE_SECONDS) == 0
    asked = ("gate", "/".join(ASKED[1:4]), "--fleet", ASKED.fleet, "--ring", ASKED.ring, "--json")
    answer = installed.run(
        "andon",
        *asked,
        ANDON_KAFKA_BOOTSTRAP_SERVERS=clients.kafka.bootstrap_servers,
        ANDON_KAFKA_TOPIC_PREFIX=clients.kafka.topic_prefix,
        ANDON_TRUST_KEYS_DIR=str(tmp_path / "keys"),
    )
    clients.close()
    assert (answer.returncode, json.loads(answer.stdout)["state"]) == (0, "CLEARED"), answer.stderr


def test_what_is_not_installed_is_said(installed: Installed) -> None:
    """One line and exit code 2, for a stage and for the line on one machine."""
    for command, extra in (("correlate", "line"), ("up", "local")):
        done = installed.run("andon", command)
        assert done.returncode == 2
        assert re.fullmatch(rf"andon: {command} needs [\w, ]+: pip install 'andon\[{extra}\]'\n", done.stderr)
