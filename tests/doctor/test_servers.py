"""`andon doctor` on ClickHouse, the gateway and the correlator: healthy, wrong credentials, dead, not set up."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from clickhouse_connect.driver.exceptions import DatabaseError
from support.collect_gateway import run_broker, run_gateway
from support.waiting import DEADLINE_SECONDS, until

from consumers.clickhouse.connect import ClickHouseConfig, connect
from consumers.clickhouse.schema.migrate import Migrator
from consumers.clickhouse.schema.migration import shipped
from pipeline.doctor.clickhouse import check_clickhouse, uncompared, version_finding
from pipeline.doctor.finding import Finding
from pipeline.doctor.http import check_correlator, check_gateway
from pipeline.doctor.main import command
from pipeline.doctor.targets import DoctorConfig, targets
from pipeline.local.clickhouse.process import ClickHouseProcess
from pipeline.local.stack import LocalStack, StackInfo
from pipeline.runtime.kafka import KafkaConfig

pytestmark = pytest.mark.service

SKEW_SECONDS = 5.0


class Server(NamedTuple):
    """A running `andon clickhouse`."""

    url: str
    password_file: str


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The local endpoint, as its own process, with an empty engine."""
    pytest.importorskip("chdb", reason="needs chdb")
    scratch = tmp_path_factory.mktemp("clickhouse")
    password_file = scratch / "password"
    with ClickHouseProcess(scratch) as running:
        password_file.write_text(running.password + "\n")
        yield Server(running.url, str(password_file))


def by_check(found: list[Finding]) -> dict[str, Finding]:
    """The last finding of each check."""
    return {finding.check: finding for finding in found}


def at(server: Server, **changed: str) -> ClickHouseConfig:
    """How to reach it."""
    fields = {"url": server.url, "password_file": server.password_file}
    return ClickHouseConfig(**fields | changed)  # type: ignore[arg-type]


def test_clickhouse_without_and_with_its_schema(clickhouse: Server) -> None:
    """Before `andon migrate` the missing migrations are named; after it all is well, until the record of what it made
    is gone, or a view is."""
    server = at(clickhouse)
    before = by_check(check_clickhouse(server, SKEW_SECONDS))
    assert before["clickhouse schema"].level == "problem"
    assert "0001_events" in before["clickhouse schema"].words
    assert "andon migrate" in before["clickhouse schema"].advice
    client = connect(server)
    Migrator(client, server.database).up(shipped())
    after = by_check(check_clickhouse(server, SKEW_SECONDS))
    assert {finding.level for finding in after.values()} == {"ok"}
    assert set(after) == {f"clickhouse {part}" for part in ("address", "login", "version", "schema", "clock")}
    elsewhere = by_check(check_clickhouse(at(clickhouse, cluster="nope"), SKEW_SECONDS))
    assert set(elsewhere) == set(after)
    assert {check for check, finding in elsewhere.items() if finding.level != "ok"} == {"clickhouse schema"}
    assert elsewhere["clickhouse schema"].words.startswith("not compared: ")
    assert "clickhouse.cluster = 'nope'" in elsewhere["clickhouse schema"].advice
    client.command(f"TRUNCATE TABLE {server.database}.schema_objects")
    unrecorded = by_check(check_clickhouse(server, SKEW_SECONDS))["clickhouse schema"]
    assert (unrecorded.level, unrecorded.advice) == ("warning", "`andon migrate` records what they are now")
    client.command(f"DROP VIEW {server.database}.update_days_feed")
    client.close()
    dropped = by_check(check_clickhouse(server, SKEW_SECONDS))["clickhouse schema"]
    assert dropped.level == "problem"
    assert "update_days_feed is missing" in dropped.words
    assert "`andon backfill`" in dropped.advice


@pytest.mark.parametrize("wrong", [{"user": "nobody"}, {"password": "wrong"}])
def test_clickhouse_wrong_credentials(clickhouse: Server, wrong: dict[str, str]) -> None:
    """A refused user or password is called that, and the password is not repeated."""
    [finding] = check_clickhouse(at(clickhouse, **wrong), SKEW_SECONDS)
    assert (finding.check, finding.level) == ("clickhouse login", "problem")
    assert "wrong" not in finding.words + finding.advice


