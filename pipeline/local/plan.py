"""What a local line consists of: one table of processes, from which everything else follows."""

import asyncio
import os
import shlex
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.local.clickhouse import accounts
from pipeline.local.datadir import Secrets
from pipeline.local.kafka import embedded as broker
from pipeline.local.kafka.kinds import BrokerKind
from pipeline.local.kafka.security import Open, Security
from pipeline.local.machine.ports import LOOPBACK
from pipeline.local.machine.process import andon
from pipeline.local.stack import StackInfo, StageInfo
from pipeline.local.supervisor import Probe, ProcessSpec
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig

DATABASE = "andon"  # what `andon demo` and the advice of `andon up` ask
PROBE_SECONDS = 2.0
STAGE_STOP_SECONDS = 15.0

KEPT = ("clickhouse", "collect")  # ports whose callers bring a password or a token (doors.py)
# The embedded broker forgets transactional producers when it is killed. What one of them that lives on writes stays an
# open transaction for ever, and hides all that follows from whoever reads what is committed.
DESYNCHRONIZED = ("combine",)

BROKER_PHASE, STORE_PHASE, STAGE_PHASE, WATCH_PHASE = 0, 1, 2, 3  # who watches needs the correlator's keys


class Place(NamedTuple):
    """What a stage's command line is made of. `unconfined`: why ClickHouse lets in its owner alone, or ""."""

    data_dir: Path
    ports: Mapping[str, int]
    secrets: Secrets
    broker_argv: Sequence[str]
    security: Security = Open()  # of the broker
    descriptors: Mapping[str, int] = {}  # by port: a socket that listens there already, for the stage to take over
    unconfined: str = ""
    broker: BrokerKind = "embedded"

    def url(self, port: str) -> str:
        """Of something that listens here."""
        return f"http://{LOOPBACK}:{self.ports[port]}"

    def login(self, user: str, password_file: Path) -> tuple[str, Path]:
        """How to come into ClickHouse in the place of a limited account: as the owner where there is no other."""
        return (accounts.OWNER, self.secrets.clickhouse_password_file) if self.unconfined else (user, password_file)

    def door(self, port: str) -> list[str]:
        """Options of a stage that is called with secrets: where it listens, and the socket if there is one."""
        given = ["--listen-fd", str(self.descriptors[port])] if port in self.descriptors else []
        return ["--host", LOOPBACK, "--port", str(self.ports[port]), *given]

    @property
    def bootstrap_servers(self) -> str:
        """Of the line's broker."""
        return f"{LOOPBACK}:{self.ports['broker']}"

    @property
    def kafka(self) -> KafkaConfig:
        """How this process reaches it; others read the password from its file."""
        return self.security.client(self.bootstrap_servers)

    def client(self, stage: str) -> list[str]:
        """Options of every stage that talks to Kafka: all that says where, so that a configuration file for some other
        cluster may be given as well."""
        config = self.kafka
        kafka = ["--bootstrap-servers", config.bootstrap_servers, "--security-protocol", config.security_protocol]
        if config.sasl_username:
            kafka += ["--sasl-mechanism", config.sasl_mechanism, "--sasl-username", config.sasl_username]
            kafka += ["--sasl-password-file", str(self.secrets.kafka_password_file)]
        kafka += ["--topic-prefix", ""]
        return [*kafka, "--metrics-host", LOOPBACK, "--metrics-port", str(self.ports[f"{stage}-metrics"])]


def confined(at: Place) -> Place:
    """With the word of the kernel on whether ClickHouse can be kept to its own files."""
    return at._replace(unconfined=accounts.unconfined())


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
    where = ["--data-dir", str(at.data_dir / "clickhouse"), *at.door("clickhouse")]
    who = ["--user", accounts.OWNER, "--password-file", str(at.secrets.clickhouse_password_file)]
    who += ["--read-user", accounts.READER, "--read-password-file", str(at.secrets.clickhouse_read_password_file)]
    who += ["--write-user", accounts.WRITER, "--write-password-file", str(at.secrets.clickhouse_write_password_file)]
    who += ["--grafana-password-file", str(at.secrets.clickhouse_grafana_password_file)]
    return andon("clickhouse", *where, *who)


def _combine(at: Place) -> list[str]:
    return andon("combine", "--slot", "0", *_seal(at), *at.client("combine"))


