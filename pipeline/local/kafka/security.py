"""How a local Kafka knows its clients. It is open to all; tests bring others, with accounts or certificates."""

from typing import Literal, Protocol

from pipeline.runtime.kafka import KafkaConfig

SecurityProtocol = Literal["PLAINTEXT", "SASL_PLAINTEXT", "SSL"]


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

    first = client

    def begin(self, bootstrap_servers: str) -> None:
        """Nothing."""
