"""The archive between a real broker and the real engine: killed, cut off, stopped; every event there once."""

import json
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, Producer, TopicPartition
from support.brokers import AnyBroker, until

from pipeline.bench.archive_line import LocalClickHouse, Stage, value, wait_for
from pipeline.bench.combine_load import Load, messages
from pipeline.bench.faults.clickhouse import VIEWED
from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.runtime import topic_admin
from pipeline.runtime.kafka import KafkaConfig, consumer_config, producer_config
from pipeline.wire.deadletter import DeadLetter
from pipeline.wire.events import decode_event
from pipeline.wire.halts import Halt, HaltAck, encode_halt
from pipeline.wire.reasons import Reason
from pipeline.wire.topics import DEADLETTER, EVENTS, HALT_ACKS, HALTS, VERDICTS
from pipeline.wire.verdicts import Explanation, FleetHeartbeat, Verdict, encode_verdict

pytestmark = pytest.mark.system

NOW = 1_795_000_000_000
WAIT_SECONDS = 90.0
QUICK = {"batch_ms": 50, "batch_rows": 1000}


class Place:
    """A broker with the topics, a ClickHouse with the schema, and what was produced."""

    def __init__(self, broker: AnyBroker, clickhouse: LocalClickHouse, prefix: str = "") -> None:
        self.kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix=prefix)
        topic_admin.apply(self.kafka, replication=1)
        self.events_topic = prefix + EVENTS.name
        self.clickhouse = clickhouse
        self.producer = Producer(producer_config(self.kafka, "test"))
        self.events: list[bytes] = []

    def produce(self, count: int, seed: int) -> None:
        """Events onto the topic, one in a hundred followed by one that is none."""
        for number, (key, event) in enumerate(messages(Load(count, 5000, 30, 600.0, NOW, seed))):
            self.producer.produce(self.events_topic, event, key)
            self.events.append(event)
            if number % 100 == 0:
                self.producer.produce(self.events_topic, b"{" + event[:20], key)
        assert self.producer.flush(30) == 0

    def archive(self, **options: int) -> Stage:
        """An archive with small batches, so that much can go wrong."""
        prefix = self.kafka.topic_prefix
        return self.clickhouse.archive(self.kafka.bootstrap_servers, topic_prefix=prefix, **QUICK, **options)

    def all_there(self, client: Client) -> None:
        """Every produced event is in the table, once, and in every aggregate."""
        wait_for(client, "SELECT count() FROM events", len(self.events), WAIT_SECONDS)
        self.settled()
        events = [decode_event(raw) for raw in self.events]
        stored = Counter(row[0] for row in client.query("SELECT id FROM events").result_rows)
        assert stored == Counter(event.id for event in events)
        crashes = [event for event in events if event.__class__.__name__ == "Crash"]
        totals = "uniqExactMerge(crashes), uniqExactMerge(crashed_hosts), uniqCombinedMerge(hosts)"
        hosts = len({event.host for event in events})
        for table in ("stratum_minutes", "stratum_hours", "stratum_days"):
            found = client.query(f"SELECT {totals} FROM {table}").first_row
            assert found[:2] == (len(crashes), len({event.host for event in crashes}))
            assert found[2] == pytest.approx(hosts, rel=0.01)
        assert client.command("SELECT sum(events) FROM strata_by_minute") == len(events)
        assert client.command("SELECT count() FROM hosts FINAL") == hosts
        assert client.command("SELECT count() FROM crashes FINAL") == len(crashes)
        listed: dict[str, set[str]] = defaultdict(set)
        crashed = Counter[str]()
        for event in events:
            for update in event.updates:
                listed[update.version].add(event.host)
        for event in crashes:
            crashed.update({update.version for update in event.updates})
        for table in ("update_minutes", "update_hours", "update_days"):
            found = client.query(f"SELECT version, uniqExactMerge(crashes) FROM {table} GROUP BY version")
            assert Counter(dict(found.result_rows)) == crashed
        found = client.query("SELECT version, hosts FROM crash_rate_by_update")
        assert dict(found.result_rows) == pytest.approx({name: len(hosts) for name, hosts in listed.items()}, rel=0.01)

    def settled(self) -> None:
        """Wait until nothing is under way: rows are seen in `events` a moment before they are in its aggregates."""
        until("nothing is under way", lambda: not self.promised(), WAIT_SECONDS)

    def promised(self) -> bool:
        """Whether a batch of events is under way, as the broker knows."""
        return any(partition.metadata for partition in self.committed())

    def committed(self) -> list[TopicPartition]:
        """What the archive's group has committed for the events."""
        reader = Consumer(consumer_config(self.kafka, "test", "andon-archive", "test"))
        wanted = [TopicPartition(self.events_topic, number) for number in range(EVENTS.partitions)]
        found = reader.committed(wanted, timeout=10)
        reader.close()
        return list(found)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Fresh for each test: counts are of everything there is."""
    with EmbeddedBroker(tmp_path / "broker") as broker, LocalClickHouse(tmp_path) as clickhouse:
        yield Place(broker, clickhouse)


@pytest.fixture
def place_on_kafka(kafka: KafkaCluster, tmp_path: Path) -> Iterator[Place]:
    """The same on Apache Kafka."""
    with LocalClickHouse(tmp_path) as clickhouse:
        yield Place(kafka, clickhouse, f"{tmp_path.name}.")


def test_killed_again_and_again(place: Place) -> None:
    """kill -9 in mid-batch, of ClickHouse too: nothing lost, nothing twice, then a clean stop."""
    client = place.clickhouse.client()
    for round_number in range(4):
        place.produce(4000, seed=round_number)
        archive = place.archive()
        have = value(client, "SELECT count() FROM events") or 0
        wait_for(client, "SELECT count() FROM events", have + 500, WAIT_SECONDS)
        archive.kill()
    assert place.clickhouse.stage is not None
    archive = place.archive()
    place.produce(4000, seed=9)
    place.clickhouse.stage.kill()
    place.produce(1000, seed=10)
    place.clickhouse.start()
    place.all_there(client)
    assert archive.stop() == 0
    assert not any(partition.metadata for partition in place.committed())
    ends = sum(partition.offset for partition in place.committed())
    assert ends == len(place.events) + sum(-(-count // 100) for count in (4000,) * 5 + (1000,))


def test_batches_change_hands(place_on_kafka: Place) -> None:
    """A batch of all partitions is left under way, and its partitions go to two members; and the other way round.

    On Apache Kafka: the embedded broker waits for a dead member for ever."""
    place = place_on_kafka
    client = place.clickhouse.client()
    assert place.clickhouse.stage is not None
    engine = place.clickhouse.stage.process
    for round_number, slots in enumerate([(0,), (1, 2), (0,)]):
        members = [place.archive(slot=slot) for slot in slots]
        have = value(client, "SELECT count() FROM events") or 0
        place.produce(2000, seed=round_number)
        wait_for(client, "SELECT count() FROM events", have + 500, WAIT_SECONDS)
        engine.send_signal(signal.SIGSTOP)
        place.produce(2000, seed=10 + round_number)
        until("a batch is under way", place.promised)
        for member in members:
            member.kill()
        engine.send_signal(signal.SIGCONT)  # what it has been sent by then it takes, or does not
    archive = place.archive()
    place.all_there(client)
    assert archive.stop() == 0
    assert archive.log.read_text("utf-8").count("a batch left under way is finished") >= 3


def test_a_paused_archive_reads_on_after_a_rebalance(place_on_kafka: Place) -> None:
    """librdkafka keeps a partition paused when it is taken away and given back."""
    place = place_on_kafka
    assert place.clickhouse.stage is not None
    engine = place.clickhouse.stage.process
    first = place.archive(max_held_rows=1000)
    engine.send_signal(signal.SIGSTOP)
    place.produce(100, seed=0)  # a batch that is no reason to pause again when it is repeated
    until("it is under way", place.promised)
    place.produce(4000, seed=1)
    until("reading pauses", lambda: "reading pauses" in first.log.read_text("utf-8"))
    second = place.archive(slot=1)
    engine.send_signal(signal.SIGCONT)
    place.produce(4000, seed=2)
    place.all_there(place.clickhouse.client())
    assert second.stop() == 0
    assert first.stop() == 0


def test_sigterm_ends_it_though_clickhouse_hangs(place: Place) -> None:
    """An engine that takes a request and never answers: what it was sent stays promised, and is there once later."""
    assert place.clickhouse.stage is not None
    engine = place.clickhouse.stage.process
    archive = place.archive()
    engine.send_signal(signal.SIGSTOP)
    place.produce(2000, seed=1)
    until("a batch is under way", place.promised)
    assert archive.stop() == 0
    assert place.promised()
    engine.send_signal(signal.SIGCONT)
    archive = place.archive()
    place.all_there(place.clickhouse.client())
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
    ack = HaltAck(halt_key=halt.key, epoch=17, subscriber="s", status="stopped", at=NOW)
    letter = DeadLetter(b"\x00\xff\n\n{", b"k", Reason.INVALID_JSON, "why", EVENTS.name, 2, 17, "combine")
    producer = place.producer
    producer.produce(VERDICTS.name, encode_verdict(verdict), b"acme/v/p/1/canary")
    producer.produce(VERDICTS.name, encode_verdict(beat), b"acme/-/heartbeat")
    producer.produce(HALTS.name, encode_halt(halt), halt.key.encode())
    producer.produce(HALT_ACKS.name, msgspec.json.encode(ack), halt.key.encode())
    producer.produce(DEADLETTER.name, letter.value, letter.key, headers=letter.headers())
    producer.produce(HALTS.name, b"not a halt", b"nonsense")
    assert producer.flush(30) == 0
    client = place.clickhouse.client()
    for _ in range(2):
        archive = place.archive()
        for table in ("verdicts", "heartbeats", "halts", "halt_acks"):
            wait_for(client, f"SELECT count() FROM {table}", 1, WAIT_SECONDS)
        wait_for(client, "SELECT count() FROM dead_letters", 2, WAIT_SECONDS)
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
    (_, event), = messages(Load(1, 1, 1, 1.0, NOW, 1))  # fmt: skip
    crash = msgspec.json.decode(event) | {"kind": "crash", "signature": {"code": "0x50", "module": "csagent.sys"}}
    for _ in range(1000):
        place.producer.produce(EVENTS.name, msgspec.json.encode(crash), b"h")
    assert place.producer.flush(30) == 0
    archive = place.archive()
    client = place.clickhouse.client()
    deadline = time.monotonic() + WAIT_SECONDS
    while sum(partition.offset for partition in place.committed() if partition.offset > 0) < 1000:
        assert time.monotonic() < deadline
    assert client.command("SELECT count() FROM events_once") == 1
    assert client.query("SELECT events, crashes, hosts FROM strata_by_minute").result_rows == [(1, 1, 1)]
    assert client.query("SELECT count() FROM crashes FINAL").result_rows == [(1,)]
    assert client.query("SELECT crashes, crashed_hosts, hosts FROM strata_by_minute").result_rows == [(1, 1, 1)]
    assert client.query("SELECT crashes, crashed_hosts FROM updates_by_hour").result_rows[0] == (1, 1)
    assert client.query("SELECT hosts, hosts_so_far FROM exposure_over_time").result_rows[0] == (1, 1)
    assert archive.stop() == 0


def test_an_insert_that_fails_behind_the_events_table_is_made_whole(place: Place) -> None:
    """`events` takes a block and a table behind a view does not: after it does again, each event is in both, once."""
    client = place.clickhouse.client()
    keep_free = "ALTER TABLE {} MODIFY SETTING min_free_disk_bytes_to_perform_insert = {}"
    for table in VIEWED:
        client.command(keep_free.format(table, 1 << 60))
    place.produce(2000, seed=1)
    archive = place.archive()
    wait_for(client, "SELECT count() FROM events", 1, WAIT_SECONDS)
    until("it is refused", lambda: "NOT_ENOUGH_SPACE" in archive.log.read_text("utf-8"), WAIT_SECONDS)
    assert client.command("SELECT uniqExactMerge(crashes) FROM stratum_days") == 0
    for table in VIEWED:
        client.command(keep_free.format(table, 0))
    place.all_there(client)
    assert archive.stop() == 0


def test_wrong_password_is_said_and_nothing_lost(place: Place) -> None:
    """ClickHouse refuses us: it is logged, retried, and SIGTERM still ends the stage cleanly; later all is stored."""
    place.produce(500, seed=1)
    right = place.clickhouse.write_password
    place.clickhouse.write_password = "wrong"
    archive = place.archive()
    until("it is refused", lambda: "AUTHENTICATION_FAILED" in archive.log.read_text("utf-8"), WAIT_SECONDS)
    assert archive.stop() == 0
    place.clickhouse.write_password = right
    archive = place.archive()
    place.all_there(place.clickhouse.client())
    assert archive.stop() == 0
