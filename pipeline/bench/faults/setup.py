"""What every scenario is given, and what it gives back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.bench.faults.proxy import Proxies
from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.runtime.kafka import KafkaConfig

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setup:
    """`proxies` stand before the brokers where the scenario asks for them. `short`: fewer kills, shorter faults."""

    kafka: KafkaConfig
    brokers: KafkaCluster | EmbeddedBroker
    proxies: Proxies | None
    directory: Path
    logs: Path
    seed: int
    events_per_second: int
    short: bool
