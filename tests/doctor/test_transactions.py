"""What hides behind an open transaction is said, with whose it is and when it ends."""

from pathlib import Path

from confluent_kafka import Producer
from support.waiting import DEADLINE_SECONDS

from pipeline.doctor.groups import Groups, groups_finding
from pipeline.doctor.transactions import Transaction, open_transactions
from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.runtime.topic_admin import apply
from pipeline.status.sources import Offsets
from pipeline.wire.topics import EVENTS

TIMEOUT_MS = 45_000


def test_an_open_transaction_is_named(kafka: KafkaCluster, tmp_path: Path) -> None:
    """A stranger's producer writes to `fleet.events` and hangs: doctor names it, and when it ends by itself."""
    here = KafkaConfig(bootstrap_servers=kafka.bootstrap_servers, topic_prefix=f"{tmp_path.name}.")
    apply(here, replication=1)
    assert open_transactions(here) is not None
    name, topic = f"{tmp_path.name}-stranger", here.topic_prefix + EVENTS.name
    settings = {"transactional.id": name, "transaction.timeout.ms": TIMEOUT_MS}
    producer = Producer(producer_config(here, "test", **settings))
    producer.init_transactions(DEADLINE_SECONDS)
    producer.begin_transaction()
    for _ in range(3):
        producer.produce(topic, b"{}", partition=1)
    assert producer.flush(DEADLINE_SECONDS) == 0
    found = Groups(here).finding()
    assert found.level == "warning"
    assert f"an open transaction holds back fleet.events[1] (3 records): that of '{name}' (producer " in found.words
    (mine,) = [one for one in open_transactions(here) or () if one.transactional_id == name]
    assert mine.ends_ms - mine.began_ms == TIMEOUT_MS
    assert mine.places == {(topic, 1)}
    producer.abort_transaction(DEADLINE_SECONDS)
    assert Groups(here).finding().level == "ok"


def test_whose_it_is_may_be_unknown() -> None:
    """Then that is said; and a transaction that was gone at the second look is none."""
    place = ("fleet.events", 0)
    first = Offsets(0, {place: 0}, {place: 9}, {}, {}, {place: 5})
    stranger = Transaction("x\x1b", 7, 0, 1_000, frozenset({place}))
    assert "whose it is, the brokers do not tell" in groups_finding(first, first._replace(at_seconds=2)).words
    named = groups_finding(first, first._replace(at_seconds=2), [stranger]).words
    assert "that of 'x\\x1b' (producer 7) since 1970-01-01 00:00:00Z, ends by itself at 1970-01-01 00:00:01Z" in named
    gone = Offsets(2, {place: 0}, {place: 9}, {}, {}, {place: 9})
    assert groups_finding(first, gone).level == "ok"
