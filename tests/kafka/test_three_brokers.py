"""Three Apache Kafka brokers on this machine, through kill, stop and restart."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition
from support.brokers import Clients, memory, take, values
from support.outside import wait_for

from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.local.kafka.jars import KafkaJars
from pipeline.runtime.group_offsets import GroupOffsets
from pipeline.runtime.kafka import client_config
from pipeline.runtime.topic_admin import apply
from pipeline.status.sources import Cluster
from pipeline.wire.topics import EVENTS

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def three(kafka_jars: KafkaJars) -> Iterator[KafkaCluster]:
    """Three brokers, which each test leaves running."""
    with memory() as directory, KafkaCluster(directory, 3, jars=kafka_jars) as running:
        yield running


def test_three_brokers_outlive_one(three: KafkaCluster) -> None:
    """With a broker killed, then another stopped in turn, acknowledged records stay and new ones are taken."""
    clients = Clients(three)
    topic = clients.topic(replicas=3, min_insync_replicas="2")
    producer = clients.producer("slot", timeout_ms=30_000)

    def commit(text: str) -> None:
        producer.begin_transaction()
        producer.produce(topic, text)
        producer.commit_transaction(60)

    commit("all")
    three.kill(1)
    assert sorted(three.pids) == [2, 3]
    commit("without 1")
    three.restart(1)
    three.stop(2)
    commit("without 2")
    three.restart(2)
    commit("all again")
    assert values(take(clients.reader(topic), 4)) == ["all", "without 1", "without 2", "all again"]
    assert sorted(three.pids) == [1, 2, 3]
    clients.close()


def test_what_is_committed_is_known_while_coordinators_move(three: KafkaCluster) -> None:
    """Groups whose last commits were just made, on several coordinators, of which one stops: offsets are told as they
    are, or not at all; by status too."""
    kafka = three.client_options()
    assert not apply(kafka).remaining
    groups = [f"andon-{number}" for number in range(12)]
    place = TopicPartition(EVENTS.name, 0, 7)
    settings = client_config(kafka, "test") | {"group.protocol": "classic"}
    members = [Consumer(settings | {"group.id": name}) for name in groups]
    asking, cluster = GroupOffsets(kafka, "test"), Cluster(kafka)

    def told(group: str) -> int | None:
        try:
            return asking.committed(group, [place], 1.0)[0].offset
        except KafkaException:
            return None

    wait_for("nothing is committed yet", lambda: {told(name) for name in groups} == {OFFSET_INVALID})
    for member in members:
        member.commit(offsets=[place], asynchronous=False)
    with ThreadPoolExecutor(1) as other:
        stopped = other.submit(three.stop, 1)
        while not stopped.done():
            assert {told(name) for name in groups} <= {place.offset, None}
        stopped.result()
    committed = wait_for("status knows all", lambda: cluster.offsets().committed)
    assert committed == {name: {(place.topic, 0): place.offset} for name in groups}
    for closing in (*members, asking, cluster):
        closing.close()
    three.restart(1)
