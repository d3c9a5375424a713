"""The archive between a real broker and the real engine: killed, cut off, stopped; every event there once."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions
from support.archive_place import NOW, Place
from support.brokers import AnyBroker, embedded_broker
from support.clickhouse import LocalClickHouse, until_stored, value
from support.engines import Database
from support.waiting import DEADLINE_SECONDS, until

from pipeline.bench.combine_load import EventLoad, messages
from pipeline.bench.faults.clickhouse import VIEWED
from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.machine.ports import free_port
from pipeline.local.machine.process import Process, andon
from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import client_config, producer_config
from pipeline.wire.acks import HaltAck
from pipeline.wire.deadletter import DeadLetter
from pipeline.wire.halts import Halt, encode_halt
from pipeline.wire.reasons import Reason
from pipeline.wire.topics import DEADLETTER, EVENTS, HALT_ACKS, HALTS, VERDICTS
from pipeline.wire.verdicts import Explanation, FleetHeartbeat, Verdict, encode_verdict

ADDED_SECONDS = 30.0  # ten, and what a busy machine adds


@pytest.fixture
def place(embedded: EmbeddedBroker, database: Database, tmp_path: Path) -> Place:
    """Topics and a database of the test's own: counts are of everything there is."""
    return Place(embedded, database, tmp_path, f"{tmp_path.name}.")


@pytest.fixture
def own_place(own_clickhouse: LocalClickHouse, tmp_path: Path) -> Iterator[Place]:
    """An engine to be killed and held up, and a broker for members that are killed."""
    with embedded_broker() as broker:
        yield Place(broker, Database(own_clickhouse, "andon"), tmp_path)


@pytest.fixture
def own_place_on_kafka(kafka: KafkaCluster, own_clickhouse: LocalClickHouse, tmp_path: Path) -> Place:
    """The same engine beside Apache Kafka."""
    return Place(kafka, Database(own_clickhouse, "andon"), tmp_path, f"{tmp_path.name}.")


def test_missing_topics_are_said(embedded: EmbeddedBroker, tmp_path: Path) -> None:
    """Without its topics the archive ends with 2, not to be started again, and one line that says what to run."""
    where = ("--bootstrap-servers", embedded.bootstrap_servers, "--topic-prefix", "nothing-here.")
    with Process(andon("archive", *where), tmp_path / "archive.log") as bare:
        assert bare.start().wait(DEADLINE_SECONDS) == 2
        assert "run `andon topics apply`" in bare.last_words()


