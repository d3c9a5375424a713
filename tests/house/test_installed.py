"""`pip install andon` alone, from a wheel, into an empty environment: what obeys halts works there, and is light."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest
from support.brokers import Clients
from support.built.wheel import Built
from support.rollout_world import ASKED, HOUR_MS, beat, halt, verdict
from support.sources import ROOT
from support.waiting import DEADLINE_SECONDS

from pipeline import __version__
from pipeline.halt.signing import load_or_create
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.machine.ports import free_port
from pipeline.runtime.clock import wall_clock_ms
from pipeline.wire import topics

# All in the process of the broker that one of them asks: the environment is made once.
pytestmark = [pytest.mark.service, pytest.mark.usefixtures("embedded")]

HEAVY = {"faust", "mode", "aiokafka", "aiohttp", "numpy", "pyarrow", "chdb", "clickhouse_connect", "rich"}
MAX_MODULES = 350  # the interpreter's own included: 0.15 s of CPU on a quiet machine, and as many whatever else it does
MAX_RSS_BYTES = 60 << 20
INSTALL_SECONDS = 600.0
UPDATE = ("/".join(ASKED[1:4]), "--fleet", ASKED.fleet)
HALTED = "/".join((*ASKED[:3], "292"))
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]


class Installed(NamedTuple):
    """An environment of its own."""

    bin: Path
    settings: Mapping[str, str] = MappingProxyType({})

    def run(self, *argv: str, timeout: float = DEADLINE_SECONDS) -> subprocess.CompletedProcess[str]:
        """A program of it, away from the sources, with nothing of this process's settings."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("ANDON_", "PYTHON"))}
        argv = (str(self.bin / argv[0]), *argv[1:])
        return subprocess.run(
            argv,
            capture_output=True,
            text=True,
            env={**plain, **self.settings},
            cwd=self.bin,
            timeout=timeout,
            check=False,
        )


