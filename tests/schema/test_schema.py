"""Migrations: numbered, recorded, resumed, refused on drift; on the real engine through the command."""

import functools
import json
import re
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client
from support.clickhouse_data import andon
from support.engines import Database, Databases

from consumers.clickhouse.connect import connect
from consumers.clickhouse.schema.drift import Drift
from consumers.clickhouse.schema.layout import Layout
from consumers.clickhouse.schema.migrate import Migrator
from consumers.clickhouse.schema.migration import (
    Applied,
    MigrationError,
    backfilled,
    created,
    dropped,
    dropped_column,
    only_comments,
    parse,
    pending,
    shipped,
)

ONE = parse("0001_one.sql", "-- a; comment\nCREATE TABLE one (a UInt8) ENGINE = MergeTree ORDER BY a;\n")
TWO = parse("0002_two.sql", "CREATE VIEW two AS SELECT a FROM one;\nCREATE VIEW three AS SELECT ';' FROM one;\n")
THREE = parse("0003_three.sql", "ALTER TABLE one MODIFY COLUMN a UInt16;\n")


def row(migration: object, done: int, checksum: str | None = None) -> Applied:
    """What a database would say."""
    return Applied(migration.number, migration.name, checksum or migration.checksum, done, len(migration.steps))  # type: ignore[attr-defined]


def test_files_are_cut_into_steps() -> None:
    """A step ends with ";" at the end of a line; comments are no steps; names are read off."""
    assert len(TWO.steps) == 2
    assert [created(step) for step in (*ONE.steps, *TWO.steps)] == ["one", "two", "three"]
    for name, text in (("1_x.sql", "SELECT 1;"), ("0001_x.sql", "-- nothing")):
        with pytest.raises(MigrationError):
            parse(name, text)


def test_shipped_migrations_hide_no_failure() -> None:
    """Numbered without a gap, and no IF NOT EXISTS: what is there already was not made by us."""
    for migration in shipped():
        for step in migration.steps:
            assert "IF NOT EXISTS" not in step.upper()
            again = re.match(
                r"ALTER (TABLE|VIEW) \w+\s+(MODIFY|DELETE|COMMENT|ADD COLUMN) ", step
            )  # the same however often it runs
            assert created(step) or dropped(step) or dropped_column(step) or backfilled(step) or again


def test_what_only_comments_may_run_any_number_of_times() -> None:
    """Told by the statement, not by what the comments say; whatever else a step changes, it is recorded by itself."""
    for step in (
        "ALTER TABLE t MODIFY COMMENT 'it''s a, DROP COLUMN a'",
        "ALTER VIEW v\n    COMMENT COLUMN a 'x \\' y',\n    COMMENT COLUMN b.c ''",
    ):
        assert only_comments(step), step
    for step in (
        "ALTER TABLE t COMMENT COLUMN a 'x', DROP COLUMN b",
        "ALTER TABLE t ADD COLUMN a UInt8 COMMENT 'x'",
        "ALTER TABLE t MODIFY COLUMN a UInt8",
        "DROP VIEW v",
    ):
        assert not only_comments(step), step


def test_pending_and_drift() -> None:
    """Half-done migrations go on where they were; changed and unknown ones stop everything."""
    assert pending([ONE, TWO], []) == [(ONE, 0), (TWO, 0)]
    assert pending([ONE, TWO], [row(ONE, 1), row(TWO, 1)]) == [(TWO, 1)]
    with pytest.raises(MigrationError, match="was changed after it was applied"):
        pending([ONE, TWO], [row(ONE, 1, "0" * 64)])
    with pytest.raises(MigrationError, match="newer than this Andon"):
        pending([ONE], [row(ONE, 1), row(TWO, 2)])


@pytest.fixture
def trial(databases: Databases) -> Database:
    """A database that is still to be made."""
    return Database(databases.endpoint, "trial")


@pytest.fixture
def client(trial: Database) -> Iterator[Client]:
    """A client; the trial's database is gone afterwards."""
    connected = connect(trial.server)
    yield connected
    connected.command(f"DROP DATABASE IF EXISTS {trial.name} SYNC")


def test_interrupted_migrations_are_resumed(client: Client) -> None:
    """Died after a step was made and before that was recorded: the next run goes on, once."""
    migrator = Migrator(client, "trial")
    migrator.up([ONE])
    migrator._record(TWO, 0)
    client.command("CREATE VIEW trial.two AS SELECT a FROM trial.one")
    assert migrator.up([ONE, TWO]) == [TWO]
    assert migrator.up([ONE, TWO]) == []
    assert [applied.steps_done for applied in migrator.applied()] == [1, 2]


def test_what_others_made_is_not_taken_over(client: Client) -> None:
    """A table of that name that no migration made: the engine's error, not silence."""
    client.command("CREATE DATABASE trial ENGINE = Atomic")
    client.command("CREATE TABLE trial.one (b String) ENGINE = MergeTree ORDER BY b")
    with pytest.raises(Exception, match="already exists"):
        Migrator(client, "trial").up([ONE])


