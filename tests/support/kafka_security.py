"""Kafkas of tests that know their clients: by SASL/SCRAM with ACLs, or by TLS certificates of their own authority."""

import secrets
from pathlib import Path

import trustme
from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from pipeline.local.kafka.security import SecurityProtocol
from pipeline.local.machine.ports import LOOPBACK
from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.runtime.waiting import wait_for

BROKER_USER = "broker"  # of brokers and controllers among themselves, and of the first administrator
SUPER_USER = "admin"  # a SCRAM user who may do everything
ITERATIONS = 4096  # the least that Kafka takes: logins in tests should be quick
CALL_SECONDS = 10.0
ACCEPTED_SECONDS = 15.0


class Sasl:
    """SCRAM-SHA-512 users and an authorizer that denies what no ACL allows. Brokers know each other by SASL/PLAIN, for
    the first SCRAM user can be made only once they run."""

    protocol: SecurityProtocol = "SASL_PLAINTEXT"

    def __init__(self) -> None:
        self._broker_password = secrets.token_urlsafe(24)
        self.passwords = {SUPER_USER: secrets.token_urlsafe(24)}

    def properties(self) -> dict[str, str]:
        """Logins, authorizer and who is above it."""
        known = f'username="{BROKER_USER}" password="{self._broker_password}"'
        module = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        login = f'{module} {known} user_{BROKER_USER}="{self._broker_password}";'
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.client.plain.sasl.jaas.config": login,
            "listener.name.client.scram-sha-512.sasl.jaas.config": scram,
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.controller.plain.sasl.jaas.config": login,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{BROKER_USER};User:{SUPER_USER}",
        }

    def first(self, bootstrap_servers: str) -> KafkaConfig:
        """The client that makes the first SCRAM user."""
        return KafkaConfig(
            bootstrap_servers=bootstrap_servers,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_username=BROKER_USER,
            sasl_password=self._broker_password,
        )

    def client(self, bootstrap_servers: str, user: str = SUPER_USER) -> KafkaConfig:
        """A SCRAM user's."""
        return KafkaConfig(
            bootstrap_servers=bootstrap_servers,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username=user,
            sasl_password=self.passwords[user],
        )

    def begin(self, bootstrap_servers: str) -> None:
        """Make the user who may do everything."""
        self.add_user(bootstrap_servers, SUPER_USER)

    def add_user(self, bootstrap_servers: str, name: str) -> KafkaConfig:
        """Make a user without any rights, or set its password anew; returns its client configuration once every broker
        lets it in."""
        password = self.passwords.setdefault(name, secrets.token_urlsafe(24))
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
        upsertion = UserScramCredentialUpsertion(name, credential, password.encode())
        admin = AdminClient(client_config(self.first(bootstrap_servers), "test-users"))
        for future in admin.alter_user_scram_credentials([upsertion], request_timeout=CALL_SECONDS).values():
            future.result(CALL_SECONDS)
        for server in bootstrap_servers.split(","):  # each learns of it a moment after the controller wrote it down
            user = self.client(server, name)
            assert wait_for(lambda user=user: _lets_in(user), ACCEPTED_SECONDS), server
        return self.client(bootstrap_servers, name)


def _lets_in(kafka: KafkaConfig) -> bool:
    try:
        AdminClient(client_config(kafka, "test-users") | {"log_level": 0}).list_topics(timeout=1.0)
    except KafkaException:
        return False
    return True


class Tls:
    """Certificates both ways, of an authority made for this cluster; PEM files throughout."""

    protocol: SecurityProtocol = "SSL"

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self._ca, self._broker = folder / "ca.pem", folder / "broker.pem"
        self._certificate, self._key = folder / "client.pem", folder / "client-key.pem"
        authority.cert_pem.write_to_path(str(self._ca))
        certificate, key = _issued(authority, "broker")
        self._broker.write_bytes(key + certificate)
        certificate, key = _issued(authority, "andon")
        self._certificate.write_bytes(certificate)
        self._key.write_bytes(key)

    def properties(self) -> dict[str, str]:
        """The brokers' key store, and the authority to trust."""
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._broker),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._ca),
            "ssl.client.auth": "required",
        }

    def client(self, bootstrap_servers: str) -> KafkaConfig:
        """With a certificate of its own."""
        return KafkaConfig(
            bootstrap_servers=bootstrap_servers,
            security_protocol="SSL",
            ssl_ca_file=str(self._ca),
            ssl_certificate_file=str(self._certificate),
            ssl_key_file=str(self._key),
        )

    first = client

    def begin(self, bootstrap_servers: str) -> None:
        """Nothing."""


def _issued(authority: trustme.CA, name: str) -> tuple[bytes, bytes]:
    """A certificate for this machine, and its key in PKCS 8, the one form that Kafka reads."""
    made = authority.issue_cert(LOOPBACK, "localhost", common_name=name)
    key = load_pem_private_key(made.private_key_pem.bytes(), None)
    return made.cert_chain_pems[0].bytes(), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
