"""Kafka's client settings: what cannot work is refused before a client is made, and clients do not shout."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner
from confluent_kafka import Consumer
from structlog.testing import capture_logs
from support.waiting import DEADLINE_SECONDS, until

from consumers.deadletter import main as deadletter
from pipeline.access.main import command as topics_command
from pipeline.local.machine.ports import free_port
from pipeline.runtime import topic_admin
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.kafka import KafkaConfig, client_config, consumer_config
from pipeline.runtime.kafka_log import EVERY_SECONDS, Forward, spoken
from pipeline.simulate import replay
from pipeline.status import main as status

SASL = {"ANDON_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
TOOLS: dict[str, tuple[Any, list[str]]] = {
    "topics apply": (topics_command, ["apply"]),
    "topics list": (topics_command, ["list"]),
    "deadletter list": (deadletter.command, ["list"]),
    "status": (status.command, ["--once"]),
    "replay": (replay.command, ["quiet-week", "--hosts", "10"]),
}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (KafkaConfig(security_protocol="SASL_SSL"), "kafka.sasl_username is empty: security_protocol = 'SASL_SSL'"),
        (KafkaConfig(security_protocol="SASL_PLAINTEXT", sasl_username="me"), "kafka.sasl_password is empty"),
        (KafkaConfig(security_protocol="SSL", ssl_key_file="/nowhere.pem"), "kafka.ssl_key_file = '/nowhere.pem'"),
    ],
)
def test_settings_that_cannot_work(config: KafkaConfig, words: str) -> None:
    """No client is made of them; key and reason are said."""
    with pytest.raises(ConfigError) as error:
        client_config(config, "test")
    assert words in str(error.value)


def test_the_password_may_be_in_a_file(tmp_path: Path) -> None:
    """What is in it is sent; one that cannot be read is named."""
    (file := tmp_path / "password").write_text("secret\n")
    config = KafkaConfig(security_protocol="SASL_SSL", sasl_username="me", sasl_password_file=str(file))
    assert client_config(config, "test")["sasl.password"] == "secret"
    file.unlink()
    with pytest.raises(ConfigError, match=r"kafka\.sasl_password_file = .*: cannot be read"):
        client_config(config, "test")


@pytest.mark.parametrize("key", ["ssl_ca_file", "ssl_certificate_file"])
def test_files_that_are_no_certificates(key: str, tmp_path: Path) -> None:
    """Key, value and what would be right, before a client is made of them."""
    (file := tmp_path / "ca.pem").write_text("none")
    with pytest.raises(ConfigError) as error:
        client_config(KafkaConfig(security_protocol="SSL", **{key: str(file)}), "test")
    assert f"kafka.{key} = '{file}'" in str(error.value)
    assert "should be PEM" in str(error.value)


def test_what_the_protocol_does_not_read_is_no_mistake() -> None:
    """A file for production, used with PLAINTEXT on a machine that has none of its certificates."""
    settings = client_config(KafkaConfig(ssl_ca_file="/nowhere.pem", sasl_username="me"), "test")
    assert settings["security.protocol"] == "PLAINTEXT"
    assert not [key for key in settings if key.startswith(("ssl.", "sasl."))]


@pytest.mark.parametrize("name", TOOLS)
def test_tools_refuse_a_login_without_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ConfigError of one line, no traceback of the client's."""
    monkeypatch.setenv("ANDON_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    command, words = TOOLS[name]
    ended = CliRunner().invoke(command, words)
    assert isinstance(ended.exception, ConfigError), ended.output
    assert "kafka.sasl_username is empty" in str(ended.exception)


@pytest.mark.service
@pytest.mark.parametrize("stage", ["combine", "archive", "correlate"])
def test_stages_refuse_a_login_without_name(stage: str, tmp_path: Path) -> None:
    """Exit code 2, which asks for no restart."""
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "pipeline", stage],
        cwd=tmp_path,
        env=SASL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("andon: kafka.sasl_username is empty")


def test_without_a_broker_a_tool_says_so_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The client's own lines do not bury the sentence."""
    monkeypatch.setattr("pipeline.runtime.topic_admin.CALL_SECONDS", 2.0)
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(AndonError, match=f"no Kafka broker answers at {address}: nothing listens there"):
        topic_admin.apply(KafkaConfig(bootstrap_servers=address))
    assert capfd.readouterr().err == ""


def test_without_a_broker_a_stage_says_so_once(capfd: pytest.CaptureFixture[str]) -> None:
    """In its own log, not beside it."""
    kafka = KafkaConfig(bootstrap_servers=f"127.0.0.1:{free_port()}")
    with capture_logs() as logs:
        consumer = Consumer(consumer_config(kafka, "test", "test", "test", **spoken(structlog.get_logger())))
        consumer.subscribe(["test"])
        until("it is said", lambda: consumer.consume(10, 0.1) or logs)
        consumer.consume(10, 1.5)  # several more attempts to connect
        consumer.close()
    (line,) = [line for line in logs if line["kind"] == "FAIL"]
    assert line["log_level"] == "error"
    assert line["says"].startswith(kafka.bootstrap_servers)
    assert capfd.readouterr().err == ""


def test_each_kind_of_line_comes_now_and_then() -> None:
    """At once, then not for a while, then with how many were left out; other kinds are not held up."""
    now = 100.0
    with capture_logs() as logs:
        handler = Forward(structlog.get_logger(), lambda: now)

        def say(kind: str, text: str) -> None:
            record = (kind, "client-1", text)
            handler.emit(logging.LogRecord("librdkafka", logging.WARNING, "", 0, "%s [%s] %s", record, None))

        for _ in range(3):
            say("FAIL", "[thrd:main]: broker:9092: refused")
        say("MAXPOLL", "[thrd:main]: too slow")
        now += EVERY_SECONDS
        say("FAIL", "[thrd:main]: broker:9092: refused")
    assert [(line["kind"], line["says"], line.get("left_out")) for line in logs] == [
        ("FAIL", "broker:9092: refused", None),
        ("MAXPOLL", "too slow", None),
        ("FAIL", "broker:9092: refused", 2),
    ]
