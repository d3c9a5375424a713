"""The schema on a cluster, as text that ClickHouse's parser takes: no cluster can run here."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from consumers.clickhouse.cluster import Layout
from consumers.clickhouse.schema import CREATE_STATUS, backfilled, created, shipped
from pipeline.bench.archive_line import LocalClickHouse

CLUSTER = Layout("andon", "prod")
STEPS = [step for migration in shipped() for step in migration.steps if not backfilled(step)]
STATEMENTS = [CLUSTER.status(CREATE_STATUS).strip(), *(text for step in STEPS for text in CLUSTER.statements(step))]


def test_one_server_gets_the_files_as_they_are() -> None:
    """Without a cluster not a character changes."""
    assert [text for step in STEPS for text in Layout("andon").statements(step)] == STEPS


def test_every_statement_runs_everywhere() -> None:
    """Each says ON CLUSTER, right behind the name that it is about."""
    for text in STATEMENTS:
        assert re.match(r"(CREATE|ALTER|DROP) (TABLE|VIEW|MATERIALIZED VIEW) \w+ ON CLUSTER `prod`", text), text


def test_tables_are_replicated_and_sharded() -> None:
    """Every table of rows is replicated under a path of its own, with a Distributed one of its old name over it."""
    tables = {created(step) for step in STEPS if step.startswith("CREATE TABLE")}
    for table in tables:
        assert any(text.startswith(f"CREATE TABLE {table}_local ON CLUSTER") for text in STATEMENTS), table
        over = [
            text for text in STATEMENTS if text.startswith(f"CREATE TABLE {table} ON CLUSTER `prod` AS {table}_local")
        ]
        assert over
        assert f"ENGINE = Distributed(`prod`, `andon`, {table}_local, cityHash64(" in over[0]
    engines = [text for text in STATEMENTS if "MergeTree" in text]
    assert all("ENGINE = Replicated" in text and "{uuid}" in text for text in engines)
    assert not any("non_replicated" in text for text in STATEMENTS)
    assert any("ReplicatedReplacingMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}', last_seen)" in text for text in engines)  # fmt: skip # noqa: E501


def test_feeds_run_where_the_rows_are() -> None:
    """A feed reads the inserted rows of its own shard and writes there; views read the Distributed tables."""
    feeds = [text for text in STATEMENTS if text.startswith("CREATE MATERIALIZED VIEW")]
    assert feeds
    for text in feeds:
        assert re.search(r" TO \w+_local ", text.replace("\n", " ") + " "), text
        assert re.search(r"^FROM events_local$", text, re.MULTILINE), text
    assert not any("_local" in text for text in STATEMENTS if text.startswith("CREATE VIEW"))


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClickHouse]:
    """The endpoint."""
    with LocalClickHouse(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.mark.system
def test_clickhouse_parses_every_statement(line: LocalClickHouse) -> None:
    """EXPLAIN AST of each; and a dry run of the command prints them all, running none."""
    for text in STATEMENTS:
        assert line.client().raw_query("EXPLAIN AST " + text), text
    environ = {"ANDON_ARCHIVE_CLICKHOUSE_PASSWORD": line.password, "PATH": ""}
    where = ["--clickhouse-url", line.server.clickhouse_url, "--database", "elsewhere", "--cluster", "prod"]
    argv = [sys.executable, "-m", "pipeline", "migrate", "--dry-run", *where]
    dry = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert dry.stdout.count("ON CLUSTER `prod`") == len(STATEMENTS) - 1
    assert line.client().command("SELECT count() FROM system.databases WHERE name = 'elsewhere'") == 0
