"""The schema on a cluster: as text, by ClickHouse's parser, and over one shard without replication: more cannot run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.clickhouse_data import andon
from support.engines import Database

from consumers.clickhouse.schema.drift import Drift, Row, compare, made, present
from consumers.clickhouse.schema.inserts import synced
from consumers.clickhouse.schema.layout import Layout
from consumers.clickhouse.schema.migration import CREATE_OBJECTS, CREATE_STATUS, backfilled, created, shipped

CLUSTER = Layout("andon", "prod")
STEPS = [step for migration in shipped() for step in migration.steps if not backfilled(step)]
STATUS = [CLUSTER.status(sql).strip() for sql in (CREATE_STATUS, CREATE_OBJECTS)]
STATEMENTS = [*STATUS, *(text for step in STEPS for text in CLUSTER.statements(step))]


def test_one_server_gets_the_files_as_they_are() -> None:
    """Without a cluster not a character changes, but for ALTER VIEW, which is no statement of ClickHouse's."""
    plain = [step.replace("ALTER VIEW ", "ALTER TABLE ", 1) for step in STEPS]
    assert [text for step in STEPS for text in Layout("andon").statements(step)] == plain


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


def test_a_repeated_batch_is_known_as_long_as_on_one_server() -> None:
    """Every replicated table of rows knows as many batches, and does not forget them by the hour, as is the default."""
    for step in STEPS:
        window = re.search(r"non_replicated_deduplication_window = (\d+)", step)
        if not step.startswith("CREATE TABLE"):
            continue
        assert window is not None, step
        (local, _) = CLUSTER.statements(step)
        assert f" replicated_deduplication_window = {window[1]}," in local
        seconds = re.search(r" replicated_deduplication_window_seconds = (\d+)$", local)
        assert seconds is not None, local
        assert int(seconds[1]) > 365 * 86_400  # longer than a batch can wait anywhere


def test_a_column_is_altered_where_it_is_stored_and_where_it_is_written() -> None:
    """The Distributed table fills in defaults, so it must know them; of deadlines it knows nothing."""
    for table, column in (("events", "ingested_at"), ("dead_letters", "at")):
        step = next(step for step in STEPS if step.startswith(f"ALTER TABLE {table} MODIFY COLUMN {column} "))
        definition = step.partition("MODIFY COLUMN ")[2]
        head = "ALTER TABLE {} ON CLUSTER `prod` MODIFY COLUMN "
        assert CLUSTER.statements(step) == [head.format(name) + definition for name in (f"{table}_local", table)]
    deadlines = [step for step in STEPS if " MODIFY TTL " in step]
    assert deadlines
    for step in deadlines:
        (one,) = CLUSTER.statements(step)
        assert re.match(r"ALTER TABLE \w+_local ON CLUSTER `prod` MODIFY TTL ", one)


def test_servers_of_one_name_are_compared_one_by_one() -> None:
    """Two on one machine, or in containers that are all named alike: what one lacks the other does not make good."""
    names = made(CLUSTER, shipped())
    rows: list[Row] = [("id-1", "ch:9000", name, "as it was") for name in names]
    rows += [("id-2", "ch:9000", name, "as it was") for name in names - {"events"}]
    rows += [("id-3", "ch:9001", "hosts", "altered")]
    drift = compare(rows, names, dict.fromkeys(names, "as it was"), on_cluster=True)
    lost = sorted(names - {"hosts"})
    assert drift == Drift(["events on ch:9000", *(f"{name} on ch:9001" for name in lost)], ["hosts on ch:9001"])


ONE_SHARD = """<clickhouse><tcp_port>9000</tcp_port><remote_servers><prod><shard>
<internal_replication>true</internal_replication><replica><host>127.0.0.1</host><port>9000</port></replica>
</shard></prod></remote_servers></clickhouse>"""
RUN = """
import json, sys
import chdb
engine = chdb.connect(sys.argv[1])
for statement in json.load(sys.stdin):
    answer = engine.query(statement, "TSV").bytes().decode()
print(answer)
"""


@pytest.mark.service
def test_on_a_cluster_of_one_shard(tmp_path: Path) -> None:
    """All but replication, run by the engine: a writer that leaves out `ingested_at` stores the time of now, in the
    table of the shard and in what it feeds. What `migrate` compares is asked for of every server."""
    (tmp_path / "config.xml").write_text(ONE_SHARD)
    plain = [re.sub(r"Replicated(\w+)\('[^']+', '[^']+'(?:, (\w+))?\)", r"\1(\2)", text) for text in STATEMENTS]
    names = made(CLUSTER, shipped())
    statements = ["CREATE DATABASE andon ENGINE = Atomic", "USE andon"]
    statements += [text.replace(" ON CLUSTER `prod`", "") for text in plain]
    statements += [
        "INSERT INTO events (fleet, host, ts, kind, id) SETTINGS distributed_foreground_insert = 1 "
        "SELECT 'acme', toString(number), now64(3), 'crash', toString(number) FROM numbers(10)",
        "SELECT (SELECT countIf(ingested_at > now() - 600) FROM events_local), (SELECT count() FROM events_once), "
        "(SELECT countIf(ingested_at > now() - 600) FROM crashes), (SELECT sum(hosts) FROM crash_rate_by_day), "
        f"(SELECT uniqExact(name) FROM ({present(CLUSTER)}) WHERE name IN {tuple(names)} AND statement != '')",
    ]
    address = f"{tmp_path / 'data'}?config-file={tmp_path / 'config.xml'}"
    argv = [sys.executable, "-c", RUN, address]
    done = subprocess.run(argv, input=json.dumps(statements), capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["10", "10", "10", "10", str(len(names))], done.stderr


def test_clickhouse_parses_every_statement(database: Database) -> None:
    """EXPLAIN AST of each; and a dry run of the command prints them all, running none."""
    client = database.client()
    for text in (*STATEMENTS, synced(CLUSTER)):
        assert client.raw_query("EXPLAIN AST " + text), text
    dry = andon(Database(database.endpoint, "elsewhere"), "migrate", "--dry-run", "--cluster", "prod").stdout
    assert dry.startswith("CREATE DATABASE `elsewhere` ON CLUSTER `prod` ENGINE = Atomic;\n")
    assert dry.count("ON CLUSTER `prod`") == len(STATEMENTS) + 1
    assert STATEMENTS[0] in dry
    assert client.command("SELECT count() FROM system.databases WHERE name = 'elsewhere'") == 0
