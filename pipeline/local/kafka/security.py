"""How a local Kafka knows its clients: it is open to all, or asks for an account. Tests bring others, with rights for
each account, or with certificates."""

import secrets
from functools import partial
from typing import Literal, Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.runtime.waiting import wait_for

SecurityProtocol = Literal["PLAINTEXT", "SASL_PLAINTEXT", "SSL"]

BROKER_USER = "broker"  # of brokers and controllers among themselves, and of who makes the first account
GUEST = "guest"  # of clients that cannot do SCRAM as Kafka 4 wants it, kcat on librdkafka before 2.3 for one
ITERATIONS = 4096  # the least that Kafka takes: passwords are random and long, and logins should be quick
CALL_SECONDS = 10.0
ACCEPTED_SECONDS = 15.0


class Security(Protocol):
    """What brokers and clients have to agree on."""

    @property
    def protocol(self) -> SecurityProtocol:
        """Of clients and brokers alike."""
        ...

    def properties(self) -> dict[str, str]:
        """A broker's part."""
        ...

    def client(self, bootstrap_servers: str) -> KafkaConfig:
        """That of a client who may do everything."""
        ...

    def first(self, bootstrap_servers: str) -> KafkaConfig:
        """That of one who is let in from the very first moment."""
        ...

    def guest(self, bootstrap_servers: str) -> KafkaConfig:
        """That of a person who looks in."""
        ...

    def begin(self, bootstrap_servers: str) -> None:
        """What is to be done once all brokers answer."""
        ...


class Open:
    """Whoever comes is welcome; only loopback comes."""

    protocol: SecurityProtocol = "PLAINTEXT"

    def properties(self) -> dict[str, str]:
        """Nothing to say."""
        return {}

    def client(self, bootstrap_servers: str) -> KafkaConfig:
        """Nothing but the address."""
        return KafkaConfig(bootstrap_servers=bootstrap_servers)

    first = guest = client

    def begin(self, bootstrap_servers: str) -> None:
        """Nothing."""


class Sasl:
    """Accounts by SASL/SCRAM-SHA-512, which tells no password to whoever listens. Two are known by SASL/PLAIN, which
    does, so their passwords are of this start: the brokers', for the first account can be made only once they run, and
    the guest's."""

    protocol: SecurityProtocol = "SASL_PLAINTEXT"

    def __init__(self, user: str, password: str) -> None:
        self._plain = {name: secrets.token_urlsafe(24) for name in (BROKER_USER, GUEST)}
        self._user = user
        self.passwords = {user: password}

    def properties(self) -> dict[str, str]:
        """Logins, and nobody without one."""
        known = f'username="{BROKER_USER}" password="{self._plain[BROKER_USER]}"'
        module = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        users = " ".join(f'user_{name}="{password}"' for name, password in self._plain.items())
        login = f"{module} {known} {users};"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.client.plain.sasl.jaas.config": login,
            "listener.name.client.scram-sha-512.sasl.jaas.config": scram,
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.controller.plain.sasl.jaas.config": login,
        }

    def first(self, bootstrap_servers: str) -> KafkaConfig:
        """The client that makes the first account."""
        return self._by_plain(bootstrap_servers, BROKER_USER)

    def guest(self, bootstrap_servers: str) -> KafkaConfig:
        """A person's client, until the brokers are started anew."""
        return self._by_plain(bootstrap_servers, GUEST)

    def _by_plain(self, bootstrap_servers: str, name: str) -> KafkaConfig:
        return KafkaConfig(
            bootstrap_servers=bootstrap_servers,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_username=name,
            sasl_password=self._plain[name],
        )

    def client(self, bootstrap_servers: str, user: str = "") -> KafkaConfig:
        """A user's; by default that of the one who may do everything."""
        return KafkaConfig(
            bootstrap_servers=bootstrap_servers,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username=user or self._user,
            sasl_password=self.passwords[user or self._user],
        )

    def begin(self, bootstrap_servers: str) -> None:
        """Make the account of the one who may do everything.

        Raises:
            AndonError: when the brokers do not take it.
        """
        self.add_user(bootstrap_servers, self._user)

    def add_user(self, bootstrap_servers: str, name: str) -> KafkaConfig:
        """Make an account, or set its password anew; returns its client configuration once every broker lets it in.

        Raises:
            AndonError: when the brokers do not take it.
        """
        password = self.passwords.setdefault(name, secrets.token_urlsafe(24))
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
        upsertion = UserScramCredentialUpsertion(name, credential, password.encode())
        admin = AdminClient(client_config(self.first(bootstrap_servers), "andon-accounts"))
        try:
            for future in admin.alter_user_scram_credentials([upsertion], request_timeout=CALL_SECONDS).values():
                future.result(CALL_SECONDS)
        except (KafkaException, TimeoutError) as error:
            raise AndonError(f"Kafka does not take the account {name}: {error}") from None
        for server in bootstrap_servers.split(","):  # each learns of it a moment after the controller wrote it down
            if not wait_for(partial(_lets_in, self.client(server, name)), ACCEPTED_SECONDS):
                raise AndonError(f"Kafka at {server} does not let the account {name} in")
        return self.client(bootstrap_servers, name)


def _lets_in(kafka: KafkaConfig) -> bool:
    try:
        AdminClient(client_config(kafka, "andon-accounts")).list_topics(timeout=1.0)
    except KafkaException:
        return False
    return True
