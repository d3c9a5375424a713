"""A broker's address, tried without a Kafka client: TCP, TLS, and which requests it understands.

A client only says that it got no answer. Here each layer is tried by itself, so the finding names the one that fails.
"""

import socket
import ssl
import struct
import time

from pipeline.local.checks import ANSWER_SECONDS, CONNECT_SECONDS, Finding, ok, plain, problem, warning
from pipeline.runtime.kafka import KafkaConfig

API_VERSIONS_KEY = 18
MAX_ANSWER_BYTES = 64 * 1024
CERTIFICATE_WARNING_DAYS = 14

# (request, version needed, what for): together they came with Kafka 2.5.
NEEDED = (
    (22, 0, "idempotent producers"),
    (24, 0, "transactions"),
    (26, 0, "transactions"),
    (28, 3, "offsets inside transactions, fenced by group"),
    (11, 5, "static group members"),
    (44, 0, "changing topic settings"),
)


def check_address(kafka: KafkaConfig, host: str, port: int) -> list[Finding]:
    """Findings from the outermost layer inwards; they end at the first one that fails."""
    where = f"kafka {host}:{port}"
    try:
        raw = socket.create_connection((host, port), CONNECT_SECONDS)
    except OSError as error:
        advice = "start the broker, or correct --bootstrap-servers (kafka.bootstrap_servers)"
        return [problem(where, plain(error), advice)]
    findings = [ok(where, "accepts connections")]
    with raw:
        raw.settimeout(ANSWER_SECONDS)
        stream: socket.socket = raw
        if kafka.security_protocol.endswith("SSL"):
            try:
                stream = tls_context(kafka).wrap_socket(raw, server_hostname=host)
            except (ssl.SSLError, OSError) as error:
                return [*findings, tls_trouble(where, error)]
            findings.append(certificate_finding(where, stream))
        return [*findings, features(where, stream)]


def tls_context(kafka: KafkaConfig) -> ssl.SSLContext:
    """As librdkafka would be set up. Raises OSError (ssl.SSLError is one) for unusable files."""
    context = ssl.create_default_context(cafile=kafka.ssl_ca_file or None)
    if kafka.ssl_certificate_file:
        context.load_cert_chain(kafka.ssl_certificate_file, kafka.ssl_key_file or None)
    return context


def tls_trouble(where: str, error: Exception) -> Finding:
    """What a failed TLS handshake means."""
    check = where + " TLS"
    if isinstance(error, ssl.SSLCertVerificationError):
        words = f"the broker's certificate is not accepted: {error.verify_message}"
        return problem(check, words, "name the right authority in kafka.ssl_ca_file, or have the certificate renewed")
    if isinstance(error, ssl.SSLError) and error.reason in (
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "RECORD_LAYER_FAILURE",
    ):
        advice = "use the port of the TLS listener, or set kafka.security_protocol to PLAINTEXT or SASL_PLAINTEXT"
        return problem(check, "the port does not speak TLS", advice)
    words = f"the TLS handshake failed: {error}"
    return problem(check, words, "check kafka.ssl_ca_file, kafka.ssl_certificate_file and kafka.ssl_key_file")


def certificate_finding(where: str, stream: socket.socket) -> Finding:
    """How long the broker's certificate is good for."""
    check = where + " TLS"
    certificate = stream.getpeercert() if isinstance(stream, ssl.SSLSocket) else None
    until = str((certificate or {}).get("notAfter", ""))
    days = (ssl.cert_time_to_seconds(until) - time.time()) / 86_400 if until else float("inf")
    if days < CERTIFICATE_WARNING_DAYS:
        return warning(check, f"the broker's certificate ends in {days:.0f} days ({until})", "have it renewed")
    return ok(check, f"certificate accepted, good until {until or 'ever'}")


def features(where: str, stream: socket.socket) -> Finding:
    """Whether the broker understands every request that Andon makes."""
    check = where + " version"
    try:
        answer = exchange(stream)
    except (OSError, EOFError) as error:
        words = f"does not answer as a Kafka broker: {error or 'it closed the connection'}"
        advice = "check the port: this may be another service, or a TLS listener (then set kafka.security_protocol)"
        return problem(check, words, advice)
    except ValueError as error:
        return problem(check, str(error), "correct the port, or kafka.security_protocol")
    lacking = {what for key, version, what in NEEDED if answer.get(key, -1) < version}
    if lacking:
        advice = "use Kafka 2.5 or later, or a broker that speaks its protocol"
        return problem(check, f"the broker is too old: it lacks {', '.join(sorted(lacking))}", advice)
    return ok(check, "speaks all that Andon uses (Kafka 2.5 or later)")


def exchange(stream: socket.socket) -> dict[int, int]:
    """One ApiVersions request, which needs no credentials: request key → newest version understood."""
    client_id = b"andon-doctor"
    header = struct.pack(">hhih", API_VERSIONS_KEY, 0, 1, len(client_id)) + client_id
    stream.sendall(struct.pack(">i", len(header)) + header)
    first = _read(stream, 4)
    if first[:2] == b"\x15\x03":  # a TLS alert record
        raise ValueError("the port speaks TLS, but kafka.security_protocol says otherwise")
    size = int(struct.unpack(">i", first)[0])
    if not 10 <= size <= MAX_ANSWER_BYTES:
        raise ValueError("the port answers, but not as a Kafka broker does")
    answer = _read(stream, size)
    _, error, count = struct.unpack_from(">ihi", answer)
    if error or len(answer) < 10 + 6 * count:
        raise ValueError(f"the broker refuses to tell its version (error {error})")
    return {key: newest for key, _, newest in struct.iter_unpack(">hhh", answer[10 : 10 + 6 * count])}


def _read(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = stream.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
