"""deploy/compose.yaml and the chart, run as far as one can without an engine and a cluster: each command with its
environment, mounts, user, read-only root and address, as a process of this machine, with Apache Kafka and ClickHouse's
engine.

In place of images stand this machine's programs; ClickHouse's server is its engine behind HTTP, and Grafana's cannot be
had. Images are not built.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.deploying import sandbox, secrets
from support.deploying.chart import Chart
from support.deploying.compose import Compose
from support.deploying.image import image
from support.deploying.running import Running
from support.deploying.sandbox import Mount, Network
from support.outside import incident, needs
from support.waiting import until

from pipeline.local.kafka.jars import KafkaJars
from pipeline.wire.topics import ALL

pytestmark = pytest.mark.service

ONCE = ("topics", "migrate")
FLEET = "acme"
INCIDENT_SECONDS = 180.0


@contextmanager
def brokers(place: Path, jars: KafkaJars, how_many: str) -> Iterator[Running]:
    """Secrets, and compose's Kafka, healthy by its own check."""
    sandbox.require()
    needs("openssl", "prometheus", "prometheus-alertmanager")
    made = secrets.make(place / "secrets", "--fleet", FLEET)
    assert made.returncode == 0, made.stderr
    compose = Compose(place, place / "secrets", how_many)
    with Network(place / "network") as network, Running(compose, network, place / "secrets") as running:
        names = [name for name in compose.services if name.startswith("kafka-")]
        for name in names:  # before the first starts: each looks for the others
            network.join(name)
        for name in names:
            running.start(compose.kafka(name, jars))
        for name in names:
            test = compose.services[name]["healthcheck"]["test"]
            assert test[0] == "CMD"
            running.becomes_healthy(name, test[1:])
        yield running


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, kafka_jars: KafkaJars
) -> Iterator[Running]:
    """What others' images run: Kafka and ClickHouse; all of Andon's is to be started yet."""
    schema = request.getfixturevalue("schema")
    with brokers(tmp_path_factory.mktemp("compose"), kafka_jars, "one") as running:
        compose, network = running.compose, running.network
        running.start(compose.clickhouse(schema))
        url = compose.services["clickhouse"]["healthcheck"]["test"][-1]
        running.becomes("clickhouse", url.replace("localhost", network.addresses["clickhouse"]))
        yield running


def stages(compose: Compose) -> list[str]:
    """The services that stay."""
    return [name for name in compose.ours() if name not in (*ONCE, "andon")]


def test_compose_from_its_commands_to_a_halt(running: Running) -> None:
    """Topics, rights and schema; every stage healthy by the image's own check; an incident through the gateway; the
    halt as `andon halts` tells it, Prometheus and Alertmanager see all of it, and what was reported is stored."""
    compose, network, began = running.compose, running.network, running.began
    assert "topics are as they should be" in running.once(compose.container("topics"))
    running.once(compose.container("migrate"))
    for name, program in (("alertmanager", "prometheus-alertmanager"), ("prometheus", "prometheus")):
        running.start(compose.foreign(name, [program, *compose.services[name]["command"]]))
    for name in stages(compose):
        running.start(compose.container(name))
    for path in ("/healthz", "/readyz"):
        for name in stages(compose):
            running.becomes_healthy(name, [*image().healthcheck[:-1], path])
    up_seconds = time.monotonic() - began
    lines = incident(FLEET, "crowdstrike", "acme-os")
    token = (running.secrets / f"token-{FLEET}").read_text()
    told = ["-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/x-ndjson", "--data-binary", "@-"]
    status, answer = network.curl("grafana", "http://collect:8080/v1/events", *told, body=b"\n".join(lines))
    assert (status, json.loads(answer)["accepted"]) == (202, len(lines)), answer
    at = network.addresses
    running.becomes("correlate", f"http://{at['correlate']}:9103/metrics", "^andon_halts_total.* [1-9]")
    took = time.monotonic() - began
    halted = running.andon("halts", "list", "--json").splitlines()
    print(json.dumps({"up_seconds": round(up_seconds, 1), "halt_seconds": round(took, 1), "events": len(lines)}))
    assert [json.loads(row)["state"] for row in halted] == ["standing"]
    assert took <= INCIDENT_SECONDS
    stored = f"^andon_archive_rows_total.table=.events.. {len(lines)}"
    running.becomes("archive", f"http://{at['archive']}:9104/metrics", stored)
    assert running.andon("query", "SELECT count() FROM events_once", "--format", "csv").split()[-1] == str(len(lines))
    until("Alertmanager is told", lambda: "AndonHalt" in alerts(network))
    wanted = len(stages(compose))
    until("all are scraped", lambda: len(asked(network, 'up{job="andon"} == 1')) == wanted)


