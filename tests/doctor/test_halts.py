"""`andon doctor` on the safety record: intact, erased, forged, named and missing, silent, and not to be verified."""

from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from support.brokers import AnyBroker
from support.waiting import DEADLINE_SECONDS

from pipeline.correlate.halt_watch import DISTURBED, UNREAD
from pipeline.doctor.finding import Finding
from pipeline.doctor.halts import check_halts, halt_findings
from pipeline.halt.safety import SafetyRecord
from pipeline.halt.signing import SigningKey, load_or_create, load_trusted
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.kafka import KafkaConfig, client_config, producer_config
from pipeline.wire import topics
from pipeline.wire.halts import Halt, encode_halt
from pipeline.wire.verdicts import FleetHeartbeat, StandingHalt, encode_verdict

NOW = 1_721_362_140_000
KEY = "acme/v/p/1"
BEAT = "acme/-/heartbeat"


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """The correlator's key."""
    return load_or_create(tmp_path / "keys")


def halt(key: SigningKey) -> bytes:
    """A signed halt of KEY."""
    unsigned = Halt(
        action="halt", fleet="acme", vendor="v", product="p", version="1", rings=("*",), epoch=1, issued_at=NOW,
        expires_at=NOW + 1, decided_by="andon", policy="", reason="", evidence=None, kid="",
    )  # fmt: skip
    return encode_halt(key.sign(unsigned))


def beat(key: SigningKey, at: int = NOW, *flags: str) -> bytes:
    """A signed heartbeat that names KEY."""
    standing = (StandingHalt(KEY, 1),)
    figures = {"stream_time": at, "live_updates": 1, "events": 9, "offset": 3, "standing_total": 1}
    record = FleetHeartbeat(fleet="acme", at=at, standing=standing, flags=flags, **figures)
    return encode_verdict(key.sign_word(record))


def findings(keys: Path, halts: list[bytes | None], beats: list[bytes]) -> list[Finding]:
    """What is found of these records of KEY and of acme."""
    record = SafetyRecord(load_trusted(keys))
    for raw in beats:
        record.take_word(BEAT.encode(), raw)
    for value in halts:
        record.take_halt(KEY.encode(), value)
    return halt_findings(record, NOW)


def test_what_is_wrong_with_the_record_is_said(key: SigningKey, tmp_path: Path) -> None:
    """Intact it is well; an erased, forged or missing halt is a problem, a silent or deaf detector is said."""
    keys = tmp_path / "keys"
    stranger = load_or_create(tmp_path / "stranger")
    (well,) = findings(keys, [halt(key)], [beat(key)])
    assert (well.level, well.words) == ("ok", "1 stands, each as it was signed; 1 fleet sends signed heartbeats")
    for left, words in (
        ([halt(key), None], "was erased"),
        ([None], "was erased"),
        ([halt(key), b"junk"], "newest record is none"),
        ([halt(stranger)], "signed by a key that is not trusted"),
        ([], "no such record is there"),
    ):
        (found,) = findings(keys, left, [beat(key)])
        assert (found.level, found.words.startswith(f"{KEY} is unknown: ")) == ("problem", True)
        assert words in found.words
    for heard, level, words in (
        ([beat(key, NOW - 31_000)], "warning", "none for 30 s: acme"),
        ([beat(key), beat(stranger)], "problem", "not believed"),
        ([beat(key, NOW, UNREAD)], "problem", "cannot read fleet.halts"),
        ([beat(key, NOW, DISTURBED)], "warning", "within the last hour: acme"),
    ):
        (found,) = findings(keys, [halt(key)], heard)
        assert found.level == level
        assert words in found.words


def test_the_record_is_read_from_the_cluster(broker: AnyBroker, key: SigningKey, tmp_path: Path) -> None:
    """Both topics to their ends; without keys, or with a directory that others may write to, it says that."""
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix=f"{tmp_path.name}.")
    trust = TrustConfig(keys_dir=str(tmp_path / "keys"))
    assert [found.level for found in check_halts(kafka, trust)] == ["not checked"]
    admin = AdminClient(client_config(kafka, "test"))
    new = [NewTopic(kafka.topic_prefix + topic.name, 1, 1) for topic in (topics.HALTS, topics.VERDICTS)]
    for created in admin.create_topics(new).values():
        created.result(DEADLINE_SECONDS)
    producer = Producer(producer_config(kafka, "test"))
    producer.produce(kafka.topic_prefix + topics.VERDICTS.name, beat(key, wall_clock_ms()), BEAT)
    producer.produce(kafka.topic_prefix + topics.HALTS.name, halt(key), KEY)
    assert producer.flush(DEADLINE_SECONDS) == 0
    assert [found.level for found in check_halts(kafka, trust)] == ["ok"]
    producer.produce(kafka.topic_prefix + topics.HALTS.name, None, KEY)
    assert producer.flush(DEADLINE_SECONDS) == 0
    assert [found.level for found in check_halts(kafka, trust)] == ["problem"]
    assert [found.level for found in check_halts(kafka, TrustConfig())] == ["not checked"]
    (tmp_path / "keys").chmod(0o777)
    assert [found.check for found in check_halts(kafka, trust)] == ["keys of halts"]
