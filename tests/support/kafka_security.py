"""Kafkas of tests that know their clients: by SASL/SCRAM with ACLs, or by TLS certificates of their own authority."""

import secrets
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from pipeline.local.kafka import security
from pipeline.local.kafka.security import SecurityProtocol
from pipeline.local.machine.ports import LOOPBACK
from pipeline.runtime.kafka import KafkaConfig

SUPER_USER = "admin"  # a SCRAM user who may do everything


class Sasl(security.Sasl):
    """The local line's accounts, and an authorizer that denies what no ACL allows."""

    def __init__(self) -> None:
        super().__init__(SUPER_USER, secrets.token_urlsafe(24))

    def properties(self) -> dict[str, str]:
        """Logins, authorizer and who is above it."""
        return super().properties() | {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{security.BROKER_USER};User:{SUPER_USER}",
        }


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

    first = guest = client

    def begin(self, bootstrap_servers: str) -> None:
        """Nothing."""


def _issued(authority: trustme.CA, name: str) -> tuple[bytes, bytes]:
    """A certificate for this machine, and its key in PKCS 8, the one form that Kafka reads."""
    made = authority.issue_cert(LOOPBACK, "localhost", common_name=name)
    key = load_pem_private_key(made.private_key_pem.bytes(), None)
    return made.cert_chain_pems[0].bytes(), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