def test_killed_again_and_again(own_place: Place) -> None:
    """kill -9 in mid-batch, of ClickHouse too: nothing lost, nothing twice, then a clean stop."""
    place, client = own_place, own_place.client
    for round_number in range(4):
        place.produce(4000, seed=round_number)
        archive = place.archive()
        have = value(client, "SELECT count() FROM events") or 0
        until_stored(client, "SELECT count() FROM events", have + 500)
        archive.kill()
    archive = place.archive()
    place.produce(4000, seed=9)
    place.endpoint.stage.kill()
    place.produce(1000, seed=10)
    place.endpoint.start()
    place.all_there()
    assert archive.stop() == 0
    assert not any(partition.metadata for partition in place.committed())
    ends = sum(partition.offset for partition in place.committed())
    assert ends == len(place.events) + sum(-(-count // 100) for count in (4000,) * 5 + (1000,))


def test_batches_change_hands(own_place_on_kafka: Place) -> None:
    """A batch of all partitions is left under way, and its partitions go to two members; and the other way round.

    On Apache Kafka: the embedded broker waits for a dead member for ever."""
    place, client = own_place_on_kafka, own_place_on_kafka.client
    engine = place.endpoint.stage
    for round_number, slots in enumerate([(0,), (1, 2), (0,)]):
        members = [place.archive(slot=slot) for slot in slots]
        have = value(client, "SELECT count() FROM events") or 0
        place.produce(2000, seed=round_number)
        until_stored(client, "SELECT count() FROM events", have + 500)
        engine.freeze()
        place.produce(2000, seed=10 + round_number)
        until("a batch is under way", place.promised)
        for member in members:
            member.kill()
        engine.thaw()  # what it has been sent by then it takes, or does not
    archive = place.archive()
    place.all_there()
    assert archive.stop() == 0
    assert archive.log.read_text("utf-8").count("a batch left under way is finished") >= 3


def test_a_paused_archive_reads_on_after_a_rebalance(own_place_on_kafka: Place) -> None:
    """librdkafka keeps a partition paused when it is taken away and given back."""
    place = own_place_on_kafka
    engine = place.endpoint.stage
    first = place.archive(max_held_rows=1000)
    engine.freeze()
    place.produce(100, seed=0)  # a batch that is no reason to pause again when it is repeated
    until("it is under way", place.promised)
    place.produce(4000, seed=1)
    until("reading pauses", lambda: "reading pauses" in first.log.read_text("utf-8"))
    second = place.archive(slot=1)
    engine.thaw()
    place.produce(4000, seed=2)
    place.all_there()
    assert second.stop() == 0
    assert first.stop() == 0


def test_sigterm_ends_it_though_clickhouse_hangs(own_place: Place) -> None:
    """An engine that takes a request and never answers: what it was sent stays promised, and is there once later."""
    place = own_place
    engine = place.endpoint.stage
    archive = place.archive()
    engine.freeze()
    place.produce(2000, seed=1)
    until("a batch is under way", place.promised)
    assert archive.stop() == 0
    assert place.promised()
    engine.thaw()
    archive = place.archive()
    place.all_there()
    assert archive.stop() == 0


def test_decisions_are_stored_once(place: Place) -> None:
    """Verdicts, heartbeats, halts, acknowledgements and dead letters, each in its table, across a restart."""
    verdict = Verdict(
        fleet="acme", vendor="v'; --", product="p", version="1", ring="canary", state="halted", at=NOW,
        log10_evidence=7.5, threshold=6, basis="concurrent", observed=37, expected=0.8, relative_risk=(12.1, 90.4),
        crashed_hosts=37, exposed_trials=9120, explanation=Explanation("signature", "0x50", "csagent.sys"),
    )  # fmt: skip
    beat = FleetHeartbeat(fleet="acme", at=NOW, stream_time=NOW, live_updates=1, events=2, offset=3)
    halt = Halt(
        action="halt", fleet="acme", vendor="v", product="p", version="1", rings=("*",), epoch=17, issued_at=NOW,
        expires_at=NOW + 1, decided_by="andon", policy="d", reason="<b>\n\n; DROP", evidence=None, kid="k", sig="s",
    )  # fmt: skip
    ack = HaltAck(halt_key=halt.key, epoch=17, subscriber="s", status="confirmed", at=NOW)
    letter = DeadLetter(b"\x00\xff\n\n{", b"k", Reason.INVALID_JSON, "why", EVENTS.name, 2, 17, "combine")
    producer, prefix = place.producer, place.kafka.topic_prefix
    producer.produce(prefix + VERDICTS.name, encode_verdict(verdict), b"acme/v/p/1/canary")
    producer.produce(prefix + VERDICTS.name, encode_verdict(beat), b"acme/-/heartbeat")
    producer.produce(prefix + HALTS.name, encode_halt(halt), halt.key.encode())
    producer.produce(prefix + HALT_ACKS.name, msgspec.json.encode(ack), halt.key.encode())
    producer.produce(prefix + DEADLETTER.name, letter.value, letter.key, headers=letter.headers())
    producer.produce(prefix + HALTS.name, b"not a halt", b"nonsense")
    assert producer.flush(DEADLINE_SECONDS) == 0
    client = place.client
    for _ in range(2):
        archive = place.archive()
        for table in ("verdicts", "heartbeats", "halts", "halt_acks"):
            until_stored(client, f"SELECT count() FROM {table}", 1)
        until_stored(client, "SELECT count() FROM dead_letters", 2)
        assert archive.stop() == 0
    row = client.query("SELECT vendor, state, explanation_module, relative_risk_high FROM verdicts").result_rows
    assert row == [("v'; --", "halted", "csagent.sys", 90.4)]
    assert client.query("SELECT epoch, rings, reason FROM halts").result_rows == [(17, ["*"], "<b>\n\n; DROP")]
    assert json.loads(client.command("SELECT record FROM halts"))["sig"] == "s"
    found = client.query(
        "SELECT reason, topic, partition, offset, hex(value) FROM dead_letters ORDER BY ALL"
    ).result_rows
    assert found == [
        ("invalid_json", EVENTS.name, 2, 17, letter.value.hex().upper()),
        ("unreadable_record", HALTS.name, 0, 1, b"not a halt".hex().upper()),
    ]
    assert client.command("SELECT count() FROM halt_acks") == 1


def test_the_same_report_twice(place: Place) -> None:
    """A client that repeats itself: one event once merged or read by events_once, one crash, one crashed host."""
    (_, event), = messages(EventLoad(1, 1, 1, 1.0, NOW, 1))  # fmt: skip
    crash = msgspec.json.decode(event) | {"kind": "crash", "signature": {"code": "0x50", "module": "csagent.sys"}}
    for _ in range(1000):
        place.producer.produce(place.events_topic, msgspec.json.encode(crash), b"h")
    assert place.producer.flush(DEADLINE_SECONDS) == 0
    archive = place.archive()
    client = place.client

    def stored() -> int:
        return sum(partition.offset for partition in place.committed() if partition.offset > 0)

    until("all of them are stored", lambda: stored() >= 1000)
    assert client.command("SELECT count() FROM events_once") == 1
    assert client.query("SELECT events, crashes, hosts FROM strata_by_minute").result_rows == [(1, 1, 1)]
    assert client.query("SELECT count() FROM crashes FINAL").result_rows == [(1,)]
    assert client.query("SELECT crashes, crashed_hosts, hosts FROM strata_by_minute").result_rows == [(1, 1, 1)]
    assert client.query("SELECT crashes, crashed_hosts FROM updates_by_hour").result_rows[0] == (1, 1)
    assert client.query("SELECT hosts, hosts_so_far FROM exposure_over_time").result_rows[0] == (1, 1)
    assert archive.stop() == 0


def test_an_insert_that_fails_behind_the_events_table_is_made_whole(place: Place) -> None:
    """`events` takes a block and a table behind a view does not: after it does again, each event is in both, once."""
    client = place.client
    keep_free = "ALTER TABLE {} MODIFY SETTING min_free_disk_bytes_to_perform_insert = {}"
    for table in VIEWED:
        client.command(keep_free.format(table, 1 << 60))
    place.produce(2000, seed=1)
    archive = place.archive()
    until_stored(client, "SELECT count() FROM events", 1)
    code = "code: 243"  # NOT_ENOUGH_SPACE
    until("it is refused", lambda: code in archive.log.read_text("utf-8"))
    assert client.command("SELECT uniqExactMerge(crashes) FROM stratum_days") == 0
    for table in VIEWED:
        client.command(keep_free.format(table, 0))
    place.all_there()
    assert archive.stop() == 0


def test_wrong_password_is_said_and_nothing_lost(place: Place) -> None:
    """ClickHouse refuses us: it is logged, retried, and SIGTERM still ends the stage cleanly; later all is stored."""
    place.produce(500, seed=1)
    right, place.password, place.metrics_port = place.password, "wrong", free_port()
    archive = place.archive()
    until("it is refused", lambda: "AUTHENTICATION_FAILED" in archive.log.read_text("utf-8"))
    status, said = place.health()
    assert (status, said["ready"]) == (503, False)
    assert said["why_not"][0].startswith("inserts into ClickHouse have failed for")
    assert "this user or its password is refused: check clickhouse.user" in said["why_not"][0]
    assert archive.stop() == 0
    place.password = right
    archive = place.archive()
    place.all_there()
    until("it is ready", lambda: place.health()[0] == 200)
    assert archive.stop() == 0


def test_partitions_added_are_stored(broker: AnyBroker, database: Database, tmp_path: Path) -> None:
    """Within seconds, each with a lag of its own; the client by itself looks every five minutes only."""
    place = Place(broker, database, tmp_path, f"{tmp_path.name}.")
    place.metrics_port = free_port()
    archive = place.archive()
    until("it is ready", lambda: place.health()[0] == 200)
    assert place.lagging() == set(range(EVENTS.partitions))
    count = EVENTS.partitions + 2
    admin = AdminClient(client_config(place.kafka, "test"))
    admin.create_partitions([NewPartitions(place.events_topic, count)])[place.events_topic].result(DEADLINE_SECONDS)
    producer = Producer(producer_config(place.kafka, "test"))
    for partition, (_, event) in enumerate(messages(EventLoad(count, 5000, 30, 600.0, NOW, 1))):
        producer.produce(place.events_topic, event, partition=partition)
    assert producer.flush(DEADLINE_SECONDS) == 0
    until("all are stored", lambda: place.client.command("SELECT count() FROM events") == count, ADDED_SECONDS)
    until("each shows its lag", lambda: place.lagging() == set(range(count)))
    assert archive.stop() == 0


def test_events_made_anew_are_all_stored(broker: AnyBroker, database: Database, tmp_path: Path) -> None:
    """The topic deleted and created again while the archive stands still, its log as long as before: all of the new one
    is stored, though a place in the other was committed."""
    place = Place(broker, database, tmp_path, f"{tmp_path.name}.")
    place.metrics_port = free_port()
    place.produce(500, seed=1)  # before it begins, so that its first look finds what it is to know the log by
    lives = [place.archive()]
    stored = "SELECT uniqExact(id) FROM events"
    until("they are stored, and it has looked", lambda: value(place.client, stored) == 500 and place.health()[0] == 200)
    lives[-1].freeze()
    place.make_anew()
    place.produce(500, seed=2)
    lives[-1].thaw()

    def all_stored() -> bool:
        if lives[-1].own_end() == FatalStageError.exit_code:
            lives.append(place.archive())
        return value(place.client, stored) == 1_000

    until("the new ones are stored", all_stored)
    assert lives[-1].stop() == 0
