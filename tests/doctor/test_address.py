"""`andon doctor` on ports that are not what they should be: other services, old brokers, TLS of every sort."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.brokers import embedded_broker

from pipeline.doctor.address import check_address
from pipeline.doctor.finding import Finding
from pipeline.doctor.main import command
from pipeline.runtime.kafka import KafkaConfig

pytestmark = pytest.mark.service


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


def test_tls_where_none_is_expected_and_the_reverse(tmp_path: Path) -> None:
    """The wrong security protocol is recognised from either side."""
    context, _ = self_signed(tmp_path, days=100)
    with listener(b"", context) as at:
        assert "speaks TLS" in last(KafkaConfig(), *at).words
    with embedded_broker() as broker:
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


def test_hostile_words_cannot_drive_the_terminal(tmp_path: Path) -> None:
    """What a server says is escaped before it is shown."""
    body = b'{"status":"\\u001b[2Jbad"}'
    hostile = b"HTTP/1.1 503 x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with listener(hostile) as (host, port):
        options = ["--bootstrap-servers", "127.0.0.1:1", "--gateway-url", f"http://{host}:{port}"]
        result = CliRunner().invoke(command, ["--data-dir", str(tmp_path), *options])
    assert "\x1b[2J" not in result.stdout
    assert "\\x1b[2Jbad" in result.stdout
