"""Apache Kafka on this machine: what outlives it, and what does not; what is missing is said; `andon up`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from support.brokers import Clients, memory, take, values
from support.outside import DEADLINE_SECONDS, Line, encode, event, incident, is_running, needs, now_ms, wait_for

from pipeline.local.kafka import kinds as kafka_line
from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.local.kafka.jars import KafkaJars, find_jars, kafka_version
from pipeline.local.kafka.properties import as_properties
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.kafka import KafkaConfig, client_config

pytestmark = pytest.mark.service


def test_data_outlive_a_stop_and_brokers_die_with_their_parent(kafka_jars: KafkaJars) -> None:
    """Stopped and started on the same directory, records are there. Whoever starts a broker and is killed with -9
    leaves no Java behind."""
    program = (
        "import sys, time, pathlib\n"
        "from pipeline.local.kafka.cluster import KafkaCluster\n"
        "cluster = KafkaCluster(pathlib.Path(sys.argv[1]))\n"
        "cluster.start()\n"
        "print(cluster.pid, cluster.bootstrap_servers, flush=True)\n"
        "time.sleep(60)\n"
    )
    with memory() as directory:
        with KafkaCluster(directory, jars=kafka_jars) as cluster:
            clients = Clients(cluster)
            topic = clients.topic()
            clients.send(topic, "kept")
            clients.close()
        with subprocess.Popen([sys.executable, "-c", program, str(directory)], stdout=subprocess.PIPE) as parent:
            assert parent.stdout is not None
            pid, servers = parent.stdout.readline().decode().split()
            settings = client_config(KafkaConfig(bootstrap_servers=servers), "test") | {"group.id": "test"}
            consumer = Consumer(settings)
            consumer.assign([TopicPartition(topic, 0, 0)])
            assert values(take(consumer, 1)) == ["kept"]
            consumer.close()
            assert is_running(int(pid))
            parent.kill()
        wait_for("the broker is gone", lambda: not is_running(int(pid)), 10)


def test_a_broker_that_cannot_start_says_why(kafka_jars: KafkaJars, tmp_path: Path) -> None:
    """A setting that Kafka refuses ends in one sentence with Kafka's own words."""
    cluster = KafkaCluster(tmp_path, jars=kafka_jars, settings={"num.io.threads": "none"})
    with pytest.raises(AndonError, match=r"num\.io\.threads"):
        cluster.start()
    assert cluster.pids == {}


def fake_tool(folder: Path, name: str, script: str) -> None:
    """An executable of that name."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


JAVA_21 = "echo 'openjdk version \"21.0.1\"' >&2"


@pytest.mark.parametrize(
    ("java", "maven", "words"),
    [
        ("", "", "there is no `java` in PATH"),
        ("echo 'openjdk version \"11.0.2\"' >&2", "", 'needs Java 17 or newer; .* says: openjdk version "11.0.2"'),
        (JAVA_21, "", "there is no `mvn` in PATH"),
        (JAVA_21, "echo '[ERROR] Could not transfer artifact x'; exit 1", "no way to the repository"),
        (JAVA_21, "echo '[ERROR] disk full'; exit 1", "cannot fetch Apache Kafka's jars: disk full"),
    ],
)
def test_what_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, java: str, maven: str, words: str
) -> None:
    """Java, its age, Maven, the network: each in its own words, and no half-fetched directory stays."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, script in (("java", java), ("mvn", maven)):
        if script:
            fake_tool(tools, name, script)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(AndonError, match=words):
        find_jars()
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_dir()] in ([], ["andon"])


def test_jars_are_fetched_whole_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Maven copies appears under the version's name when all is there; the second time nothing is fetched."""
    tools, calls = tmp_path / "bin", tmp_path / "calls"
    fake_tool(tools, "java", JAVA_21)
    copy = 'for word in "$@"; do case $word in -DoutputDirectory=*) to=${word#*=};; esac; done'
    fake_tool(tools, "mvn", f'{copy}; mkdir -p "$to"; echo jar > "$to/kafka.jar"; echo called >> "{calls}"')
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, second = find_jars(), find_jars()
    assert first == second
    assert first.jars.name.startswith(f"kafka-{kafka_version()}-")
    assert [path.name for path in first.jars.iterdir()] == ["kafka.jar"]
    assert calls.read_text() == "called\n"


def test_properties_take_any_path() -> None:
    """Backslashes and letters beyond ASCII come through Java's properties format."""
    assert as_properties({"log.dirs": "/tmp/a\\b/ä€"}) == "log.dirs=/tmp/a\\\\b/\\u00e4\\u20ac\n"


def test_a_directory_keeps_its_kind_of_broker(tmp_path: Path, kafka_jars: KafkaJars) -> None:
    """Offsets of one kind mean nothing to the other, so the other is refused; also where there was no choice yet."""
    (tmp_path / "broker").mkdir()
    assert kafka_line.prepare("embedded", tmp_path / "broker", 1, 2)
    assert kafka_line.prepare("embedded", tmp_path / "broker", 1, 2)
    with pytest.raises(ConfigError, match=r"up\.broker = 'kafka': .* holds a line whose broker is 'embedded'"):
        kafka_line.prepare("kafka", tmp_path / "broker", 1, 2)
    (tmp_path / "broker" / "kind").unlink()
    (tmp_path / "broker" / "snapshot").touch()
    with pytest.raises(ConfigError, match="whose broker is 'embedded'"):
        kafka_line.prepare("kafka", tmp_path / "broker", 1, 2)


def test_up_on_kafka(kafka_jars: KafkaJars, tmp_path: Path, schema: Path) -> None:
    """The whole line on Apache Kafka: a halt for the guilty update alone, every event in ClickHouse, and all of it
    there again after a stop."""
    needs("kcat", "curl")
    line = Line(tmp_path / "line", "--broker", "kafka", schema=schema)
    try:
        sent = incident("acme", "guilty", "innocent")
        assert line.curl_send(b"\n".join(sent))[0] == 202
        halts = wait_for("a halt", lambda: line.halts("acme"))
        assert [key.split("/")[1] for key in halts] == ["guilty"]
        wait_for("all folded", lambda: line.folded("acme") == len(sent))
        wait_for("all stored", lambda: line.curl_query("SELECT count() FROM events") == str(len(sent)))
        assert line.curl_query("SELECT uniqExact(id) FROM events") == str(len(sent))
        assert json.loads(line.andon("doctor", "--json"))["ok"]
        assert "kafka users" not in line.andon("doctor")
        assert line.info["bootstrap_servers"] in line.andon("status", "--once")
        stranger = ["kcat", "-L", "-m", "2", "-b", line.info["bootstrap_servers"]]
        assert subprocess.run(stranger, capture_output=True, timeout=DEADLINE_SECONDS, check=False).returncode
    finally:
        assert line.stop() == 0
    again = Line(tmp_path / "line", "--broker", "kafka")
    try:
        assert list(again.halts("acme")) == list(halts)
        more = event("acme", "h-later", now_ms())
        assert again.curl_send(encode(more))[0] == 202
        wait_for("one more", lambda: again.folded("acme") == len(sent) + 1)
        wait_for("stored", lambda: again.curl_query("SELECT count() FROM events") == str(len(sent) + 1))
    finally:
        assert again.stop() == 0
