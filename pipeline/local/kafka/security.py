"""How a local Kafka knows its clients: not at all, by SASL/SCRAM with ACLs, or by TLS certificates of its own CA."""

import secrets
from pathlib import Path
from typing import Literal, Protocol

from pipeline.local.datadir import write_private
from pipeline.local.kafka.certificates import Authority
from pipeline.local.machine.ports import LOOPBACK
from pipeline.runtime.kafka import KafkaConfig

BROKER_USER = "broker"  # of brokers and controllers among themselves, and of the first administrator
SUPER_USER = "admin"  # a SCRAM user who may do everything

SecurityName = Literal["sasl", "tls"]
SecurityProtocol = Literal["PLAINTEXT", "SASL_PLAINTEXT", "SSL"]


class Security(Protocol):
    """What brokers and clients have to agree on."""

    protocol: SecurityProtocol

    def properties(self, node: int) -> dict[str, str]:
        """A broker's part."""
        ...

    def client(self, bootstrap_servers: str) -> KafkaConfig:
        """That of a client who may do everything."""
        ...

    def first(self, bootstrap_servers: str) -> KafkaConfig:
        """That of one who is let in from the very first moment."""
        ...


class Open:
    """Whoever comes is welcome; only loopback comes."""

    protocol: SecurityProtocol = "PLAINTEXT"

    def properties(self, node: int) -> dict[str, str]:
        """Nothing to say."""
        return {}

    def client(self, bootstrap_servers: str) -> KafkaConfig:
        """Nothing but the address."""
        return KafkaConfig(bootstrap_servers=bootstrap_servers)

    first = client


class Sasl:
    """SCRAM-SHA-512 users and an authorizer that denies what no ACL allows. Brokers know each other by SASL/PLAIN, for
    the first SCRAM user can be made only once they run."""

    protocol: SecurityProtocol = "SASL_PLAINTEXT"

    def __init__(self) -> None:
        self._broker_password = secrets.token_urlsafe(24)
        self.passwords = {SUPER_USER: secrets.token_urlsafe(24)}

    def properties(self, node: int) -> dict[str, str]:
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


class Tls:
    """Certificates both ways, of an authority made for this cluster; PEM files throughout."""

    protocol: SecurityProtocol = "SSL"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._authority = Authority("andon local authority")
        self._ca = folder / "ca.pem"
        self._write("ca.pem", self._authority.certificate)
        certificate, key = self._authority.issue("andon", LOOPBACK)
        self._write("client.pem", certificate)
        self._write("client-key.pem", key)

    def _write(self, name: str, pem: bytes) -> Path:
        write_private(self._folder / name, pem.decode("ascii"))
        return self._folder / name

    def properties(self, node: int) -> dict[str, str]:
        """A key store of the broker's own, and the authority to trust."""
        certificate, key = self._authority.issue(f"broker-{node}", LOOPBACK)
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._write(f"broker-{node}.pem", key + certificate)),
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
            ssl_certificate_file=str(self._folder / "client.pem"),
            ssl_key_file=str(self._folder / "client-key.pem"),
        )

    first = client
