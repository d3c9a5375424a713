"""Who may do what in the local engine; and the same for a real server, as text that its parser takes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect import common
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from support.clickhouse import LocalClickHouse
from support.clickhouse_data import events, insert
from support.engines import clickhouse_in

from pipeline.local.clickhouse.accounts import ANALYST_LIMITS, GRAFANA_LIMITS, analyst, find, owner

ROOT = Path(__file__).parents[2]
REFUSED = (497, 164, 452)  # access denied, read-only, a setting's constraint
CHANGES = (
    "INSERT INTO andon.heartbeats (fleet) VALUES ('forged')",
    "TRUNCATE TABLE andon.events",
    "ALTER TABLE andon.events DELETE WHERE 1",
    "ALTER TABLE andon.events MODIFY TTL toDateTime(ts) + INTERVAL 1 DAY",
    "DROP TABLE andon.crashes",
    "CREATE TABLE andon.mine (a UInt8) ENGINE = Memory",
    "CREATE VIEW andon.mine AS SELECT 1",
    "OPTIMIZE TABLE andon.events FINAL",
    "SYSTEM FLUSH LOGS",
    "KILL QUERY WHERE 1",
    "SET ROLE andon_owner",
)
SECRETS = (
    "SELECT * FROM system.users",
    "SELECT * FROM system.grants",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
)
OTHERS = ("query_log", "part_log", "processes", "user_query_log", "errors", "disks", "server_settings", "mutations")


@pytest.fixture(scope="module")
def line(schema: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClickHouse]:
    """The endpoint with some events."""
    with clickhouse_in(tmp_path_factory.mktemp("accounts"), schema) as running:
        insert(running.client(), events(200, seed=1))
        running.client().command("SYSTEM FLUSH LOGS")
        yield running


def client(line: LocalClickHouse, user: str, password: str, **settings: Any) -> Client:
    """As users make one."""
    port = int(line.server.url.rpartition(":")[2])
    return clickhouse_connect.get_client(
        host="127.0.0.1",
        port=port,
        username=user,
        password=password,
        database="andon",
        autogenerate_session_id=False,
        settings=settings,
    )


def refused(client: Client, sql: str, **more: Any) -> bool:
    """Whether the engine itself denies it, and for what it is."""
    with pytest.raises(DatabaseError) as error:
        client.command(sql, **more)
    return error.value.code in REFUSED


@pytest.mark.parametrize("user", ["andon_read", "andon_grafana"])
def test_readers_read_and_nothing_else(line: LocalClickHouse, user: str) -> None:
    """Analysts see every table and view of Andon's, Grafana those that are not Andon's own affair; they change nothing,
    and learn no secrets of the server."""
    password = line.read_password if user == "andon_read" else line.grafana_password
    reader = client(line, user, password)
    names = {name for (name,) in reader.query("SELECT name FROM system.tables WHERE database = 'andon'").result_rows}
    assert ("schema_migrations" in names) == (user == "andon_read")
    for name in names:
        reader.raw_query(f"SELECT * FROM andon.{name} LIMIT 1")
    for sql in (*CHANGES, *SECRETS):
        assert refused(reader, sql), sql
    for table in OTHERS:
        assert reader.command(f"SELECT count() FROM system.{table}") == 0, table
        assert line.client().command(f"SELECT count() FROM system.{table}") > 0, table
    for seconds in (0, 5, 1000):
        assert refused(reader, f"SELECT 1 SETTINGS max_execution_time = {seconds}")
        assert refused(reader, f"SELECT 1 SETTINGS profile = 'default', max_execution_time = {seconds}")
    with pytest.raises(DatabaseError):
        reader.command("TRUNCATE TABLE andon.events", settings={"readonly": 0})
    assert line.client().command("SELECT count() FROM events_once") == 200


def test_limits_are_only_made_less(line: LocalClickHouse) -> None:
    """An analyst's request for more gets what there is. Grafana's is refused, as a server does with readonly = 1, and
    so is every other setting."""
    common.set_setting("invalid_setting_action", "send")  # the client knows that it is not ours to set
    asked_for = "SELECT getSetting('max_execution_time')"
    most = ANALYST_LIMITS["max_execution_time"]
    for wanted, given in ((0, most), (5, 5), (10_000, most)):
        analyst_asks = client(line, "andon_read", line.read_password, max_execution_time=wanted)
        assert analyst_asks.command(asked_for) == given
    grafana = client(line, "andon_grafana", line.grafana_password)
    most = GRAFANA_LIMITS["max_execution_time"]
    assert grafana.command(asked_for) == most
    assert grafana.command(asked_for, settings={"max_execution_time": 5}) == 5
    for settings in ({"max_execution_time": 0}, {"max_execution_time": most + 1}, {"max_threads": 1}, {"readonly": 2}):
        assert refused(grafana, asked_for, settings=settings), settings


def test_the_writer_only_inserts(line: LocalClickHouse) -> None:
    """It may insert what the archive does, which fills the aggregates too, and not read, change or drop a thing."""
    writer = client(line, "andon_write", line.write_password)
    insert(writer, events(100, seed=2))
    others = "INSERT INTO andon.schema_migrations (number) VALUES (999)", "INSERT INTO andon.hosts (host) VALUES ('h')"
    reads = "SELECT count() FROM andon.events", "SELECT * FROM andon.hosts"
    for sql in (*CHANGES[1:], *SECRETS, *others, *reads):
        assert refused(writer, sql), sql
    for table in ("schema_migrations", "strata_by_minute", "stratum_minutes", "crashes", "hosts"):
        assert refused(writer, f"INSERT INTO andon.{table} SELECT * FROM andon.{table} WHERE 0"), table
    assert refused(writer, "INSERT INTO andon.schema_migrations (number) VALUES (999)")
    for second in ("CREATE DATABASE theirs", "SET ROLE ALL", "INSERT INTO andon.heartbeats (fleet) SELECT 'x'"):
        assert refused(writer, f"INSERT INTO andon.heartbeats (fleet) SELECT 'x' PARALLEL WITH {second}"), second
    ours = line.client()
    assert ours.command("SELECT count() FROM schema_migrations WHERE number = 999") == 0
    assert ours.command("SELECT count() FROM heartbeats WHERE fleet = 'x'") == 0
    assert ours.command("SELECT count() FROM events_once") == 300
    assert ours.command("SELECT sum(events) FROM strata_by_minute") == 300
    ours.command("ALTER TABLE events DELETE WHERE id IN {ids:Array(String)}", parameters={"ids": []})


def test_sessions_are_not_shared_between_users(line: LocalClickHouse) -> None:
    """The same session id under another name is another session: no role, no temporary table comes along."""
    port = int(line.server.url.rpartition(":")[2])
    where: dict[str, Any] = {"host": "127.0.0.1", "port": port, "session_id": "one"}
    ours = clickhouse_connect.get_client(username="andon", password=line.password, **where)
    ours.command("CREATE TEMPORARY TABLE secret (a UInt8)")
    reader = clickhouse_connect.get_client(username="andon_read", password=line.read_password, **where)
    with pytest.raises(DatabaseError):
        reader.query("SELECT * FROM secret")
    writer = clickhouse_connect.get_client(username="andon_write", password=line.write_password, **where)
    assert refused(writer, "SELECT count() FROM andon.events")
    assert ours.query("SELECT count() FROM andon.events").result_rows


def test_an_account_without_a_password_is_none() -> None:
    """An empty password lets nobody in, and names are not guessed from each other."""
    accounts = [owner("andon", "secret"), analyst("andon_read", "", 1 << 30)]
    assert find(accounts, "andon_read", "") is None
    assert find(accounts, "andon_read", "secret") is None
    assert find(accounts, "andon", "Secret") is None
    assert find(accounts, "andon", "secret") == accounts[0]


def test_the_grants_for_a_real_server_parse(line: LocalClickHouse) -> None:
    """Each statement of deploy/clickhouse/users.sql is one that ClickHouse's parser takes, and none has a password."""
    text = (ROOT / "deploy" / "clickhouse" / "users.sql").read_text("utf-8")
    statements = [part.strip() for part in text.split(";\n") if part.strip()]
    assert len(statements) > 10
    for statement in statements:
        assert line.client().raw_query("EXPLAIN AST " + statement), statement
        assert "BY '" not in re.sub("^--.*", "", statement, flags=re.MULTILINE)
