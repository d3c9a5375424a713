"""Rules for the whole suite."""

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support.brokers import AnyBroker, Clients, embedded_broker, memory
from support.kafka_security import Sasl, Tls

from pipeline.local.kafka.classes import prepared_jars
from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.kafka.jars import KafkaJars
from pipeline.runtime.errors import AndonError

pytest_plugins = ["support.built.wheel", "support.engines", "support.tiers"]

# The same examples in every run, and no failure because the machine was busy.
settings.register_profile("andon", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("andon")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """With CI=true a skip whose reason begins with "needs " is a failure: that machine installs what tests need."""
    return _strict((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """The same for a whole file."""
    return _strict((yield))


def _strict(report: Any) -> Any:
    if os.environ.get("CI") and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith("needs "):
            report.outcome = "failed"
            report.longrepr = f"skipped with CI set: {reason}"
    return report


@pytest.fixture(scope="session")
def kafka_jars() -> KafkaJars:
    """Apache Kafka's jars, or a skip that says what is missing."""
    try:
        return prepared_jars()
    except AndonError as error:
        pytest.skip(f"needs java and Kafka's jars: {error}")


@pytest.fixture(scope="session")
def kafka(kafka_jars: KafkaJars) -> Iterator[KafkaCluster]:
    """One Apache Kafka, open to all, for the whole session: every test uses topics and groups of its own."""
    with memory() as directory, KafkaCluster(directory, jars=kafka_jars) as running:
        yield running


@pytest.fixture(scope="session")
def sasl_kafka(kafka_jars: KafkaJars) -> Iterator[KafkaCluster]:
    """One Apache Kafka with SCRAM users, and an authorizer that allows only what an ACL says."""
    with memory() as directory, KafkaCluster(directory, security=Sasl(), jars=kafka_jars) as running:
        yield running


@pytest.fixture(scope="session")
def tls_kafka(kafka_jars: KafkaJars) -> Iterator[KafkaCluster]:
    """One Apache Kafka that shows a certificate and wants one."""
    with memory() as directory, KafkaCluster(directory, security=Tls(directory), jars=kafka_jars) as running:
        yield running


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedBroker]:
    """One embedded broker for the whole session: every test uses topics and groups of its own. Modules whose tests
    abort transactions or fence producers have a fixture of this name for themselves: that silences live readers."""
    with embedded_broker() as running:
        yield running


@pytest.fixture(scope="module", params=["embedded", "kafka"])
def broker(request: pytest.FixtureRequest) -> AnyBroker:
    """The test runs twice: on the embedded broker, and on Apache Kafka."""
    found: AnyBroker = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def clients(broker: AnyBroker, request: pytest.FixtureRequest) -> Iterator[Clients]:
    """Topics and clients under a prefix of the test's own."""
    prefix = f"{request.node.originalname.removeprefix('test_')[-50:]}-{uuid.uuid4().hex[:6]}."
    made = Clients(broker, prefix)
    yield made
    made.close()
