"""A broker's server.properties: KRaft, controller and broker in one process, on loopback, sized for one machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.local.kafka.security import Security
from pipeline.local.machine.ports import LOOPBACK

CLUSTER_ID = "YW5kb24tbG9jYWwtbGluZQ"  # 16 bytes, base64
CLIENT, CONTROLLER = "CLIENT", "CONTROLLER"
MIB = 1 << 20
LOG_PATTERN = "%d{ISO8601} %p %c{1}: %m%n"


class Node(NamedTuple):
    """One broker. `advertised_port` is where clients and brokers are told to go; a proxy may stand there."""

    number: int
    port: int
    controller_port: int
    home: Path
    advertised_port: int

    @property
    def properties(self) -> Path:
        """Its configuration file."""
        return self.home / "server.properties"

    @property
    def log_config(self) -> Path:
        """Its logging configuration."""
        return self.home / "log4j2.properties"

    @property
    def data(self) -> Path:
        """Its records."""
        return self.home / "data"


def server_properties(node: Node, nodes: Sequence[Node], security: Security, more: Mapping[str, str]) -> dict[str, str]:
    """Everything that differs from Kafka's defaults; `more` has the last word."""
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.number),
        "controller.quorum.voters": ",".join(f"{n.number}@{LOOPBACK}:{n.controller_port}" for n in nodes),
        "listeners": f"{CLIENT}://{LOOPBACK}:{node.port},{CONTROLLER}://{LOOPBACK}:{node.controller_port}",
        "advertised.listeners": f"{CLIENT}://{LOOPBACK}:{node.advertised_port}",
        "listener.security.protocol.map": f"{CLIENT}:{security.protocol},{CONTROLLER}:{security.protocol}",
        "controller.listener.names": CONTROLLER,
        "inter.broker.listener.name": CLIENT,
        "log.dirs": str(node.data),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        **_replication(len(nodes)),
        **_small(),
        **_prompt(),
        **security.properties(),
        **more,
    }


def _replication(brokers: int) -> dict[str, str]:
    """As many copies as there are brokers, up to three; a write needs all but one of them."""
    copies, needed = str(min(brokers, 3)), str(max(1, min(brokers, 3) - 1))
    return {
        "default.replication.factor": copies,
        "min.insync.replicas": needed,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": needed,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": needed,
    }


def _small() -> dict[str, str]:
    """Few threads and partitions: the defaults are for machines of their own."""
    return {
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        "num.replica.fetchers": "1",
        "num.recovery.threads.per.data.dir": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.num.partitions": "1",
        "offsets.topic.segment.bytes": str(16 * MIB),
        "transaction.state.log.segment.bytes": str(16 * MIB),
        "log.segment.bytes": str(32 * MIB),  # retention by size works by whole segments
        "log.cleaner.dedupe.buffer.size": str(16 * MIB),
        "log.index.size.max.bytes": str(MIB),
        "metrics.num.samples": "1",
    }


def _prompt() -> dict[str, str]:
    """Housekeeping within seconds: a transaction left open ends soon after its timeout, what is to go soon goes."""
    return {
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "log.initial.task.delay.ms": "1000",
        "log.retention.check.interval.ms": "1000",
        "log.cleaner.backoff.ms": "500",
        "log.segment.delete.delay.ms": "1000",
    }


def as_properties(settings: Mapping[str, str]) -> str:
    """The text of a Java properties file."""
    return "".join(f"{key}={_escape(value)}\n" for key, value in settings.items())


def _escape(value: str) -> str:
    plain = value.replace("\\", "\\\\").replace("\n", "\\n")
    return plain.encode("ascii", "backslashreplace").decode().replace("\\x", "\\u00")


def log_properties() -> str:
    """Warnings and errors to standard output."""
    return as_properties(
        {
            "appender.out.type": "Console",
            "appender.out.name": "out",
            "appender.out.layout.type": "PatternLayout",
            "appender.out.layout.pattern": LOG_PATTERN,
            "rootLogger.level": "warn",
            "rootLogger.appenderRef.out.ref": "out",
        }
    )
