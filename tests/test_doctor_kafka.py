"""`andon doctor` on brokers: a healthy one, dead ones, wrong topics, wrong clocks, things that are no broker."""

import json
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.local import checks, checks_kafka
from pipeline.local.broker import EmbeddedBroker
from pipeline.local.checks import Finding, clock_finding
from pipeline.local.checks_address import check_address
from pipeline.local.doctor import command
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topics import TopicAdmin, apply
from pipeline.wire import topics

pytestmark = pytest.mark.system
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """A broker with every topic as defined; those with the prefix "half-" are not."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory, EmbeddedBroker(Path(directory)) as running:
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
    assert unconfigured == {"gateway", "correlator", "clickhouse"}
    assert {levels[check] for check in levels if check.startswith("kafka")} == {"ok"}


def test_table_for_people(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Without --json: a line a finding, and a verdict."""
    result = doctor(tmp_path, "--bootstrap-servers", broker.bootstrap_servers)
    assert result.exit_code == 0
    assert "all 7 are there" in result.stdout
    assert result.stdout.endswith("all well\n")


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
    assert time.monotonic() - started < 10
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
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})

    def traffic() -> None:
        while not stop.wait(0.05):
            producer.produce("clock-fleet.commands", b"x")
            producer.flush(5)

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


@contextmanager
def listener(answer: bytes, context: ssl.SSLContext | None = None) -> Iterator[tuple[str, int]]:
    """A server that is no broker: it reads once, says `answer` to everybody, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stopping = threading.Event()

        def serve() -> None:
            while not stopping.is_set():
                peer, _ = server.accept()
                with peer:
                    try:
                        talk = context.wrap_socket(peer, server_side=True) if context else peer
                        with talk:
                            talk.recv(1000)
                            talk.sendall(answer)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()
        finally:
            stopping.set()
            socket.create_connection(server.getsockname()).close()
            thread.join()


def self_signed(tmp_path: Path, days: float) -> tuple[ssl.SSLContext, str]:
    """A server context for 127.0.0.1, and the file that vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(days=30))
    builder = builder.not_valid_after(now + timedelta(days=days))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "cert.pem").write_bytes(pem)
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context, str(tmp_path / "cert.pem")


def last(kafka: KafkaConfig, host: str, port: int) -> Finding:
    """Where the layers end."""
    return check_address(kafka, host, port)[-1]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x00\x00\x0a" + b"\xff" * 10])
def test_other_services_are_no_broker(answer: bytes) -> None:
    """A port that answers, but not in Kafka's protocol, is called that."""
    with listener(answer) as (host, port):
        finding = last(KafkaConfig(), host, port)
    assert (finding.check.split()[-1], finding.level) == ("version", "problem")


def test_old_broker_is_named_as_such() -> None:
    """A broker without transactions is too old."""
    with listener(
        b"\x00\x00\x00\x10" + b"\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01" + b"\x00\x0b\x00\x00\x00\x05"
    ) as at:
        finding = last(KafkaConfig(), *at)
    assert "too old: it lacks" in finding.words
    assert "transactions" in finding.words


def test_tls_where_none_is_expected_and_the_reverse(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """The wrong security protocol is recognised from either side."""
    context, _ = self_signed(tmp_path, days=100)
    with listener(b"", context) as at:
        assert "speaks TLS" in last(KafkaConfig(), *at).words
    finding = last(KafkaConfig(security_protocol="SSL"), "127.0.0.1", broker.port)
    assert (finding.check.split()[-1], finding.level) == ("TLS", "problem")


@pytest.mark.parametrize(("days", "trusted", "words"), [(100, False, "not accepted"), (-1, True, "expired")])
def test_certificates_are_judged(tmp_path: Path, days: float, trusted: bool, words: str) -> None:
    """An unknown authority and an expired certificate are told apart."""
    context, file = self_signed(tmp_path, days)
    kafka = KafkaConfig(security_protocol="SSL", ssl_ca_file=file if trusted else "")
    with listener(b"", context) as (_, port):
        finding = last(kafka, "localhost", port)
    assert finding.level == "problem"
    assert words in finding.words


def test_certificate_that_ends_soon(tmp_path: Path) -> None:
    """A good certificate is ok; one that ends within two weeks is a warning."""
    for days, level in ((100, "ok"), (3, "warning")):
        context, file = self_signed(tmp_path, days)
        with listener(b"", context) as (_, port):
            found = check_address(KafkaConfig(security_protocol="SSL", ssl_ca_file=file), "localhost", port)
        assert [each.level for each in found if each.check.endswith("TLS")] == [level]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bootstrap-servers", "nowhere"], "should be host:port"),
        (["--security-protocol", "SASL_SSL"], "kafka.sasl_username is empty"),
        (["--security-protocol", "SSL", "--ssl-ca-file", "/nonexistent.pem"], "there is no such file"),
        (["--gateway-url", "ftp://x"], "doctor.gateway_url = 'ftp://x'"),
        (["--clickhouse-url", "http://x:port"], "archive.clickhouse_url"),
        (["--max-skew-seconds", "0"], "doctor.max_skew_seconds = '0'"),
    ],
)
def test_bad_configuration_is_exit_code_2(tmp_path: Path, options: list[str], words: str) -> None:
    """Settings that cannot be used are told apart from servers that are down."""
    result = doctor(tmp_path, "--bootstrap-servers", "127.0.0.1:1", *options)
    assert isinstance(result.exception, ConfigError)
    assert result.exception.exit_code == 2
    assert words in str(result.exception)


def test_hostile_words_cannot_drive_the_terminal(tmp_path: Path) -> None:
    """What a server says is escaped before it is shown."""
    body = b'{"status":"\\u001b[2Jbad"}'
    hostile = b"HTTP/1.1 503 x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with listener(hostile) as (host, port):
        result = doctor(tmp_path, "--bootstrap-servers", "127.0.0.1:1", "--gateway-url", f"http://{host}:{port}")
    assert "\x1b[2J" not in result.stdout
    assert "\\x1b[2Jbad" in result.stdout


def test_plain_words() -> None:
    """Network errors are said the way people say them."""
    assert checks.plain(ConnectionRefusedError()) == "nothing listens there"
    assert checks.plain(OSError(113, "No route to host")) == "No route to host"
