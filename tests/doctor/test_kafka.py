"""`andon doctor` on brokers: a healthy one, dead ones, wrong topics, wrong clocks, things that are no broker."""

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined]
from support.brokers import embedded_broker
from support.waiting import DEADLINE_SECONDS

from pipeline.access.main import command as topics_command
from pipeline.combine import config as combine
from pipeline.doctor import finding as checks
from pipeline.doctor import kafka as checks_kafka
from pipeline.doctor.finding import clock_finding
from pipeline.doctor.groups import groups_finding
from pipeline.doctor.kafka import login_trouble
from pipeline.doctor.main import RoleChoice, command
from pipeline.doctor.rights import RESOURCES, Resource, permission_finding
from pipeline.doctor.targets import STAGES
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.small_topics import local_topics
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_admin import TopicAdmin, apply
from pipeline.status.sources import Offsets
from pipeline.wire import topics

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """A broker with every topic as defined; those with the prefix "half-" are not."""
    with embedded_broker() as running:
        apply(KafkaConfig(bootstrap_servers=running.bootstrap_servers))
        yield running


def doctor(tmp_path: Path, *options: str) -> Result:
    """Run it where no local line runs."""
    return CliRunner().invoke(command, ["--data-dir", str(tmp_path), *options])


def findings(tmp_path: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """(exit code, last finding by check)."""
    result = doctor(tmp_path, "--json", *options)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}


