"""Kafka client settings, in one place for every client. Partitioner pinned to murmur2, Java's and Faust's."""

import ssl
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from pipeline.runtime.errors import ConfigError
from pipeline.runtime.secrets import read_secret, refuse_other_readers

Doc = msgspec.Meta

PARTITIONER = "murmur2_random"
SESSION_TIMEOUT_MS = 6_000  # a static member's slot is taken over this long after it died
HEARTBEAT_INTERVAL_MS = 1_000
# A broker that is back is found within about a second. With librdkafka's own 100 ms a client without one tries 20 times
# a second.
RECONNECT_MS, RECONNECT_MAX_MS = 250, 1_000
TRANSACTION_TIMEOUT_MS = 6_000  # a dead slot stalls read-committed readers no longer than this
# Of a consumer whose records are waited for: with librdkafka's own it may pause for a second when its queue was full.
PROMPT = {"fetch.wait.max.ms": 10, "fetch.queue.backoff.ms": 2}
NEW_PARTITIONS_MS = 5_000  # a consumer looks this often whether its topics have more
MAX_RESPONSE_BYTES = 1 << 30  # the embedded broker answers with a whole backlog; whoever refuses that reads no more


class KafkaConfig(msgspec.Struct, frozen=True):
    """How to reach the cluster."""

    bootstrap_servers: Annotated[str, Doc(min_length=1, description="host:port, comma-separated")] = "127.0.0.1:9092"
    security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], Doc(description="Kafka security protocol")
    ] = "PLAINTEXT"
    sasl_mechanism: Annotated[Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], Doc(description="SASL mechanism")] = (
        "SCRAM-SHA-512"
    )
    sasl_username: Annotated[str, Doc(description="SASL user")] = ""
    sasl_password: Annotated[str, Doc(description="SASL password; environment or file only")] = ""
    sasl_password_file: Annotated[str, Doc(description="file that holds it")] = ""
    ssl_ca_file: Annotated[str, Doc(description="PEM file of the certificate authority")] = ""
    ssl_certificate_file: Annotated[str, Doc(description="PEM file of the client certificate")] = ""
    ssl_key_file: Annotated[str, Doc(description="PEM file of the client key")] = ""
    topic_prefix: Annotated[str, Doc(max_length=64, description="put before every topic name")] = ""


def sasl_password(config: KafkaConfig) -> str:
    """The password, however it is given. Raises ConfigError when its file cannot be read."""
    return read_secret(config, "kafka", "sasl_password")


def check(config: KafkaConfig) -> None:
    """Raises ConfigError for what can be known to be wrong without asking anybody."""
    protocol = config.security_protocol
    if protocol.startswith("SASL") and not (config.sasl_username and sasl_password(config)):
        lacking = "sasl_password" if config.sasl_username else "sasl_username"
        raise ConfigError(
            f"kafka.{lacking} is empty: security_protocol = {protocol!r} needs it "
            f"(ANDON_KAFKA_{lacking.upper()}, or {lacking} in the file's [kafka])"
        )
    for key in ("ssl_ca_file", "ssl_certificate_file", "ssl_key_file") if protocol.endswith("SSL") else ():
        path = getattr(config, key)
        if path and not Path(path).is_file():
            raise ConfigError(f"kafka.{key} = {path!r}: there is no such file")
    if protocol.endswith("SSL") and config.ssl_key_file:
        refuse_other_readers(Path(config.ssl_key_file), f"kafka.ssl_key_file = {config.ssl_key_file!r}")
    if protocol.endswith("SSL") and (config.ssl_ca_file or config.ssl_certificate_file):
        tls_context(config)


def tls_context(config: KafkaConfig) -> ssl.SSLContext:
    """What librdkafka makes of the same files, for clients that are not its.

    Raises:
        ConfigError: when a file holds no certificate, or no key that belongs to it.
    """
    key, file = "ssl_ca_file", config.ssl_ca_file
    try:
        context = ssl.create_default_context(cafile=file or None)
        key, file = "ssl_certificate_file", config.ssl_certificate_file
        if file:
            context.load_cert_chain(file, config.ssl_key_file or None, password="")  # or it would ask the terminal
    except OSError as error:  # ssl.SSLError is one
        with_key = f", with the key of kafka.ssl_key_file = {config.ssl_key_file!r}" if key != "ssl_ca_file" else ""
        raise ConfigError(
            f"kafka.{key} = {file!r}{with_key}: should be PEM that can be read without a passphrase: {error}"
        ) from None
    return context


def client_config(config: KafkaConfig, client_id: str) -> dict[str, Any]:
    """librdkafka settings common to producers, consumers and admin clients. The client is silent: what fails, its user
    says; `pipeline.runtime.kafka_log` lets one speak.

    Raises:
        ConfigError: for settings that no client can be made with.
    """
    check(config)
    settings: dict[str, Any] = {
        "bootstrap.servers": config.bootstrap_servers,
        "client.id": client_id,
        "security.protocol": config.security_protocol,
        "socket.keepalive.enable": True,
        "receive.message.max.bytes": MAX_RESPONSE_BYTES,
        "reconnect.backoff.ms": RECONNECT_MS,
        "reconnect.backoff.max.ms": RECONNECT_MAX_MS,
        "log_level": 0,
    }
    if config.security_protocol.startswith("SASL"):
        settings |= {
            "sasl.mechanism": config.sasl_mechanism,
            "sasl.username": config.sasl_username,
            "sasl.password": sasl_password(config),
        }
    if config.security_protocol.endswith("SSL"):
        files = {
            "ssl.ca.location": config.ssl_ca_file,
            "ssl.certificate.location": config.ssl_certificate_file,
            "ssl.key.location": config.ssl_key_file,
        }
        settings |= {name: path for name, path in files.items() if path}
    return settings


def producer_config(config: KafkaConfig, client_id: str, **more: Any) -> dict[str, Any]:
    """An idempotent producer with bounded queue and timeouts."""
    return client_config(config, client_id) | {
        "enable.idempotence": True,
        "partitioner": PARTITIONER,
        "compression.type": "zstd",  # 40 % fewer bytes than lz4, for the same work at the reader
        "queue.buffering.max.messages": 200_000,
        "queue.buffering.max.kbytes": 128 * 1024,
        "message.timeout.ms": 30_000,
        **more,
    }


def consumer_config(config: KafkaConfig, client_id: str, group: str, instance: str, **more: Any) -> dict[str, Any]:
    """A static, read-committed member that commits only when told to.

    `instance` is the slot's stable `group.instance.id`; the classic protocol, because it is the one that every broker
    that Andon runs on speaks.
    """
    return client_config(config, client_id) | {
        "group.id": config.topic_prefix + group,
        "group.instance.id": instance,
        "group.protocol": "classic",
        "session.timeout.ms": SESSION_TIMEOUT_MS,
        "heartbeat.interval.ms": HEARTBEAT_INTERVAL_MS,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "topic.metadata.refresh.interval.ms": NEW_PARTITIONS_MS,
        **PROMPT,
        **more,
    }