def test_what_was_dropped_or_altered_is_refused(client: Client) -> None:
    """By name, until it is put back, or accepted; a difference stops only what is pending; what an earlier version made
    is taken as it is, if all is there."""
    migrator = Migrator(client, "trial")
    migrator.up([ONE, TWO])
    assert migrator.up([ONE, TWO]) == []
    client.command("CREATE VIEW trial.theirs AS SELECT 1")
    client.command("ALTER TABLE trial.one MODIFY COLUMN a UInt8 DEFAULT 7")
    client.command("DROP VIEW trial.two")
    assert migrator.drift([ONE, TWO]) == Drift(["two"], ["one"])
    for accept in (False, True):
        with pytest.raises(MigrationError, match=r"two is missing, one differs; .*--accept"):
            migrator.up([ONE, TWO], accept=accept)
    was = "SELECT statement FROM trial.schema_objects FINAL WHERE name = 'two'"
    client.command(client.query(was).first_row[0])
    assert migrator.drift([ONE, TWO]) == Drift([], ["one"])
    assert migrator.up([ONE, TWO]) == []
    assert migrator.drift([ONE, TWO]) == Drift([], ["one"])
    with pytest.raises(MigrationError, match="one differs"):
        migrator.up([ONE, TWO, THREE])
    assert migrator.up([ONE, TWO], accept=True) == []
    assert not migrator.drift([ONE, TWO])
    client.command("DROP TABLE trial.schema_objects SYNC")
    client.command("DROP VIEW trial.two")
    assert migrator.drift([ONE, TWO]) == Drift(["two"], [], unrecorded=True)
    client.command("CREATE VIEW trial.two AS SELECT 1")
    assert migrator.drift([ONE, TWO]) == Drift([], [], unrecorded=True)
    migrator.up([ONE, TWO])
    client.command("CREATE OR REPLACE VIEW trial.two AS SELECT 2")
    assert migrator.drift([ONE, TWO]) == Drift([], ["two"])


def test_the_command(trial: Database, client: Client) -> None:
    """--status, --dry-run, up, drift: as an operator sees them."""
    migrate = functools.partial(andon, trial, "migrate")
    numbers = [migration.number for migration in shipped()]
    before = migrate("--status", "--json")
    nothing: dict[str, object] = {"missing": [], "differs": [], "unrecorded": False, "hidden": []}
    assert (before.returncode, json.loads(before.stdout)) == (1, {"applied": [], "pending": numbers} | nothing)
    dry = migrate("--dry-run")
    steps = [step for migration in shipped() for step in migration.steps]
    assert dry.stdout.startswith("CREATE DATABASE `trial` ENGINE = Atomic;\nCREATE TABLE schema_migrations\n")
    assert dry.stdout.count("CREATE TABLE") == 2 + sum(step.startswith("CREATE TABLE") for step in steps)
    assert client.command("SELECT count() FROM system.databases WHERE name = 'trial'") == 0
    client.command("CREATE DATABASE trial ENGINE = Atomic")
    assert migrate("--dry-run").stdout.startswith("CREATE TABLE schema_migrations\n")
    assert migrate().returncode == 0
    assert migrate("--dry-run").stdout == ""
    assert migrate("--status", "--accept").returncode == 2
    after = migrate("--status", "--json")
    assert (after.returncode, json.loads(after.stdout)) == (0, {"applied": numbers, "pending": []} | nothing)
    client.command("TRUNCATE TABLE trial.schema_objects")
    said = "nothing is recorded to compare its tables and views with: "
    unrecorded = migrate("--status")
    assert unrecorded.returncode == 1
    assert unrecorded.stdout.endswith(f"\n{said}`andon migrate` records what they are now\n")
    assert migrate().stdout == f"{said}recorded as they are now\n"
    client.command("ALTER TABLE trial.events REMOVE TTL")
    differs = migrate()
    assert (differs.returncode, differs.stdout) == (0, "")
    assert differs.stderr.startswith("warning: database trial is not what its migrations made: events differs; ")
    client.command("DROP VIEW trial.update_days_feed")
    status = migrate("--status")
    assert status.returncode == 1
    assert status.stdout.endswith("\nmissing  update_days_feed\ndiffers  events\n")
    said = "update_days_feed is missing, events differs; what each was is recorded in schema_objects"
    assert said in status.stderr
    client.command("INSERT INTO trial.schema_migrations SELECT 1, 'x', repeat('0', 64), 99, 99, now64(3)")
    drift = migrate()
    assert drift.returncode == 1
    assert "was changed after it was applied" in drift.stderr


def test_every_column_says_what_it_holds(database: Database) -> None:
    """Of tables and views alike; what feeds a table says nothing of its own, nor do the tables about the schema."""
    sql = (
        "SELECT concat(table, '.', name) FROM system.columns WHERE database = currentDatabase() AND comment = '' "
        "AND NOT endsWith(table, '_feed') AND NOT startsWith(table, 'schema_')"
    )
    assert database.client().query(sql).result_rows == []


def test_views_are_altered_where_they_are() -> None:
    """On a cluster a view is one object a server, under its own name; a table is two."""
    view, table = "ALTER VIEW v COMMENT COLUMN a 'b'", "ALTER TABLE t COMMENT COLUMN a 'b'"
    assert Layout("db").statements(view) == ["ALTER TABLE v COMMENT COLUMN a 'b'"]
    assert Layout("db", "c").statements(view) == ["ALTER TABLE v ON CLUSTER `c` COMMENT COLUMN a 'b'"]
    assert [row.split()[2] for row in Layout("db", "c").statements(table)] == ["t_local", "t"]