def test_clickhouse_clock(clickhouse: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is two minutes off is a problem, in the right direction."""
    now = time.time
    monkeypatch.setattr("pipeline.doctor.clickhouse.time.time", lambda: now() - 120)
    finding = by_check(check_clickhouse(at(clickhouse), SKEW_SECONDS))["clickhouse clock"]
    assert finding.level == "problem"
    assert "ahead" in finding.words


def test_clickhouse_dead_address() -> None:
    """Nothing listens: said within seconds."""
    started = time.monotonic()
    [finding] = check_clickhouse(ClickHouseConfig("http://127.0.0.1:1"), SKEW_SECONDS)
    assert (finding.check, finding.level) == ("clickhouse address", "problem")
    assert time.monotonic() - started < DEADLINE_SECONDS / 4


def test_clickhouse_right_to_ask_the_other_servers() -> None:
    """Where the right to ask every server is what is missing, it is named."""
    error = DatabaseError("Not enough privileges: it's necessary to have the grant REMOTE ON *.*")
    error.code = 497
    found = uncompared("clickhouse schema", ClickHouseConfig(cluster="prod"), error)
    assert found.advice == "grant REMOTE on *.* to user 'andon'"


def test_clickhouse_old_version() -> None:
    """An old release is a warning: it may work, but nobody has tried."""
    assert version_finding("23.3.1.2").level == "warning"
    assert version_finding("26.9.2.1").level == "ok"


def test_gateway_and_its_token(tmp_path: Path) -> None:
    """A running gateway is healthy; a good token opens it, a bad one is a problem; another path is no gateway; a tokens
    file with which it would not start is a problem while it runs."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    with run_broker() as broker, run_gateway(broker.bootstrap_servers, tmp_path) as gateway:
        good.write_text(gateway.token + "\n")
        bad.write_text("andon_guess\n")
        assert {f.check: f.level for f in check_gateway(gateway.url, str(good), SKEW_SECONDS)} == {
            "gateway": "ok",
            "gateway clock": "ok",
            "gateway token": "ok",
        }
        assert by_check(check_gateway(gateway.url, str(bad), SKEW_SECONDS))["gateway token"].level == "problem"
        assert by_check(check_gateway(gateway.url + "/x", "", SKEW_SECONDS))["gateway"].level == "problem"
        (tmp_path / "tokens.toml").write_text("")
        found = until("it is noticed", lambda: by_check(check_gateway(gateway.url, "", 60.0)).get("gateway tokens"))
        assert found.level == "problem"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://no-such-host.invalid:80"])
def test_dead_gateway_and_correlator(url: str) -> None:
    """Dead addresses are said with what to do."""
    for finding in (*check_gateway(url, "", SKEW_SECONDS), *check_correlator(url)):
        assert finding.level == "problem"
        assert finding.advice


def test_a_clickhouse_is_no_correlator(clickhouse: Server) -> None:
    """Another service at the address is not taken for a healthy one."""
    assert check_correlator(clickhouse.url)[0].level == "problem"


def test_addresses_of_the_running_local_line(tmp_path: Path) -> None:
    """Without options, what is looked at is the line that runs in the data directory, credentials included."""
    with LocalStack(tmp_path / "line", stages=["collect", "combine"]) as line:
        result = CliRunner().invoke(command, ["--json", "--data-dir", str(line.data_dir)])
        found = {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}
        assert result.exit_code == 0, found
        assert found[f"kafka {line.info.bootstrap_servers}"]["level"] == "ok"
        assert [found[name]["level"] for name in ("gateway", "gateway token", "combiner")] == ["ok"] * 3
        assert {found[name]["level"] for name in ("correlator", "clickhouse", "notify")} == {"not configured"}
        assert found["kafka users"]["level"] == "warning"  # the embedded broker asks nobody who they are


def test_what_is_configured_wins_over_the_local_line(tmp_path: Path) -> None:
    """A gateway named by an option is the one that is looked at, and not with the local line's token."""
    with LocalStack(tmp_path / "line", stages=["collect"]) as line:
        doctor = DoctorConfig(gateway_url="http://127.0.0.1:1")
        found = targets(doctor, KafkaConfig(), ClickHouseConfig(), line.info)
    assert (found.doctor.gateway_url, found.doctor.gateway_token_file) == ("http://127.0.0.1:1", "")
    assert found.kafka.bootstrap_servers == line.info.bootstrap_servers


def test_the_line_keeps_its_clickhouse_whatever_else_is_configured() -> None:
    """One key of the section changes that key; another server, or another user, is not given the line's password."""
    info = StackInfo(
        supervisor_pid=1,
        started_at=0,
        data_dir="",
        fleet="acme",
        bootstrap_servers="h:1",
        clickhouse_url="http://127.0.0.1:4711",
        clickhouse_user="andon",
        clickhouse_password_file="/line/password",
        stages={},
    )

    def looked_at(**keys: str) -> tuple[str, str, str, str]:
        found = targets(DoctorConfig(), KafkaConfig(), ClickHouseConfig(**keys), info).clickhouse  # type: ignore[arg-type]
        assert found is not None
        return found.url, found.user, found.password_file, found.database

    url = info.clickhouse_url
    assert looked_at() == (url, "andon", "/line/password", "andon")
    assert looked_at(database="nodb") == (url, "andon", "/line/password", "nodb")
    assert looked_at(password="p") == (url, "andon", "", "andon")
    assert looked_at(password_file="/mine") == (url, "andon", "/mine", "andon")
    assert looked_at(user="andon_read") == (url, "andon_read", "", "andon")
    assert looked_at(url="http://far:8123", database="nodb") == ("http://far:8123", "andon", "", "nodb")
