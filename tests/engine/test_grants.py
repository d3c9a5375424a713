"""deploy/clickhouse/users.sql, as far as the embedded engine can tell: it knows users not in SQL, but in XML."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from click.testing import CliRunner
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from support.waiting import until

from consumers.clickhouse.archive.records import ROUTES
from consumers.clickhouse.ask.query import command
from consumers.clickhouse.connect import ClickHouseConfig, connect
from consumers.clickhouse.schema.drift import made
from consumers.clickhouse.schema.feeds import SUFFIX
from consumers.clickhouse.schema.layout import Layout
from consumers.clickhouse.schema.migration import shipped
from pipeline.local.clickhouse.accounts import CHANGEABLE, GRAFANA_LIMITS
from pipeline.local.machine.leash import leash
from pipeline.local.machine.ports import free_port

ROOT = Path(__file__).parents[2]
SQL = (ROOT / "deploy" / "clickhouse" / "users.sql").read_text("utf-8")
START_SECONDS = 60.0
OWN = {"schema_migrations", "schema_objects"}
PACKING = {"enable_http_compression"}
WRITTEN = [table for route in ROUTES.values() for table in route.tables]
# The endpoint, with one account whose rights come from a settings profile alone, as a ClickHouse server has it: the
# profile holds before a request says a setting of its own.
CHILD = """
import asyncio, sys
from pathlib import Path
from aiohttp import web
from pipeline.local.clickhouse import engine as own
from pipeline.local.clickhouse.accounts import Account
from pipeline.local.clickhouse.endpoint import Endpoint
directory, port = Path(sys.argv[1]), int(sys.argv[2])
readonly, values, constraints = sys.argv[3:]
write_config = own._write_config
def with_profile(*arguments):
    config = write_config(*arguments)
    users = config.parent / "users.xml"
    text = users.read_text("utf-8").replace("<profiles>", "<profiles><theirs>" + constraints + "</theirs>", 1)
    users.write_text(text, "utf-8")
    return config
own._write_config = with_profile
class Server(own.Engine):
    def _prepare(self, connection, request):
        connection.query("SET ROLE andon_reader")
        connection.query("SET " + values)  # the embedded engine takes a profile's constraints, and not its values
        connection.query("SET profile = 'theirs'")
        connection.query("SET " + readonly)
        super()._prepare(connection, request._replace(profile="", readonly=0, role="andon_reader"))