def test_healthy_broker(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Everything about the cluster is fine; what is not configured is said and is no problem."""
    code, found = findings(tmp_path, "--bootstrap-servers", broker.bootstrap_servers)
    assert code == 0
    levels = {check: finding["level"] for check, finding in found.items()}
    unconfigured = {check for check, level in levels.items() if level == "not configured"}
    assert unconfigured == {"gateway", "combiner", "correlator", "archive", "clickhouse", "notify"}
    assert levels.pop("kafka clock") == "not checked"  # nothing is produced that could tell
    assert levels.pop("kafka permissions") == "not checked"  # this broker does not tell
    assert {levels[check] for check in levels if check.startswith("kafka")} == {"ok"}


def test_table_for_people(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Without --json: a line a finding, and a verdict."""
    result = doctor(tmp_path, "--bootstrap-servers", broker.bootstrap_servers)
    assert result.exit_code == 0
    assert f"all {len(topics.ALL)} are there" in result.stdout
    assert re.search(r"\nall well; \d not checked\n\Z", result.stdout)


def test_nothing_is_written(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """The doctor leaves no record and no topic behind."""
    names = [topic.name for topic in topics.ALL]
    before = TopicAdmin(KafkaConfig(bootstrap_servers=broker.bootstrap_servers)).find(names)
    findings(tmp_path, "--bootstrap-servers", broker.bootstrap_servers)
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers)
    assert TopicAdmin(kafka).find(names) == before
    fresh, newest_ms = checks_kafka.watch_stamps(kafka, names)
    assert (fresh, newest_ms) == (None, 0)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:9092"])
def test_dead_address_answers_in_seconds(tmp_path: Path, address: str) -> None:
    """Nothing listens, or the name is unknown: said at once, exit code 1."""
    started = time.monotonic()
    code, found = findings(tmp_path, "--bootstrap-servers", address)
    assert time.monotonic() - started < DEADLINE_SECONDS / 4
    assert code == 1
    assert found[f"kafka {address}"]["level"] == "problem"
    assert "bootstrap" in found[f"kafka {address}"]["advice"]


def test_one_dead_address_of_two(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """The dead one is a problem, and the rest is looked at through the other."""
    code, found = findings(tmp_path, "--bootstrap-servers", f"127.0.0.1:1,{broker.bootstrap_servers}")
    assert (code, found["kafka 127.0.0.1:1"]["level"], found["kafka login"]["level"]) == (1, "problem", "ok")


def test_missing_and_differing_topics(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Each topic that is missing or set up otherwise is named, with the command that mends it."""
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix="half-")
    admin = TopicAdmin(kafka)
    admin.create(topics.HALTS._replace(config={"cleanup.policy": "delete"}), "half-fleet.halts", 1)
    short = topics.EVENTS.config | {"retention.ms": "3600000"}
    admin.create(topics.EVENTS._replace(config=short), "half-fleet.events", 1)
    where = ["--bootstrap-servers", broker.bootstrap_servers, "--topic-prefix", "half-", "--json"]
    result = doctor(tmp_path, *where)
    assert result.exit_code == 1
    said = {finding["words"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert said["half-fleet.verdicts: missing"]["advice"] == "`andon topics apply` creates it"
    assert said["half-fleet.halts: cleanup.policy is delete, should be compact"]["level"] == "problem"
    assert said["half-fleet.events: retention.ms is 3600000, should be 172800000"]["level"] == "warning"


def test_a_stage_that_stands_still_is_named(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """A frozen combiner answers nobody and no server knows: its lag that does not move gives it away."""
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix="still-")
    apply(kafka)
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
    for number in range(50):
        producer.produce("still-fleet.events", str(number).encode(), partition=0)
    producer.flush(DEADLINE_SECONDS)
    group = {"group.id": "still-andon-combine", "bootstrap.servers": broker.bootstrap_servers, "log_level": 0}
    consumer = Consumer(group)
    where = ["--bootstrap-servers", broker.bootstrap_servers, "--topic-prefix", "still-"]
    for offset, level in ((3, "warning"), (50, "ok")):
        consumer.commit(offsets=[TopicPartition("still-fleet.events", 0, offset)], asynchronous=False)
        code, found = findings(tmp_path, *where)
        assert (code, found["kafka groups"]["level"]) == (0, level)
        if level == "warning":
            assert "still-andon-combine (47 messages of fleet.events)" in found["kafka groups"]["words"]
            assert doctor(tmp_path, *where).stdout.endswith("\n1 warning; 3 not checked\n")
    consumer.close()


def test_a_group_that_reads_or_checkpoints_is_not_accused() -> None:
    """What arrived just now, what is being read, and the correlator's commits, half a minute apart, are all as well."""
    place = ("fleet.events", 0)

    def at(seconds: float, end: int, **committed: int) -> Offsets:
        groups = {name.replace("_", "-"): {place: offset} for name, offset in committed.items()}
        return Offsets(seconds, {place: 0}, {place: end}, groups)

    still = groups_finding(at(0, 5_000, andon_combine=7), at(2, 5_000, andon_combine=7))
    assert (still.level, "andon-combine (4,993 messages" in still.words) == ("warning", True)
    assert groups_finding(at(0, 5_000, andon_combine=7), at(2, 9_000, andon_combine=8)).level == "ok"
    assert groups_finding(at(0, 7, andon_combine=7), at(2, 9_000, andon_combine=7)).level == "ok"
    deaf = at(2, 9_000)._replace(untold={"andon-combine": "timed out"})
    assert groups_finding(at(0, 5_000, andon_combine=7), deaf).level == "not checked"
    assert groups_finding(at(0, 5_000, andon_correlate=7), at(2, 5_000, andon_correlate=7)).level == "ok"


def test_a_small_disk_is_no_fault(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """On the topics of a local line, doctor and `topics apply` agree: as defined, smaller by choice, left alone."""
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix="small-")
    admin, small = TopicAdmin(kafka), local_topics(events_retention_mib=64)
    for topic in small:
        admin.create(topic, "small-" + topic.name, 1)
    where = ["--bootstrap-servers", broker.bootstrap_servers, "--topic-prefix", "small-"]
    code, found = findings(tmp_path, *where)
    assert (code, found["kafka topics"]["level"]) == (0, "ok")
    assert found["kafka single machine"]["level"] == "ok"
    assert "small-fleet.events" in found["kafka single machine"]["words"]
    for options in ([], ["--fix"]):
        applied = CliRunner().invoke(topics_command, ["apply", *options, *where])
        assert applied.exit_code == 0, applied.output
        assert "small-fleet.events: retention.bytes is 16777216, below the" in applied.output
        assert "--fix" not in applied.output
    kept = admin.find(["small-fleet.events"])["small-fleet.events"].config["retention.bytes"]
    assert kept == "16777216"


@pytest.mark.parametrize(("ahead_seconds", "level"), [(0.0, "ok"), (120.0, "problem"), (-120.0, "problem")])
def test_clock_is_compared_by_arriving_records(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, ahead_seconds: float, level: str
) -> None:
    """A record that arrives while the doctor looks tells the broker's clock; this machine's is shifted by the test."""
    monkeypatch.setattr(checks_kafka, "WATCH_SECONDS", 15.0)
    monkeypatch.setattr(checks_kafka, "wall_clock_ms", lambda: int((time.time() - ahead_seconds) * 1000))
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix="clock-")
    TopicAdmin(kafka).create(topics.COMMANDS, "clock-fleet.commands", 1)
    stop = threading.Event()
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})

    def traffic() -> None:
        while not stop.wait(0.05):
            producer.produce("clock-fleet.commands", b"x")
            producer.flush(DEADLINE_SECONDS)

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        finding = checks_kafka.broker_clock(kafka, ["clock-fleet.commands"], 5.0)
    finally:
        stop.set()
        thread.join()
    assert (finding.level, "a record that just arrived" in finding.words) == (level, True)


