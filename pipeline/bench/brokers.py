"""What a bench runs on: the embedded broker, or Apache Kafka with `--broker kafka`; and which build of Python."""

import platform
import sysconfig
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

OPTIMISED, WITH_LTO = "--enable-optimizations", "--with-lto"

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


def python() -> dict[str, str]:
    """Version, and how it was built, for the figures. A distribution that optimises in its own way does not say so."""
    return {"python": platform.python_version(), "python_build": build(str(sysconfig.get_config_var("CONFIG_ARGS")))}


def build(configure_arguments: str) -> str:
    """Of CPython, by the arguments that its configure was given: profile-guided or not, linked as a whole or not."""
    profiled = "with" if OPTIMISED in configure_arguments else "without"
    linked = ", with LTO" if WITH_LTO in configure_arguments else ""
    return f"{platform.python_compiler()}, configured {profiled} {OPTIMISED} (PGO){linked}"
