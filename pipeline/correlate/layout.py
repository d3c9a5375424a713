"""How `fleet.partials` lies on the cluster; the changelog of the correlator's table follows it."""

from typing import NamedTuple

from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka.admin import AdminClient

from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.runtime.kafka_log import Errors
from pipeline.runtime.metadata import require_topics
from pipeline.wire import topics


class Layout(NamedTuple):
    """Partitions, and replicas of each."""

    partitions: int
    replicas: int


def find_layout(kafka: KafkaConfig) -> Layout:
    """Blocks. Raises ConfigError when a topic that is needed is missing, FatalStageError when no broker answers."""
    errors = Errors()
    admin = AdminClient(client_config(kafka, "andon-correlate-admin") | errors.settings)
    wanted = (topics.PARTIALS, topics.VERDICTS, topics.HALTS, topics.COMMANDS, topics.AUDIT, topics.DEADLETTER)
    partitions = require_topics(admin, errors, kafka, wanted)[kafka.topic_prefix + topics.PARTIALS.name].partitions
    return Layout(len(partitions), len(partitions[0].replicas))


def belongs_on(fleet: str, partitions: int) -> int:
    """The partition on which the combiner's producer puts a fleet's partials: it has Java's hash of the key."""
    return int(DefaultPartitioner()(fleet.encode(), range(partitions), ()))
