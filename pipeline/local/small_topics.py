"""The topics of a local line: as defined, but small."""

from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_admin import TopicAdmin, differences
from pipeline.wire import topics

MIB = 1 << 20
KEEPS_ALL = "-1"


def local_topics(events_retention_mib: int) -> list[topics.Topic]:
    """The topics as one small machine keeps them: the embedded broker rewrites all that it retains."""
    events = events_retention_mib * MIB // topics.EVENTS.partitions
    caps = {topics.EVENTS.name: events, topics.PARTIALS.name: 128 * MIB}
    return [_capped(topic, caps.get(topic.name, 32 * MIB)) for topic in topics.ALL]


def _capped(topic: topics.Topic, partition_bytes: int) -> topics.Topic:
    if topic.config.get("retention.bytes", KEEPS_ALL) == KEEPS_ALL:
        return topic
    return topic._replace(config=topic.config | {"retention.bytes": str(partition_bytes)})


def make_topics(kafka: KafkaConfig, events_retention_mib: int) -> None:
    """Create what is missing, alter what was kept with other settings.

    Raises:
        AndonError: when the broker refuses.
    """
    admin = TopicAdmin(kafka)
    wanted = {topic.name: topic for topic in local_topics(events_retention_mib)}
    for difference in differences(wanted.values(), admin.find(wanted)):
        if not difference.key:
            admin.create(wanted[difference.topic], difference.topic, replication=1)
        elif difference.fixable:
            admin.fix(difference)