def _correlate(at: Place) -> list[str]:
    own = ["--data-dir", str(at.data_dir / "correlate"), "--web-host", LOOPBACK]
    own += ["--web-port", str(at.ports["correlate"])]
    return andon("correlate", "--slot", "0", *own, *_seal(at), *at.client("correlate"))


def _seal(at: Place) -> list[str]:
    return ["--partials-secret-file", str(at.secrets.partials_secret_file)]


def _collect(at: Place) -> list[str]:
    own = [*at.door("collect"), "--tokens-file", str(at.secrets.gateway_tokens_file)]
    return andon("collect", *own, *at.client("collect"))


def _archive(at: Place) -> list[str]:
    store = _clickhouse_options(at, *at.login(accounts.WRITER, at.secrets.clickhouse_write_password_file))
    trusted = ["--trusted-keys-dir", str(at.data_dir / "correlate" / "keys")]
    return andon("archive", *store, *trusted, *at.client("archive"))


def _notify(at: Place) -> list[str]:
    trusted = ["--trusted-keys-dir", str(at.data_dir / "correlate" / "keys"), "--gauges-alone", "true"]
    return andon("notify", *trusted, *at.client("notify"))


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
        Stage("combine", STAGE_PHASE, _combine, ("combine-metrics",), ("combine-metrics", "/readyz")),
        Stage("correlate", STAGE_PHASE, _correlate, ("correlate", "correlate-metrics"), ("correlate", "/readyz")),
        Stage("collect", STAGE_PHASE, _collect, ("collect", "collect-metrics"), ("collect", "/health")),
        Stage("archive", STAGE_PHASE, _archive, ("archive-metrics",), ("archive-metrics", "/readyz"), ("clickhouse",)),
        # Not /readyz: an Alertmanager that is away must not keep the line from starting.
        Stage("notify", WATCH_PHASE, _notify, ("notify-metrics",), ("notify-metrics", "/healthz"), ("correlate",)),
    )
}


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
        broker_probe(at.security.first(at.bootstrap_servers)) if is_broker else http_probe(at.ports[port], path),
        stage.phase,
        stop_seconds,
        signal.SIGTERM if is_broker and not ephemeral else signal.SIGKILL,
        at.ports.get(f"{stage.name}-metrics", 0),
        tuple(at.ports[name] for name in stage.listens),
        tuple(at.descriptors[name] for name in stage.listens if name in at.descriptors),
        DESYNCHRONIZED if is_broker and at.broker == "embedded" else (),
    )


def describe(at: Place, fleet: str, stages: dict[str, StageInfo]) -> StackInfo:
    """What this process runs: those stages, where they are, and the files that have their secrets."""
    info = StackInfo(
        supervisor_pid=os.getpid(),
        started_at=wall_clock_ms(),
        data_dir=str(at.data_dir),
        fleet=fleet,
        bootstrap_servers=at.bootstrap_servers,
        log_file=str(at.data_dir / "logs" / "andon.log"),
        metrics_port=at.ports.get("up-metrics", 0),
        stages=stages,
    )
    if at.kafka.sasl_username:
        info.kafka_username = at.kafka.sasl_username
        info.kafka_password_file = str(at.secrets.kafka_password_file)
        info.kafka_client_file = str(at.secrets.kafka_client_file)
    if "collect" in stages:
        info.gateway_url = at.url("collect")
        info.gateway_token_file = str(at.secrets.gateway_token_file)
        info.gateway_tokens_file = str(at.secrets.gateway_tokens_file)
    if "correlate" in stages:
        info.correlate_url = at.url("correlate")
    if "clickhouse" in stages:
        info.clickhouse_url = at.url("clickhouse")
        info.clickhouse_user = accounts.OWNER
        info.clickhouse_password_file = str(at.secrets.clickhouse_password_file)
        reader, password_file = at.login(accounts.READER, at.secrets.clickhouse_read_password_file)
        info.clickhouse_reader, info.clickhouse_reader_password_file = reader, str(password_file)
    return info


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


def broker_probe(kafka: KafkaConfig) -> Probe:
    """Whether a Kafka client gets an answer."""

    async def probe() -> bool:
        try:
            await asyncio.to_thread(broker.wait_for_broker, kafka, 0.0)
        except AndonError:
            return False
        return True

    return probe