def test_clock_words() -> None:
    """Which clock is ahead is said the right way round."""
    assert "61 s ahead of this machine's" in clock_finding("c", 61, 5, "x").words
    assert "61 s behind this machine's" in clock_finding("c", -61, 5, "x").words


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bootstrap-servers", "nowhere"], "should be host:port"),
        (["--security-protocol", "SASL_SSL"], "kafka.sasl_username is empty"),
        (["--security-protocol", "SSL", "--ssl-ca-file", "/nonexistent.pem"], "there is no such file"),
        (["--gateway-url", "ftp://x"], "doctor.gateway_url = 'ftp://x'"),
        (["--clickhouse-url", "http://x:port"], "clickhouse.url"),
        (["--max-skew-seconds", "0"], "doctor.max_skew_seconds = '0'"),
    ],
)
def test_bad_configuration_is_exit_code_2(tmp_path: Path, options: list[str], words: str) -> None:
    """Settings that cannot be used are told apart from servers that are down."""
    result = doctor(tmp_path, "--bootstrap-servers", "127.0.0.1:1", *options)
    assert isinstance(result.exception, ConfigError)
    assert result.exception.exit_code == 2
    assert words in str(result.exception)


def test_permissions_are_named_one_by_one() -> None:
    """What is lacking is named by operation and resource; what nobody can tell of is called neither healthy nor ill."""
    every = {resource: list(AclOperation) for resource in RESOURCES}
    assert permission_finding(every, None) == checks.ok("kafka permissions", "this account may run every stage")
    halts, acks = Resource("topic", "fleet.halts"), Resource("topic", "fleet.halt-acks")
    allowed = every | {halts: [AclOperation.DESCRIBE, AclOperation.WRITE]}
    finding = permission_finding(allowed, "subscriber")
    assert (finding.level, finding.words.split(": ")[1]) == ("problem", "subscriber lacks READ fleet.halts")
    assert permission_finding(allowed, "collect").level == "ok"
    finding = permission_finding(allowed, None)
    assert (finding.level, "may run collect, combine, deadletter, and no other" in finding.words) == ("warning", True)
    assert permission_finding({key: [] for key in RESOURCES}, None).level == "problem"
    finding = permission_finding(every | {acks: None}, "subscriber")
    assert (finding.level, finding.words.split(": ")[1]) == ("not checked", "fleet.halt-acks")
    assert permission_finding(dict.fromkeys(RESOURCES), "archive").level == "not checked"
    nothing = dict.fromkeys(RESOURCES) | {Resource("topic", "fleet.commands"): []}
    finding = permission_finding(nothing, None)
    assert finding.level == "not checked"
    assert "which stages this account may run: topics lacks " in finding.words
    assert "; watch lacks READ fleet.commands; backup lacks READ fleet.commands, " in finding.words
    assert "; collect, combine, archive, subscriber, " in finding.words
    finding = permission_finding(allowed | {Resource("transactional id", combine.CombineConfig().identity): None}, None)
    assert finding.level == "warning"
    assert finding.words.startswith("this account may run collect, deadletter: topics lacks ")
    assert finding.words.endswith("; combine may lack rights on what is not there yet or not told: andon-combine-0")


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ([KafkaError._TRANSPORT, KafkaError._AUTHENTICATION], "the credentials are refused"),
        ([KafkaError._TRANSPORT, KafkaError.UNSUPPORTED_SASL_MECHANISM], "does not offer this SASL mechanism"),
        ([KafkaError._TRANSPORT], "does not answer this client"),
    ],
)
def test_login_errors_are_told_apart(codes: list[int], words: str) -> None:
    """Of all that a client complains about, the telling error is the one that is said."""
    finding = login_trouble(KafkaConfig(security_protocol="SASL_SSL"), [KafkaError(code) for code in codes])
    assert finding.level == "problem"
    assert words in finding.words


def test_plain_words() -> None:
    """Network errors are said the way people say them."""
    assert checks.plain(ConnectionRefusedError()) == "nothing listens there"
    assert checks.plain(OSError(113, "No route to host")) == "No route to host"


def test_a_role_goes_by_its_older_name_too() -> None:
    """What was called `rollout` is a subscriber; no role that there is has two names."""
    choice = RoleChoice(STAGES)
    assert choice.convert("rollout", None, None) == "subscriber"
    assert [choice.convert(stage, None, None) for stage in STAGES] == list(STAGES)
