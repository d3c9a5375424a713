"""SCRAM users of a local Kafka: made through the admin interface, let in by every broker before anyone relies on it."""

import secrets
import time

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from pipeline.local.kafka.security import Sasl
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, client_config

ITERATIONS = 4096  # the least that Kafka takes: logins in tests should be quick
CALL_SECONDS = 10.0
ACCEPTED_SECONDS = 15.0


def make_user(security: Sasl, bootstrap_servers: str, name: str) -> KafkaConfig:
    """Make the user, or set its password anew; returns its client configuration once every broker lets it in.

    Raises:
        AndonError: when the brokers refuse.
    """
    password = security.passwords.setdefault(name, secrets.token_urlsafe(24))
    credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
    upsertion = UserScramCredentialUpsertion(name, credential, password.encode())
    admin = AdminClient(client_config(security.first(bootstrap_servers), "andon-users"))
    try:
        for future in admin.alter_user_scram_credentials([upsertion], request_timeout=CALL_SECONDS).values():
            future.result(CALL_SECONDS)
    except (KafkaException, TimeoutError) as error:
        raise AndonError(f"Kafka does not take the SCRAM user {name!r}: {error}") from None
    for server in bootstrap_servers.split(","):
        _wait_accepted(security.client(server, name))
    return security.client(bootstrap_servers, name)


def _wait_accepted(kafka: KafkaConfig) -> None:
    """A broker learns of a user a moment after the controller wrote it down."""
    deadline = time.monotonic() + ACCEPTED_SECONDS
    while True:
        try:
            AdminClient(client_config(kafka, "andon-users") | {"log_level": 0}).list_topics(timeout=1.0)
            return
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise AndonError(
                    f"{kafka.bootstrap_servers} does not let {kafka.sasl_username!r} in: {error}"
                ) from None
