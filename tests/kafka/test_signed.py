"""What a key has signed of what a cluster holds: said before it is revoked."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer
from support.brokers import AnyBroker
from support.rollout_world import DETECTOR, beat, halt, instead
from support.waiting import DEADLINE_SECONDS

from pipeline.halt.keys import command
from pipeline.halt.signing import public_pem
from pipeline.runtime import topic_admin
from pipeline.runtime.kafka import KafkaConfig, producer_config

pytestmark = pytest.mark.service


def test_a_dry_run_counts_what_would_not_be_believed(broker: AnyBroker, tmp_path: Path) -> None:
    """The newest record of each key, by topic; what was overwritten or erased since counts no more."""
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix="signed.")
    topic_admin.apply(kafka, replication=1)
    place = tmp_path / "keys"
    place.mkdir(mode=0o700)
    (place / f"{DETECTOR.kid}.pub.pem").write_bytes(public_pem(DETECTOR.public))
    producer = Producer(producer_config(kafka, "test"))
    gone = halt(version="2")
    for topic, key, value in (halt(), halt(2), gone, instead(gone, None), beat(), beat()):
        producer.produce(kafka.topic_prefix + topic, value, key)
    assert producer.flush(DEADLINE_SECONDS) == 0
    words = ["--dir", str(place), "--dry-run", "--bootstrap-servers", kafka.bootstrap_servers]
    said = CliRunner().invoke(command, ["revoke", DETECTOR.kid, *words, "--topic-prefix", kafka.topic_prefix])
    assert "the newest of each key: 1 on fleet.verdicts, 1 on fleet.halts" in said.output
    assert not (place / f"{DETECTOR.kid}.revoked").exists()
