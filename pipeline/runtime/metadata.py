"""The cluster's topics, as a client learns of them; and the one sentence for when no broker answers."""

from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, TopicMetadata  # type: ignore[attr-defined]

from pipeline.runtime.errors import AndonError, ConfigError, FatalStageError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.kafka_log import Errors
from pipeline.wire.topics import Topic

CALL_SECONDS = 8.0  # a person waits for it: all that a command does without Kafka is over within ten

Client = Consumer | Producer | AdminClient
KnownTopics = dict[str, TopicMetadata]  # by the topic's full name


def list_topics(
    client: Client, errors: Errors, kafka: KafkaConfig, timeout_seconds: float = CALL_SECONDS
) -> KnownTopics:
    """Every topic of the cluster that this account may see. `errors` are the client's.

    Raises:
        AndonError: when no broker answers in time, with the reason.
    """
    try:
        found: KnownTopics = client.list_topics(timeout=timeout_seconds).topics
        return found
    except KafkaException as error:
        why = errors.why(error, client.poll)
        raise AndonError(
            f"no Kafka broker answers at {kafka.bootstrap_servers}: {why} (`andon doctor` looks closer)"
        ) from None


def require_topics(client: Client, errors: Errors, kafka: KafkaConfig, topics: Iterable[Topic]) -> KnownTopics:
    """What a stage asks when it starts: every topic of the cluster, and those of Andon's that it needs are there.

    Raises:
        ConfigError: when one is missing: to be started again does not help.
        FatalStageError: when no broker answers.
    """
    try:
        found = list_topics(client, errors, kafka)
    except AndonError as error:
        raise FatalStageError(str(error)) from None
    names = [kafka.topic_prefix + topic.name for topic in topics]
    if missing := [name for name in names if name not in found]:
        raise ConfigError(f"topics missing: {', '.join(missing)}; run `andon topics apply`")
    return found