def install(wheel: Path, place: Path, extra: str = "") -> Installed:
    """The wheel and what its extra brings, as constraints.txt pins it, in a new environment."""
    venv = place / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    versions = place / "versions.txt"  # without hashes: pip takes those only where each package is asked for by itself
    pinned = re.findall(r"^[^#\s].*?==[^\\\n]*", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    versions.write_text("\n".join(pinned), "utf-8")
    wanted = ["install", "--only-binary", ":all:", "--constraint", str(versions), f"andon{extra} @ {wheel.as_uri()}"]
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


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Andon's wheel and its base dependencies."""
    return install(built.wheel, tmp_path_factory.mktemp("installed"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_runs_where_nothing_else_is(built: Built, tmp_path: Path) -> None:
    """`pip install 'andon[local]'` into an empty environment, and then the demo; tests/demo runs the same wheel each
    time, beside packages that are there."""
    line = install(built.wheel, tmp_path, "[local]")
    words = ("demo", "--quick", "--hosts", "6000", "--json", "--data-dir", str(tmp_path / "data"))
    done = line.run("andon", *words, timeout=600.0)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    night, _ = (json.loads(row) for row in done.stdout.splitlines())
    assert night["failures"] == []


def test_what_obeys_is_imported_in_no_time(installed: Installed) -> None:
    """The SDK with every name that it offers, and the gate's own module: how many modules, how much memory, and none of
    the line's packages."""
    code = (
        "import consumers.rollout as sdk, consumers.rollout.watch\n"
        "offered = [getattr(sdk, name) for name in getattr(sdk, '__all__', ())]\n"
        "import json, re, sys\n"
        "peak = int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])\n"  # not the parent's
        "print(json.dumps([peak, list(sys.modules)]))\n"
    )
    peak, modules = json.loads(installed.run("python", "-I", "-c", code).stdout)
    assert len(modules) <= MAX_MODULES
    assert peak << 10 <= MAX_RSS_BYTES
    assert HEAVY.isdisjoint(name.split(".")[0] for name in modules)


def test_it_says_its_version(installed: Installed) -> None:
    """The one of `pipeline.__version__`, which is the wheel's."""
    assert installed.run("andon", "--version").stdout == f"andon {__version__}\n"


def test_what_prometheus_is_given_comes_along(installed: Installed) -> None:
    """`andon up` writes it beside its line, and looks for it there when there are no sources."""
    place = installed.bin.parent / "share" / "andon" / "prometheus"
    assert {file.name for file in place.iterdir()} == {"prometheus.yml", "rules.yml"}


@pytest.fixture(scope="module")
def asking(
    installed: Installed, embedded: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installed]:
    """The same, with the settings of a line whose topics hold a clearance, a halt of another update, and a heartbeat;
    and ClickHouse's, which nothing here can ask."""
    clients, keys = Clients(embedded, f"installed-{uuid.uuid4().hex[:6]}."), tmp_path_factory.mktemp("trust") / "keys"
    key, now_ms = load_or_create(keys), wall_clock_ms()
    for topic in (topics.HALTS, topics.VERDICTS):
        clients.topic(topic.name, cleanup_policy="compact")
    for topic in (topics.HALT_ACKS, topics.COMMANDS, topics.AUDIT):
        clients.topic(topic.name)
    halted = halt(key=key, version="292", issued_at=now_ms, expires_at=now_ms + HOUR_MS)
    producer = clients.producer()
    for topic, name, value in (beat(now_ms, (HALTED, 1), key=key), verdict("cleared", key=key), halted):
        producer.produce(clients.kafka.topic_prefix + topic, value, name)
    assert producer.flush(DEADLINE_SECONDS) == 0
    yield installed._replace(
        settings={
            "ANDON_KAFKA_BOOTSTRAP_SERVERS": clients.kafka.bootstrap_servers,
            "ANDON_KAFKA_TOPIC_PREFIX": clients.kafka.topic_prefix,
            "ANDON_TRUST_KEYS_DIR": str(keys),
            "ANDON_CLICKHOUSE_URL": f"http://127.0.0.1:{free_port()}",
        }
    )
    clients.close()


def test_the_gate_answers(asking: Installed) -> None:
    """Its help, and a clearance that a broker holds."""
    assert "Usage: andon gate" in asking.run("andon", "gate", "--help").stdout
    answer = asking.run("andon", "gate", *UPDATE, "--ring", ASKED.ring, "--json")
    assert (answer.returncode, json.loads(answer.stdout)["state"]) == (0, "CLEARED"), answer.stderr


def test_people_in_command(asking: Installed) -> None:
    """An operator's laptop: what stands and why, without what only ClickHouse knows, and that is said; a key of one's
    own, and an order."""
    listed = asking.run("andon", "halts", "list")
    assert (listed.returncode, HALTED in listed.stdout) == (0, True), listed
    why = asking.run("andon", "halts", "why", *UPDATE)
    assert "not asked: clickhouse_connect is not installed: pip install 'andon[line]'" in " ".join(why.stdout.split())
    keys = asking.settings["ANDON_TRUST_KEYS_DIR"]
    made = asking.run("andon", "keys", "new", "operator", "ann", "--dir", keys)
    (private,) = (path for path in Path(keys).glob("*ann*") if not path.name.endswith(".pub.pem"))
    order = ("force", *UPDATE, "--reason", "a test", "--key", str(private), "--answer-within", "1s")
    forced = asking.run("andon", "halts", *order)
    assert (made.returncode, forced.returncode) == (0, 6), forced  # nobody is there to answer
    assert forced.stdout.startswith("andon: no answer to ")


def test_the_audit_is_proved(asking: Installed) -> None:
    """That of Kafka. Where ClickHouse's is wanted too, no answer says less than was asked."""
    wanted = asking.run("andon", "audit", "verify")
    assert (wanted.returncode, wanted.stdout) == (2, "")
    assert re.fullmatch(r"andon: clickhouse.url = \S+: clickhouse_connect is not .*'andon\[line\]'\n", wanted.stderr)
    settings = {name: value for name, value in asking.settings.items() if "CLICKHOUSE" not in name}
    proved = asking._replace(settings=settings).run("andon", "audit", "verify")
    assert (proved.returncode, proved.stderr) == (0, ""), proved


def test_what_is_not_installed_is_said(installed: Installed) -> None:
    """One line and exit code 2, for a stage and for the line on one machine."""
    for command, extra in (("correlate", "line"), ("up", "local")):
        done = installed.run("andon", command)
        assert done.returncode == 2
        assert re.fullmatch(rf"andon: {command} needs [\w., ]+: pip install 'andon\[{extra}\]'\n", done.stderr)
