"""The broker that a bench runs on: the embedded one, or Apache Kafka with `--broker kafka`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.kafka.jars import kafka_version
from pipeline.local.kafka.kinds import BrokerKind
from pipeline.runtime.kafka import KafkaConfig

broker_option: Callable[[Any], Any] = click.option(
    "--broker",
    type=click.Choice(["embedded", "kafka"]),
    default="embedded",
    show_default=True,
    help="kafka: Apache Kafka from its jars, needs Java and Maven",
)


@contextmanager
def running(kind: BrokerKind, data_dir: Path) -> Iterator[KafkaConfig]:
    """A broker with nothing in it, for as long as the block lasts.

    Raises:
        AndonError: naming what is missing to run it.
    """
    chosen = KafkaCluster(data_dir) if kind == "kafka" else EmbeddedBroker(data_dir)
    with chosen as broker:
        yield broker.client_options()


def described(kind: BrokerKind) -> str:
    """Name and version, for the figures."""
    if kind == "kafka":
        return f"Apache Kafka {kafka_version()}"
    return f"noida-db {version('noida-db')}"
