"""A broker's address, tried without a Kafka client: TCP, TLS, and which requests it understands.

A client only says that it got no answer. Here each layer is tried by itself, so the finding names the one that fails.
"""

import socket
import ssl
import struct
import time

from pipeline.doctor.finding import ANSWER_SECONDS, CONNECT_SECONDS, Finding, Hung, ok, plain, problem, warning
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.kafka import KafkaConfig, tls_context

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
    raw.settimeout(ANSWER_SECONDS)
    findings = [ok(where, "accepts connections")]
    if not kafka.security_protocol.endswith("SSL"):
        with raw:
            finding = features(where, raw)
        hangs = finding.advice == Hung.advice
        if finding.level == "problem" and not hangs and speaks_tls(host, port):
            advice = "set kafka.security_protocol to SSL or SASL_SSL, or use the port of the plain listener"
            finding = problem(finding.check, "the port speaks TLS, kafka.security_protocol does not", advice)
        return [*findings, finding]
    try:
        with raw, tls_context(kafka).wrap_socket(raw, server_hostname=host) as stream:
            return [*findings, certificate_finding(where, stream), features(where, stream)]
    except ConfigError as error:
        return [*findings, problem(where + " TLS", str(error), "name the right file")]
    except TimeoutError:
        return [*findings, problem(where + " TLS", str(Hung()), Hung.advice)]
    except OSError as error:  # ssl.SSLError is one
        return [*findings, tls_trouble(where, error)]


def speaks_tls(host: str, port: int) -> bool:
    """Whether a TLS handshake succeeds, whoever it may be."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS) as raw, context.wrap_socket(raw):
            return True
    except OSError:
        return False


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


def certificate_finding(where: str, stream: ssl.SSLSocket) -> Finding:
    """How long the broker's certificate is good for."""
    check = where + " TLS"
    until = str((stream.getpeercert() or {}).get("notAfter", ""))
    days = (ssl.cert_time_to_seconds(until) - time.time()) / 86_400 if until else float("inf")
    if days < CERTIFICATE_WARNING_DAYS:
        return warning(check, f"the broker's certificate ends in {days:.0f} days ({until})", "have it renewed")
    return ok(check, f"certificate accepted, good until {until or 'ever'}")


def features(where: str, stream: socket.socket) -> Finding:
    """Whether the broker understands every request that Andon makes."""
    check = where + " version"
    try:
        answer = exchange(stream)
    except TimeoutError:
        return problem(check, str(Hung()), Hung.advice)
    except (OSError, EOFError) as error:
        words = f"does not answer as a Kafka broker: {error or 'it closed the connection'}"
        advice = "correct the port: this is another service"
        return problem(check, words, advice)
    except ValueError as error:
        return problem(check, str(error), "correct the port: this is another service")
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
    size = int(struct.unpack(">i", first)[0])
    if not 10 <= size <= MAX_ANSWER_BYTES:
        raise ValueError("the port answers, but not as a Kafka broker does")
    answer = _read(stream, size)
    _, error, count = struct.unpack_from(">ihi", answer)
    if error or not 0 <= 6 * count <= len(answer) - 10:
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
