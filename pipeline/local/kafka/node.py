"""One Apache Kafka broker as a process: its directory, its start, its ends."""

import base64
import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.local.kafka.jars import KafkaJars
from pipeline.local.kafka.properties import CLUSTER_ID, Node, as_properties, log_properties, server_properties
from pipeline.local.kafka.security import Security
from pipeline.local.machine.files import write_private
from pipeline.local.machine.ports import LOOPBACK
from pipeline.local.machine.process import Process
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import client_config
from pipeline.runtime.logging import printable
from pipeline.runtime.waiting import Deadline

META = "meta.properties"  # what makes a directory a broker's
HEAP_MIB = 384  # of each broker
FORMAT_SECONDS = 60.0
START_SECONDS = 60.0  # two to four on an idle machine
STOP_SECONDS = 20.0
ANSWER_SECONDS = 1.0
IMPATIENT = {"log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100}


def configure(node: Node, nodes: Sequence[Node], security: Security, more: Mapping[str, str]) -> None:
    """Write the broker's configuration; what it has stored stays."""
    node.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(node.properties, as_properties(server_properties(node, nodes, security, more)))
    write_private(node.log_config, log_properties())


def format_storage(jars: KafkaJars, nodes: Sequence[Node]) -> None:
    """Make their data directories brokers' ones, except where they are already.

    Raises:
        AndonError: when Kafka refuses the configuration.
    """
    new = [node for node in nodes if not (node.data / META).exists()]
    for node in new:
        shutil.rmtree(node.data, ignore_errors=True)  # half-made
    if new:
        _format(jars, new[0])
    for node in new[1:]:  # which differ in two lines, and a Java for each would take its second
        shutil.copytree(new[0].data, node.data, ignore=shutil.ignore_patterns(META))
        own = {"node.id": str(node.number), "directory.id": _unique_id(), "version": "1", "cluster.id": CLUSTER_ID}
        write_private(node.data / META, as_properties(own))


def _unique_id() -> str:
    """A UUID as Kafka writes it; those that begin with "-" are not used."""
    return base64.urlsafe_b64encode(b"\x41" + os.urandom(15)).rstrip(b"=").decode("ascii")


def _format(jars: KafkaJars, node: Node) -> None:
    tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(node.properties)]
    argv = jars.command(*tool, heap_mib=128)
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=FORMAT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise AndonError(f"Kafka's storage tool took more than {FORMAT_SECONDS:.0f} s") from None
    if done.returncode:
        raise AndonError(f"Kafka's storage tool failed: {_last_words(done.stdout + done.stderr)}")


def command_line(jars: KafkaJars, node: Node, options: tuple[str, ...] = ()) -> list[str]:
    """The command that runs the broker in the foreground."""
    argv = jars.command("kafka.Kafka", str(node.properties), heap_mib=HEAP_MIB, options=options)
    return [argv[0], f"-Dlog4j2.configurationFile={node.log_config}", *argv[1:]]


class BrokerProcess(Process):
    """A broker that can be stopped, killed and started again."""

    def __init__(self, jars: KafkaJars, node: Node, security: Security, options: tuple[str, ...] = ()) -> None:
        super().__init__(
            command_line(jars, node, options), node.home / "broker.log", name=f"Kafka broker {node.number}"
        )
        self.node = node
        self._address = security.first(f"{LOOPBACK}:{node.port}")

    def wait_ready(self, deadline: Deadline, others: Callable[[], Collection[int]] = tuple) -> None:
        """Until it answers, and knows of these others.

        Raises:
            AndonError: when it ends, or is not ready in time, with its last words.
        """
        admin = AdminClient(client_config(self._address, "andon-ready") | IMPATIENT)
        while True:
            with contextlib.suppress(KafkaException):
                if set(others()) <= set(admin.list_topics(timeout=ANSWER_SECONDS).brokers):
                    return
            if not self.is_running:
                raise AndonError(f"{self.name} ended: {self.last_words()}")
            if deadline.has_passed:
                raise AndonError(f"{self.name} is not ready in time: {self.last_words()}")

    def last_words(self) -> str:
        """The end of what it printed, as one line."""
        return _last_words(self.log.read_text("utf-8", "replace")) if self.log.exists() else "nothing"


def _last_words(said: str) -> str:
    lines = [line for line in said.splitlines() if not line.lstrip().startswith("at ")]  # not Java's stack
    return " | ".join(printable(line) for line in lines[-5:]) or "nothing"
