"""The embedded Kafka-wire broker (noida-db): one binary from PyPI, one node, for demo, tests and benches."""

import importlib.resources
from pathlib import Path
from types import TracebackType

from confluent_kafka.admin import AdminClient

from pipeline.local.machine.ports import free_port
from pipeline.local.machine.process import Process
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.runtime.kafka_log import Errors
from pipeline.runtime.metadata import list_topics
from pipeline.runtime.waiting import Deadline

START_SECONDS = 60.0  # a fraction of one on an idle machine
STOP_SECONDS = 30.0  # it writes its snapshot on SIGTERM, which takes over 6 s when much is retained


def command_line(data_dir: Path, port: int) -> list[str]:
    """The command that runs the broker in the foreground."""
    try:
        binary = importlib.resources.files("noida_db") / "noida-db"
    except ModuleNotFoundError:
        raise ConfigError("the embedded broker is not installed: pip install 'andon[local]'") from None
    where = ["--host", "127.0.0.1", "--kafka-port", str(port), "--data-dir", str(data_dir)]
    return [str(binary), "start", "--only", "kafka", *where]


def wait_for_broker(config: KafkaConfig, timeout_seconds: float) -> None:
    """Raises AndonError when no broker answers in time."""
    errors = Errors()
    admin = AdminClient(client_config(config, "andon-wait") | errors.settings)
    deadline = Deadline(timeout_seconds)
    while True:
        try:
            list_topics(admin, errors, config, 1.0)
            return
        except AndonError:
            if deadline.has_passed:
                raise


class EmbeddedBroker:
    """A context manager: the broker runs while the block does; on a port that is given, or any free one.

    `process` is there to be held up, killed or measured.
    """

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        self.port = port or free_port()
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        self.process = Process(command_line(data_dir, self.port), data_dir / "broker.log", name="embedded broker")

    def client_options(self) -> KafkaConfig:
        """The `[kafka]` section of a client."""
        return KafkaConfig(bootstrap_servers=self.bootstrap_servers)

    def __enter__(self) -> "EmbeddedBroker":
        self.process.log.parent.mkdir(parents=True, exist_ok=True)
        self.process.start()
        try:
            wait_for_broker(self.client_options(), START_SECONDS)
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop(STOP_SECONDS)
