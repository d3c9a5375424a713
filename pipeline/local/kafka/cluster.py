"""Apache Kafka on this machine: one broker or three, KRaft, loopback only, ready within seconds.

Open to all, or with SASL/SCRAM-SHA-512 and ACLs ("sasl"), or with TLS certificates both ways ("tls"). Where it overlaps
with `EmbeddedBroker` it is used the same way.
"""

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.local.kafka.jars import KafkaJars, Say, find_jars, locked
from pipeline.local.kafka.node import STOP_SECONDS, BrokerProcess, configure, format_storage
from pipeline.local.kafka.properties import Node
from pipeline.local.kafka.security import SUPER_USER, Open, Sasl, Security, SecurityName, Tls
from pipeline.local.kafka.users import make_user
from pipeline.local.machine.ports import LOOPBACK, bind_free
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, client_config

START_SECONDS = 60.0  # two to four on an idle machine
ANSWER_SECONDS = 1.0
ALL_STOP_SECONDS = 2.0  # what a killed one had written, the machine still writes to its disk
IMPATIENT = {"log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100}


class KafkaCluster:
    """A context manager: the brokers run while the block does. Brokers are numbered from 1.

    `advertised_ports`: where clients are told to find each broker, when a proxy stands before it.
    `settings`: broker settings that differ from those of properties.py.
    """

    def __init__(
        self,
        data_dir: Path,
        brokers: Literal[1, 3] = 1,
        security: SecurityName | None = None,
        *,
        advertised_ports: Sequence[int] = (),
        settings: Mapping[str, str] | None = None,
        jars: KafkaJars | None = None,
        java_options: tuple[str, ...] = (),
    ) -> None:
        self._jars = jars or prepared_jars()
        self._security = _security(security, data_dir)
        self._settings = dict(settings or {})
        self.nodes = _nodes(data_dir, brokers, advertised_ports)
        self._brokers = {node.number: BrokerProcess(self._jars, node, java_options) for node in self.nodes}
        self.bootstrap_servers = ",".join(f"{LOOPBACK}:{node.advertised_port}" for node in self.nodes)

    @property
    def port(self) -> int:
        """The first broker's."""
        return self.nodes[0].port

    @property
    def pid(self) -> int:
        """The first broker's."""
        return self._brokers[1].pid

    @property
    def pids(self) -> dict[int, int]:
        """Process id by broker, of those that run."""
        return {number: broker.pid for number, broker in self._brokers.items() if broker.is_running}

    def log(self, number: int) -> Path:
        """What a broker prints."""
        return self._brokers[number].log

    def client_options(self) -> KafkaConfig:
        """The `[kafka]` section of a client who may do everything."""
        return self._security.client(self.bootstrap_servers)

    def add_user(self, name: str) -> KafkaConfig:
        """A SCRAM user without any rights; only with security "sasl".

        Raises:
            AndonError: without that security, or when the brokers refuse.
        """
        if not isinstance(self._security, Sasl):
            raise AndonError('users need security "sasl"')
        return make_user(self._security, self.bootstrap_servers, name)

    # -- the whole cluster

    def start(self) -> None:
        """Start every broker; returns when all answer.

        Raises:
            AndonError: when one ends, or is not ready in time, with its last words.
        """
        for node in self.nodes:
            configure(node, self.nodes, self._security, self._settings)
        format_storage(self._jars, self.nodes)
        for broker in self._brokers.values():
            broker.start()
        self.wait_ready()
        if isinstance(self._security, Sasl):
            make_user(self._security, self.bootstrap_servers, SUPER_USER)

    def __enter__(self) -> "KafkaCluster":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_ready(self, timeout_seconds: float = START_SECONDS) -> None:
        """Until each broker that runs answers, and knows of the others that run.

        Raises:
            AndonError: when one ends, or is not ready in time, with its last words.
        """
        deadline = time.monotonic() + timeout_seconds
        for number in self.pids:
            self._wait_for(number, deadline)

    def _wait_for(self, number: int, deadline: float) -> None:
        broker = self._brokers[number]
        address = f"{LOOPBACK}:{broker.node.port}"
        admin = AdminClient(client_config(self._security.first(address), "andon-ready") | IMPATIENT)
        while True:
            with contextlib.suppress(KafkaException):
                if set(self.pids) <= set(admin.list_topics(timeout=ANSWER_SECONDS).brokers):
                    return
            if not broker.is_running:
                raise AndonError(f"Kafka broker {number} ended: {broker.last_words()}")
            if time.monotonic() > deadline:
                raise AndonError(f"Kafka broker {number} is not ready in time: {broker.last_words()}")

    # -- one broker, or all

    def kill(self, number: int) -> None:
        """SIGKILL."""
        self._brokers[number].kill()

    def stop(self, number: int | None = None) -> None:
        """SIGTERM: a broker hands its partitions over first. All of them when no number is given: the last ones find
        nobody to hand over to, and are killed."""
        brokers = self._brokers.values() if number is None else [self._brokers[number]]
        for broker in brokers:
            broker.ask_to_stop()
        for broker in brokers:
            broker.wait(STOP_SECONDS if len(self.nodes) == 1 or number is not None else ALL_STOP_SECONDS)

    def restart(self, number: int) -> None:
        """Start it after `kill` or `stop`; returns when it answers."""
        self._brokers[number].start()
        self.wait_ready()


def _security(name: SecurityName | None, data_dir: Path) -> Security:
    if name == "sasl":
        return Sasl()
    return Tls(data_dir / "tls") if name == "tls" else Open()


def _nodes(data_dir: Path, brokers: int, advertised_ports: Sequence[int]) -> list[Node]:
    """Ports found by binding them all at once."""
    with contextlib.ExitStack() as held:
        ports = [int(held.enter_context(bind_free()).getsockname()[1]) for _ in range(2 * brokers)]
    advertised = advertised_ports or ports[:brokers]
    return [
        Node(n + 1, ports[n], ports[brokers + n], data_dir / f"broker-{n + 1}", advertised[n]) for n in range(brokers)
    ]


def prepared_jars(say: Say = lambda _: None) -> KafkaJars:
    """The jars, with an archive of shared classes beside them: made once, by a broker that starts and stops.

    Raises:
        AndonError: naming what is missing: Java, Maven, or the way to the repository.
    """
    jars = find_jars(say)
    if not jars.archive.exists():
        with locked():
            if not jars.archive.exists():
                say("preparing Java's shared classes, so that Kafka starts faster from now on")
                _make_archive(jars)
    return jars


def _make_archive(jars: KafkaJars) -> None:
    with tempfile.TemporaryDirectory(prefix="classes.", dir=jars.jars.parent) as scratch:
        made = Path(scratch) / "classes.jsa"
        options = (f"-XX:ArchiveClassesAtExit={made}",)
        with KafkaCluster(Path(scratch), jars=jars, java_options=options):
            pass
        if made.exists():  # some Javas cannot: the start then takes twice as long
            made.rename(jars.archive)
