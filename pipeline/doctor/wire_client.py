"""A client for requests of Kafka's protocol that librdkafka does not make."""

import logging

from aiokafka.client import AIOKafkaClient

from pipeline.doctor.finding import ANSWER_SECONDS
from pipeline.runtime.kafka import KafkaConfig, sasl_password, tls_context


def wire_client(kafka: KafkaConfig) -> AIOKafkaClient:
    """To be bootstrapped, and closed."""
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # or it writes to standard error
    return AIOKafkaClient(
        bootstrap_servers=kafka.bootstrap_servers,
        client_id="andon-doctor",
        request_timeout_ms=int(ANSWER_SECONDS * 1000),
        security_protocol=kafka.security_protocol,
        ssl_context=tls_context(kafka) if kafka.security_protocol.endswith("SSL") else None,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_plain_username=kafka.sasl_username,
        sasl_plain_password=sasl_password(kafka),
    )
