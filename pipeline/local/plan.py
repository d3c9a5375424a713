"""What a local line consists of: one table of processes, from which everything else follows."""

import asyncio
import shlex
import signal
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline.local.clickhouse import accounts
from pipeline.local.datadir import Secrets
from pipeline.local.kafka import embedded as broker
from pipeline.local.kafka.kinds import BrokerKind
from pipeline.local.machine.files import write_private
from pipeline.local.machine.ports import LOOPBACK, bind, bind_free
from pipeline.local.machine.process import andon
from pipeline.local.supervisor import Probe, ProcessSpec
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_admin import TopicAdmin, differences
from pipeline.wire import topics

DATABASE = "andon"  # what `andon demo` and the advice of `andon up` ask
PORTS_FILE = "ports.json"
PROBE_SECONDS = 2.0
STAGE_STOP_SECONDS = 15.0
MIB = 1 << 20

# The embedded broker forgets transactional producers when it is killed. What one of them that lives on writes stays an
# open transaction for ever, and hides all that follows from whoever reads what is committed.
DESYNCHRONIZED = ("combine",)

BROKER_PHASE, STORE_PHASE, STAGE_PHASE = 0, 1, 2


class Place(NamedTuple):
    """What a stage's command line is made of."""

    data_dir: Path
    ports: Mapping[str, int]
    secrets: Secrets
    broker_argv: Sequence[str]
    broker: BrokerKind = "embedded"

    def url(self, port: str) -> str:
        """Of something that listens here."""
        return f"http://{LOOPBACK}:{self.ports[port]}"

    @property
    def bootstrap_servers(self) -> str:
        """Of the line's broker."""
        return f"{LOOPBACK}:{self.ports['broker']}"

    def client(self, stage: str) -> list[str]:
        """Options of every stage that talks to Kafka: all that says where, so that a configuration file for some other
        cluster may be given as well."""
        kafka = [
            "--bootstrap-servers",
            self.bootstrap_servers,
            "--security-protocol",
            "PLAINTEXT",
            "--topic-prefix",
            "",
        ]
        return [*kafka, "--metrics-host", LOOPBACK, "--metrics-port", str(self.ports[f"{stage}-metrics"])]


class Stage(NamedTuple):
    """One row: `listens` names its ports, `health` is (port, path) of a page that answers 200 once it works."""

    name: str
    phase: int
    argv: Callable[[Place], list[str]]
    listens: tuple[str, ...]
    health: tuple[str, str]
    needs: tuple[str, ...] = ()


def _broker(at: Place) -> list[str]:
    return list(at.broker_argv)


def _clickhouse(at: Place) -> list[str]:
    where = ["--data-dir", str(at.data_dir / "clickhouse"), "--host", LOOPBACK]
    where += ["--port", str(at.ports["clickhouse"])]
    who = ["--user", accounts.OWNER, "--password-file", str(at.secrets.clickhouse_password_file)]
    who += ["--read-user", accounts.READER, "--read-password-file", str(at.secrets.clickhouse_read_password_file)]
    who += ["--write-user", accounts.WRITER, "--write-password-file", str(at.secrets.clickhouse_write_password_file)]
    who += ["--grafana-password-file", str(at.secrets.clickhouse_grafana_password_file)]
    return andon("clickhouse", *where, *who)


def _combine(at: Place) -> list[str]:
    return andon("combine", "--slot", "0", *at.client("combine"))


def _correlate(at: Place) -> list[str]:
    own = ["--data-dir", str(at.data_dir / "correlate"), "--web-host", LOOPBACK]
    own += ["--web-port", str(at.ports["correlate"])]
    return andon("correlate", "--slot", "0", *own, *at.client("correlate"))


def _collect(at: Place) -> list[str]:
    own = ["--host", LOOPBACK, "--port", str(at.ports["collect"]), "--tokens-file", str(at.secrets.gateway_tokens_file)]
    return andon("collect", *own, *at.client("collect"))


def _archive(at: Place) -> list[str]:
    store = _clickhouse_options(at, accounts.WRITER, at.secrets.clickhouse_write_password_file)
    return andon("archive", *store, *at.client("archive"))


def migrate(at: Place) -> list[str]:
    """Brings the schema up to date: the only command of the line that comes to ClickHouse as its owner."""
    return andon("migrate", *_clickhouse_options(at, accounts.OWNER, at.secrets.clickhouse_password_file))


def repair(at: Place) -> str:
    """How to reach the line's ClickHouse when the line does not start."""
    password_file = str(at.secrets.clickhouse_password_file)
    alone = ["andon", "clickhouse", "--data-dir", str(at.data_dir / "clickhouse")]
    alone += ["--port", str(at.ports["clickhouse"]), "--password-file", password_file]
    options = ["--clickhouse-url", at.url("clickhouse"), "--clickhouse-password-file", password_file]
    return f"to repair it, run `{shlex.join(alone)}`, and `andon migrate` with `{shlex.join(options)}`"


