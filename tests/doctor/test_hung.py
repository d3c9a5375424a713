"""A server that accepts connections and says nothing, a disk that takes nothing: said soon, with advice that fits."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.doctor.clickhouse import check_clickhouse
from pipeline.doctor.disk import check_disk, judged
from pipeline.doctor.examine import halts
from pipeline.doctor.finding import Finding, Hung
from pipeline.doctor.http import check_correlator, check_gateway
from pipeline.doctor.kafka import check_kafka
from pipeline.doctor.main import show
from pipeline.doctor.targets import DoctorConfig, Targets
from pipeline.runtime.kafka import KafkaConfig

pytestmark = pytest.mark.service

CHECKS: dict[str, Callable[[str], list[Finding]]] = {
    "kafka": lambda where: check_kafka(KafkaConfig(bootstrap_servers=f"{where},{where}"), 5.0),
    "kafka over TLS": lambda where: check_kafka(KafkaConfig(bootstrap_servers=where, security_protocol="SSL"), 5.0),
    "gateway": lambda where: check_gateway(f"http://{where}", "", 5.0),
    "correlator": lambda where: check_correlator(f"http://{where}"),
    "clickhouse": lambda where: check_clickhouse(ClickHouseConfig(url=f"http://{where}"), 5.0),
}


@pytest.fixture
def hung() -> Iterator[str]:
    """host:port of it."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("name", CHECKS)
def test_a_hung_server_is_given_up_in_ten_seconds(name: str, hung: str) -> None:
    """It is said to hang: to correct the port, or to look for a firewall, would be no use."""
    began = time.monotonic()
    found = CHECKS[name](hung)
    assert time.monotonic() - began < 10.0
    assert found[-1].level == "problem"
    assert found[-1].advice == Hung.advice
    assert "accepts connections and does not answer" in found[-1].words


def test_no_client_waits_for_a_hung_broker_to_read_halts(hung: str) -> None:
    """Which would take longer than all the rest."""
    began = time.monotonic()
    (found,) = halts(Targets(KafkaConfig(bootstrap_servers=hung), None, DoctorConfig()))
    assert (found.level, time.monotonic() - began < 10.0) == ("not checked", True)


@pytest.mark.parametrize(
    ("free_bytes", "is_read_only", "level", "words"),
    [
        (10, False, "problem", "full"),
        (900 << 20, False, "warning", "free"),
        (1 << 40, False, "ok", "free"),
        (1 << 40, True, "problem", "read-only"),
    ],
)
def test_a_disk_that_takes_nothing_is_a_problem(free_bytes: int, is_read_only: bool, level: str, words: str) -> None:
    """Full, nearly full, read-only; and well."""
    found = judged("/var/lib/andon", free_bytes, is_read_only)
    assert (found.level, words in found.words) == (level, True)


def test_the_disk_of_a_line_is_looked_at(tmp_path: Path) -> None:
    """Of the directory that it keeps; a cluster's is not ours to see."""
    assert [finding.check for finding in check_disk(str(tmp_path))] == ["disk"]
    assert check_disk("") == []


def test_findings_are_in_words_not_in_codes_of_colours(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe a finding is a line, its advice another."""
    show([Finding("disk", "problem", "is full", "make room"), Finding("halts", "ok", "none stand")])
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        f"{'problem':16}disk   is full",
        f"{'':16}       → make room",
        f"{'ok':16}halts  none stand",
        "1 problem",
    ]
