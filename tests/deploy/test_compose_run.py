"""deploy/compose.yaml, run as far as one can without a container engine: each command with its environment, mounts,
user, read-only root and address, as a process of this machine, with Apache Kafka and ClickHouse's engine.

In place of images stand this machine's programs; ClickHouse's server is its engine behind HTTP, and Grafana's cannot be
had. Images are not built.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.deploying import sandbox, secrets
from support.deploying.compose import Compose
from support.deploying.image import image
from support.deploying.sandbox import Container, Network, stop
from support.outside import incident
from support.waiting import until

from pipeline.local.kafka.jars import KafkaJars
from pipeline.local.machine.process import Process

pytestmark = pytest.mark.service

ONCE = ("topics", "migrate")
FLEET = "acme"
INCIDENT_SECONDS = 180.0


class Running:
    """Compose's services as processes, begun in its order."""

    def __init__(self, compose: Compose, network: Network, place: Path, stack: ExitStack) -> None:
        self.compose, self.network, self.secrets = compose, network, place
        self._stack = stack
        self.processes: dict[str, Process] = {}
        self.containers: dict[str, Container] = {}

    def start(self, container: Container) -> None:
        """And keep it until the end."""
        process = self.network.process(container)
        self._stack.callback(process.kill)
        process.start()
        self.processes[container.name], self.containers[container.name] = process, container

    def is_healthy(self, name: str, test: list[str]) -> bool:
        """Whether its health check says so; raises AssertionError when it has ended."""
        process = self.processes[name]
        assert process.is_running, f"{name}: {process.last_words()}"
        return self.network.run(self.containers[name], *test).returncode == 0

    def once(self, container: Container, *words: str) -> str:
        """A service that runs to its end; what it prints."""
        done = self.network.run(container, *words)
        assert done.returncode == 0, f"{container.name}: {done.stdout}{done.stderr}"
        return done.stdout

    def andon(self, *words: str) -> str:
        """`docker compose run --rm andon WORDS`."""
        return self.once(self.compose.container("andon"), *image().entrypoint, *words)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, kafka_jars: KafkaJars, schema: Path) -> Iterator[Running]:
    """What others' images run: Kafka and ClickHouse; all of Andon's is to be started yet."""
    sandbox.require()
    place = tmp_path_factory.mktemp("compose")
    made = secrets.make(place / "secrets", "--fleet", FLEET)
    assert made.returncode == 0, made.stderr
    with Network(place / "network") as network, ExitStack() as stack:
        running = Running(Compose(place, place / "secrets"), network, place / "secrets", stack)
        for name in running.compose.services:
            network.join(name)
        running.start(running.compose.kafka("kafka-1", kafka_jars))
        running.start(running.compose.clickhouse(schema))
        test = running.compose.services["kafka-1"]["healthcheck"]["test"]
        assert test[0] == "CMD"
        until("Kafka is healthy", lambda: running.is_healthy("kafka-1", test[1:]))
        asked = running.compose.services["clickhouse"]["healthcheck"]["test"][-1]
        until("ClickHouse is healthy", lambda: network.curl("clickhouse", asked)[0] == 200)
        yield running


def stages(compose: Compose) -> list[str]:
    """The services that stay."""
    return [name for name in compose.ours() if name not in (*ONCE, "andon")]


def test_from_its_commands_to_a_halt(running: Running) -> None:
    """Topics, rights and schema; every stage healthy by the image's own check; an incident through the gateway; the
    halt as `andon halts` tells it, Prometheus and Alertmanager see all of it, and what was reported is stored."""
    compose, network, began = running.compose, running.network, time.monotonic()
    assert "topics are as they should be" in running.once(compose.container("topics"))
    running.once(compose.container("migrate"))
    for name, program in (("alertmanager", "prometheus-alertmanager"), ("prometheus", "prometheus")):
        running.start(compose.foreign(name, [program, *compose.services[name]["command"]]))
    for name in stages(compose):
        running.start(compose.container(name))
    for name in stages(compose):
        until(f"{name} is healthy", lambda name=name: running.is_healthy(name, image().healthcheck))
        ready = [*image().healthcheck[:-1], "/readyz"]
        until(f"{name} is ready", lambda name=name: running.is_healthy(name, ready))
    up_seconds = time.monotonic() - began
    lines = incident(FLEET, "crowdstrike", "acme-os")
    token = (running.secrets / f"token-{FLEET}").read_text()
    told = ["-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/x-ndjson", "--data-binary", "@-"]
    status, answer = network.curl("grafana", "http://collect:8080/v1/events", *told, body=b"\n".join(lines))
    assert (status, json.loads(answer)["accepted"]) == (202, len(lines)), answer
    halted = until("it is halted", lambda: running.andon("halts", "list", "--json").splitlines())
    assert [json.loads(row)["state"] for row in halted] == ["standing"]
    took = time.monotonic() - began
    print(json.dumps({"up_seconds": round(up_seconds, 1), "halt_seconds": round(took, 1), "events": len(lines)}))
    assert took <= INCIDENT_SECONDS
    count = ("query", "SELECT count() FROM events_once", "--format", "csv")
    until("it is stored", lambda: int(running.andon(*count).split()[-1]) >= len(lines))
    assert _alerts(network, "AndonHalt")
    wanted = len(stages(compose))
    until("all are scraped", lambda: len(_asked(network, 'up{job="andon"} == 1')) == wanted)


def _asked(network: Network, query: str) -> list[dict[str, Any]]:
    _, answer = network.curl("grafana", "http://prometheus:9090/api/v1/query", "--data-urlencode", f"query={query}")
    found: list[dict[str, Any]] = json.loads(answer)["data"]["result"]
    return found


def _alerts(network: Network, name: str) -> list[dict[str, Any]]:
    def look() -> list[dict[str, Any]]:
        _, answer = network.curl("grafana", "http://alertmanager:9093/api/v2/alerts")
        return [each for each in json.loads(answer) if each["labels"]["alertname"] == name]

    return until(f"{name} fires", look)


def test_each_ends_when_it_is_told_to(running: Running) -> None:
    """Within its grace period, well."""
    for name in stages(running.compose):
        assert stop(running.processes[name]) == 0, running.processes[name].last_words()