def test_a_typo_is_seen(running: Running) -> None:
    """A misspelt command, variable or place of a mount ends what is run, so that its silence means something."""
    good = running.compose.container("migrate")
    misspelt = {name.replace("_URL", "_URLS"): value for name, value in good.environ.items()}
    elsewhere = [mount._replace(target=mount.target.replace("secrets", "secret")) for mount in good.mounts]
    for wrong in (good._replace(environ=misspelt), good._replace(mounts=elsewhere)):
        assert running.network.run(wrong).returncode == 2
    assert running.network.run(good, "andon", "migrat").returncode == 2


def test_clickhouses_accounts_get_their_passwords(running: Running) -> None:
    """What its image runs when its directory is new, with a client that only shows what it is told: the accounts of
    users.sql, and the hash of each one's secret."""
    stub = running.secrets.parent / "stub"
    stub.mkdir()
    (stub / "clickhouse-client").write_text("#!/bin/sh\necho $CLICKHOUSE_PASSWORD $*\ncat\n")
    (stub / "clickhouse-client").chmod(0o755)
    service = running.compose.foreign(
        "clickhouse", ["/docker-entrypoint-initdb.d/andon.sh"], {"PATH": "/stub:/usr/bin"}
    )
    said = running.once(service._replace(mounts=[*service.mounts, Mount(stub, "/stub")])).splitlines()
    admin = (running.secrets / "clickhouse-admin").read_text()
    assert said[0] == f"{admin} --user admin --multiquery"
    assert "CREATE USER IF NOT EXISTS andon_write" in "\n".join(said)
    for user in ("andon", "andon_write", "andon_read", "andon_grafana"):
        digest = hashlib.sha256((running.secrets / f"clickhouse-{user}").read_bytes()).hexdigest()
        assert f"ALTER USER {user} IDENTIFIED WITH sha256_hash BY '{digest}' HOST ANY;" in said


def asked(network: Network, query: str) -> list[dict[str, Any]]:
    """What compose's Prometheus answers."""
    options = ["--get", "--data-urlencode", f"query={query}"]
    _, answer = network.curl("grafana", "http://prometheus:9090/api/v1/query", *options)
    found: list[dict[str, Any]] = json.loads(answer)["data"]["result"]
    return found


def alerts(network: Network) -> set[str]:
    """What fires in compose's Alertmanager."""
    _, answer = network.curl("grafana", "http://alertmanager:9093/api/v2/alerts")
    return {each["labels"]["alertname"] for each in json.loads(answer)}


def test_composes_stages_end_when_they_are_told_to(running: Running) -> None:
    """Within their grace period, well."""
    assert all(running.ends(name) for name in stages(running.compose))


@pytest.mark.slow
def test_three_brokers(tmp_path: Path, kafka_jars: KafkaJars) -> None:
    """They find one another, and every topic is there thrice."""
    with brokers(tmp_path, kafka_jars, "three") as running:
        assert "topics are as they should be" in running.once(running.compose.container("topics"))
        listed = running.once(running.compose.container("topics"), *image().entrypoint, "topics", "list")
        assert listed.count("3 replicas") == len(ALL)


def test_the_chart_is_ready(running: Running) -> None:
    """Its jobs end well; each pod's init container, its command, its environment, and its files as the kubelet mounts
    them; each answers its own probes, and ends when it is told to."""
    names = [f"kafka-{account}" for account in ("admin", "andon-collect", "andon-combine", "andon-correlate")]
    names += ["kafka-andon-archive", "kafka-andon-notify", "clickhouse-andon", "clickhouse-andon_write", "tokens.toml"]
    secret = {name: (running.secrets / name).read_bytes() for name in (*names, "ca.pem", "partials-secret")}
    keys = running.secrets / "correlate-keys"
    values = {
        "kafka": {
            "bootstrapServers": "kafka-1:9092",
            "saslMechanism": "PLAIN",
            "topicPrefix": "chart.",
            "replication": 1,
        },
        "clickhouse": {"url": "http://clickhouse:8123"},
        "alertmanager": {"urls": "http://alertmanager:9093"},
        "trust": {path.name: path.read_text() for path in (running.secrets / "trust").iterdir()},
        "collect": {"replicas": 1},
    }
    signing = {"signing.key.pem": (keys / "signing.key.pem").read_bytes()}
    chart = Chart(running.secrets.parent / "chart", values, secret | signing)
    for name in chart.jobs():
        running.once(chart.job(name))
    for name, owner, index, _ in chart.pods():
        for begins in chart.begins(name, owner, index):
            running.once(begins)
        running.start(chart.container(name, owner, index))
    pods = list(chart.pods())
    assert len(pods) == 6
    for name, _, _, container in pods:
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container[kind]["httpGet"]
            running.becomes(name, f"http://{running.network.addresses[name]}:{ports[probe['port']]}{probe['path']}")
    assert all(running.ends(name) for name, *_ in pods)