def _clickhouse_options(at: Place, user: str, password_file: Path) -> list[str]:
    login = ["--clickhouse-user", user, "--clickhouse-password-file", str(password_file)]
    return ["--clickhouse-url", at.url("clickhouse"), *login, "--database", DATABASE, "--cluster", ""]


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("broker", BROKER_PHASE, _broker, ("broker",), ("broker", "")),
        Stage("clickhouse", STORE_PHASE, _clickhouse, ("clickhouse",), ("clickhouse", "/ping")),
        Stage("combine", STAGE_PHASE, _combine, ("combine-metrics",), ("combine-metrics", "/metrics")),
        Stage("correlate", STAGE_PHASE, _correlate, ("correlate", "correlate-metrics"), ("correlate", "/health")),
        Stage("collect", STAGE_PHASE, _collect, ("collect", "collect-metrics"), ("collect", "/health")),
        Stage("archive", STAGE_PHASE, _archive, ("archive-metrics",), ("archive-metrics", "/metrics"), ("clickhouse",)),
    )
}


def chosen(names: str) -> list[Stage]:
    """The stages named in a comma-separated list, what they need, and the broker, in the order of the table.

    Raises:
        ConfigError: for a name that is in no row.
    """
    wanted = {"broker"}
    for name in (part.strip() for part in names.split(",") if part.strip()):
        if name not in STAGES:
            raise ConfigError(f"up.stages = {names!r}: no stage {name!r}; known: {', '.join(STAGES)}")
        wanted |= {name, *STAGES[name].needs}
    return [stage for stage in STAGES.values() if stage.name in wanted]


def process(stage: Stage, at: Place, ephemeral: bool) -> ProcessSpec:
    """What the supervisor runs. The broker gets time to write its snapshot, and the chance even when the supervisor
    is killed; the other stages lose nothing when killed."""
    is_broker = stage.phase == BROKER_PHASE
    stop_seconds = STAGE_STOP_SECONDS
    if is_broker:
        stop_seconds = 0.0 if ephemeral else broker.STOP_SECONDS
    port, path = stage.health
    return ProcessSpec(
        stage.name,
        stage.argv(at),
        broker_probe(at.bootstrap_servers) if is_broker else http_probe(at.ports[port], path),
        stage.phase,
        stop_seconds,
        signal.SIGTERM if is_broker and not ephemeral else signal.SIGKILL,
        at.ports.get(f"{stage.name}-metrics", 0),
        DESYNCHRONIZED if is_broker and at.broker == "embedded" else (),
    )


def http_probe(port: int, path: str) -> Probe:
    """Whether GET `path` answers 200."""

    async def probe() -> bool:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                try:
                    writer.write(f"GET {path} HTTP/1.0\r\nHost: {LOOPBACK}:{port}\r\n\r\n".encode())
                    return b" 200 " in await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError):
            return False

    return probe


def broker_probe(bootstrap_servers: str) -> Probe:
    """Whether a Kafka client gets an answer."""

    async def probe() -> bool:
        try:
            await asyncio.to_thread(broker.wait_for_broker, bootstrap_servers, 0.0)
        except AndonError:
            return False
        return True

    return probe


def find_ports(data_dir: Path, names: Iterable[str], fixed: Mapping[str, int]) -> dict[str, int]:
    """A free loopback port for each name: the fixed one, else the one used here last, else any. They are found by
    binding them all at once, and remembered, so that what was connected once finds the line again.

    Raises:
        ConfigError: when a fixed port is taken.
    """
    try:
        last = msgspec.json.decode((data_dir / PORTS_FILE).read_bytes(), type=dict[str, int])
    except (OSError, msgspec.DecodeError):
        last = {}
    bound: dict[str, socket.socket] = {}
    try:
        for name in sorted(names, key=lambda name: (not fixed.get(name), name not in last)):
            wish = fixed.get(name, 0)
            sock = bind(wish) if wish else (name in last and bind(last[name])) or bind_free()
            if sock is None:
                key = name.replace("-", "_") + "_port"
                raise ConfigError(f"up.{key} = {wish}: taken by another process; 0 takes any free port")
            bound[name] = sock
        ports = {name: int(sock.getsockname()[1]) for name, sock in bound.items()}
    finally:
        for sock in bound.values():
            sock.close()
    write_private(data_dir / PORTS_FILE, msgspec.json.encode(last | ports).decode() + "\n")
    return ports


def local_topics(events_retention_mib: int) -> list[topics.Topic]:
    """The topics as one small machine keeps them: the embedded broker rewrites all that it retains."""
    events = events_retention_mib * MIB // topics.EVENTS.partitions
    caps = {topics.EVENTS.name: events, topics.PARTIALS.name: 128 * MIB}
    return [_capped(topic, caps.get(topic.name, 32 * MIB)) for topic in topics.ALL]


def _capped(topic: topics.Topic, partition_bytes: int) -> topics.Topic:
    if "retention.bytes" not in topic.config:
        return topic
    return topic._replace(config=topic.config | {"retention.bytes": str(partition_bytes)})


def make_topics(bootstrap_servers: str, events_retention_mib: int) -> None:
    """Create what is missing, alter what was kept with other settings.

    Raises:
        AndonError: when the broker refuses.
    """
    admin = TopicAdmin(KafkaConfig(bootstrap_servers=bootstrap_servers))
    wanted = {topic.name: topic for topic in local_topics(events_retention_mib)}
    for difference in differences(wanted.values(), admin.find(wanted)):
        if not difference.key:
            admin.create(wanted[difference.topic], difference.topic, replication=1)
        elif difference.fixable:
            admin.fix(difference)
