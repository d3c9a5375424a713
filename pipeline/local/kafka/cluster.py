"""Apache Kafka on this machine: one broker or three, KRaft, loopback only, ready within seconds.

Where it overlaps with `EmbeddedBroker` it is used the same way.
"""

import contextlib
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

from pipeline.local.kafka.classes import prepared_jars
from pipeline.local.kafka.jars import KafkaJars
from pipeline.local.kafka.node import START_SECONDS, STOP_SECONDS, BrokerProcess, configure, format_storage
from pipeline.local.kafka.properties import Node
from pipeline.local.kafka.security import Open, Security
from pipeline.local.machine.ports import LOOPBACK, bind_free
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.waiting import Deadline

ALL_STOP_SECONDS = 2.0  # what a killed one had written, the machine still writes to its disk


class KafkaCluster:
    """A context manager: the brokers run while the block does. Brokers are numbered from 1.

    `advertised_ports`: where clients are told to find each broker, when a proxy stands before it.
    `security`: how it knows its clients; open to all by default. `settings`: broker settings that differ from those of
    properties.py.
    """

    def __init__(
        self,
        data_dir: Path,
        brokers: Literal[1, 3] = 1,
        security: Security | None = None,
        *,
        advertised_ports: Sequence[int] = (),
        settings: Mapping[str, str] | None = None,
        jars: KafkaJars | None = None,
    ) -> None:
        self._jars = jars or prepared_jars()
        self.security = security or Open()
        self._settings = dict(settings or {})
        self.nodes = _nodes(data_dir, brokers, advertised_ports)
        self._brokers = {node.number: BrokerProcess(self._jars, node, self.security) for node in self.nodes}
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
        return self.security.client(self.bootstrap_servers)

    # -- the whole cluster

    def start(self) -> None:
        """Start every broker; returns when all answer.

        Raises:
            AndonError: when one ends, or is not ready in time, with its last words.
        """
        for node in self.nodes:
            configure(node, self.nodes, self.security, self._settings)
        format_storage(self._jars, self.nodes)
        for broker in self._brokers.values():
            broker.start()
        self.wait_ready()
        self.security.begin(self.bootstrap_servers)

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
        deadline = Deadline(timeout_seconds)
        for number in self.pids:
            self._brokers[number].wait_ready(deadline, lambda: self.pids)

    # -- one broker, or all

    def kill(self, number: int) -> None:
        """SIGKILL."""
        self._brokers[number].kill()

    def stop(self, number: int | None = None) -> None:
        """SIGTERM: a broker hands its partitions over first. All of them when no number is given: the last ones find
        nobody to hand over to, and are killed."""
        brokers = [
            broker for broker in self._brokers.values() if broker.is_running and number in (None, broker.node.number)
        ]
        for broker in brokers:
            broker.send_signal(signal.SIGTERM)
        for broker in brokers:
            broker.wait(STOP_SECONDS if len(self.nodes) == 1 or number is not None else ALL_STOP_SECONDS)

    def restart(self, number: int) -> None:
        """Start it after `kill` or `stop`; returns when it answers."""
        self._brokers[number].start()
        self.wait_ready()


def _nodes(data_dir: Path, brokers: int, advertised_ports: Sequence[int]) -> list[Node]:
    """Ports found by binding them all at once."""
    with contextlib.ExitStack() as held:
        ports = [int(held.enter_context(bind_free()).getsockname()[1]) for _ in range(2 * brokers)]
    advertised = advertised_ports or ports[:brokers]
    return [
        Node(n + 1, ports[n], ports[brokers + n], data_dir / f"broker-{n + 1}", advertised[n]) for n in range(brokers)
    ]