async def main():
    engine = Server(directory, 60)
    engine.names("CREATE DATABASE andon ENGINE = Atomic")
    endpoint = Endpoint(engine, [Account("them", "secret")], 1 << 20)
    runner = web.AppRunner(endpoint.app, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()  # to be killed
asyncio.run(main())
"""


def profile_text(name: str) -> str:
    """A settings profile of users.sql."""
    return SQL.split(f"CREATE SETTINGS PROFILE IF NOT EXISTS {name} SETTINGS")[1].split(";")[0]


def profile(name: str) -> tuple[str, str, str]:
    """The same: `readonly`, the other values, and the constraints in XML."""
    values, constraints = [], ""
    for setting in profile_text(name).split(","):
        found = re.fullmatch(r"\s*(\w+) = (\d+)(?: MIN (\d+))?(?: MAX (\d+))?(?: CHANGEABLE_IN_READONLY)?\s*", setting)
        assert found is not None, setting
        values.append(f"{found[1]} = {found[2]}")
        bounds = f"<min>{found[3]}</min>" if found[3] else ""
        bounds += f"<max>{found[4]}</max>" if found[4] else ""
        constraints += f"<{found[1]}>{bounds}</{found[1]}>" if bounds else ""
    assert values[0].startswith("readonly = ")
    return values[0], ", ".join(values[1:]), f"<constraints>{constraints}</constraints>"


def listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseConfig]:
    """The engine, with an account under the profile as users.sql has it."""
    port, directory = free_port(), tmp_path_factory.mktemp("grants")
    argv = [sys.executable, "-c", CHILD, str(directory), str(port), *profile("andon_analyst")]
    process = subprocess.Popen(argv, preexec_fn=leash(9))
    try:
        until("the engine answers, or ends", lambda: process.poll() is not None or listens(port), START_SECONDS)
        assert urlopen(f"http://127.0.0.1:{port}/ping", timeout=10).read() == b"Ok.\n"
        yield ClickHouseConfig(f"http://127.0.0.1:{port}", user="them", password="secret")
    finally:
        process.kill()
        process.wait()


@pytest.mark.service
@pytest.mark.parametrize("form", ["table", "csv", "json", "parquet"])
def test_andon_query_works_as_an_analyst(server: ClickHouseConfig, form: str) -> None:
    """It sends settings and asks for formats: a profile with readonly = 1 refuses that."""
    arguments = ["--clickhouse-url", server.url, "--clickhouse-user", "them"]
    asked = ["SELECT number AS answer FROM numbers(3)", "--format", form, "--timeout", "10"]
    environ = {"ANDON_CLICKHOUSE_PASSWORD": "secret"}
    done = CliRunner().invoke(command, [*asked, *arguments], env=environ)
    assert done.exit_code == 0, done.output
    assert b"answer" in done.stdout_bytes


def only_changeable() -> set[str]:
    """What Grafana's profile lets its plugin set."""
    return set(re.findall(r"(\w+) = [^,]*CHANGEABLE_IN_READONLY", profile_text("andon_grafana")))


def test_grafana_may_set_what_its_plugin_sends() -> None:
    """How long a query may take and whether its answer is packed, and no more; the local endpoint knows the same (a
    packed answer is a matter of the transport there). The embedded engine parses CHANGEABLE_IN_READONLY and does not
    know it: there the endpoint refuses what a server would (tests/engine/test_accounts.py)."""
    assert only_changeable() == {"max_execution_time", "enable_http_compression"} == {*CHANGEABLE, *PACKING}
    assert f"max_execution_time = {GRAFANA_LIMITS['max_execution_time']} " in profile_text("andon_grafana")


@pytest.mark.service
def test_the_profile_of_analysts_holds(server: ClickHouseConfig) -> None:
    """Nothing is changed, and no limit is lifted: not above the most, nor by 0, which is none at all."""
    client: Client = connect(server)
    assert client.command("SELECT getSetting('max_execution_time')") == 60
    assert client.command("SELECT getSetting('max_execution_time')", settings={"max_execution_time": 5}) == 5
    for name in ("max_execution_time", "max_memory_usage", "max_result_rows"):
        for value in (0, 1 << 40):
            with pytest.raises(DatabaseError) as refused:
                client.command("SELECT 1", settings={name: value})
            assert refused.value.code == 452, (name, value)
    for value in (0, 1):
        with pytest.raises(DatabaseError):
            client.command("SELECT 1", settings={"readonly": value})
    with pytest.raises(DatabaseError) as refused:
        client.command("CREATE TABLE default.mine (a UInt8) ENGINE = Memory")
    assert refused.value.code in (164, 497)


def test_the_writer_may_insert_where_the_archive_does() -> None:
    """On a server and in the embedded engine: into those, on a cluster into their local tables, and no others."""
    granted = re.findall(r"GRANT INSERT ON andon\.(\S+) TO andon_writer;", SQL)
    assert sorted(granted) == sorted([*WRITTEN, *(f"{table}_local" for table in WRITTEN)])
    assert SQL.count("TO andon_writer;") == len(granted)
    users = (ROOT / "pipeline" / "local" / "clickhouse" / "users.xml").read_text("utf-8")
    writer = users.split("<andon_writer>")[1].split("</andon_writer>")[0]
    assert re.findall(r"<query>(.*)</query>", writer) == [f"GRANT INSERT ON andon.{table}" for table in WRITTEN]


def test_what_fills_the_aggregates_is_out_of_a_readers_sight() -> None:
    """Every feed of the schema, in the embedded engine and on a server; of dashboards what Andon keeps for itself."""
    feeds = {name for name in made(Layout("andon", ""), shipped()) if name.endswith(SUFFIX)}
    xml = (ROOT / "pipeline" / "local" / "clickhouse" / "users.xml").read_text("utf-8")
    for role, hidden in (("andon_reader", feeds), ("andon_dashboard", feeds | OWN)):
        in_engine = xml.split(f"<{role}>")[1].split(f"</{role}>")[0]
        for text, end in ((in_engine, r"</query>"), (SQL, rf" FROM {role};")):
            assert set(re.findall(rf"REVOKE SELECT ON andon\.(\w+){end}", text)) == hidden
