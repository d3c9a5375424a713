"""`andon migrate`: bring the ClickHouse schema up to this version, show where it stands, or what would be done."""

from typing import TYPE_CHECKING

import click

from consumers.clickhouse.connect import ClickHouseConfig, connect
from consumers.clickhouse.schema.drift import UNRECORDED, Drift, Objects
from consumers.clickhouse.schema.feeds import SOURCE, Feeds
from consumers.clickhouse.schema.inserts import wait_for_inserts
from consumers.clickhouse.schema.layout import Layout
from consumers.clickhouse.schema.migration import (
    CREATE_OBJECTS,
    CREATE_STATUS,
    OBJECTS_TABLE,
    STATUS_TABLE,
    Applied,
    Backfill,
    Migration,
    MigrationError,
    added_column,
    backfilled,
    created,
    dropped,
    dropped_column,
    only_comments,
    pending,
    shipped,
)
from pipeline.runtime.config import configured
from pipeline.runtime.say import say, say_json

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_STATUS = {"number": "UInt32", "name": "String", "checksum": "String", "steps_done": "UInt32", "steps": "UInt32"}
# TABLE_ALREADY_EXISTS, UNKNOWN_TABLE, NOT_FOUND_COLUMN_IN_BLOCK, DUPLICATE_COLUMN
_EXISTS, _UNKNOWN, _NO_COLUMN, _DUPLICATE_COLUMN = 57, 60, 10, 15


class Migrator:
    """Applies migrations to one database. Steps are recorded one by one, comments that follow one another together, so
    an interrupted run goes on where it was."""

    def __init__(self, client: "Client", database: str, cluster: str = "") -> None:
        self._client = client
        self._database = database
        self._layout = Layout(database, cluster)
        self._objects = Objects(client, self._layout)

    def applied(self) -> list[Applied]:
        """What the database has; nothing when there is no database yet."""
        if STATUS_TABLE not in self._tables():
            return []
        sql = f"SELECT number, name, checksum, steps_done, steps FROM {self._status} FINAL ORDER BY number"
        rows = self._client.query(sql, column_formats={"checksum": "string"}).result_rows
        return [Applied(*row) for row in rows]

    def pending(self, migrations: list[Migration]) -> list[tuple[Migration, int]]:
        """Raises MigrationError on drift of the migrations."""
        return pending(migrations, self.applied())

    def drift(self, migrations: list[Migration]) -> Drift:
        """Tables and views that are not what the applied migrations made; none while a migration is half done."""
        applied = {row.number: row for row in self.applied()}
        done = [migration for migration in migrations if migration.number in applied]
        if not done or any(row.steps_done < row.steps for row in applied.values()):
            return Drift([], [])
        return self._objects.drift(done)

    def refused(self, drift: Drift) -> MigrationError:
        """What is said of it."""
        return MigrationError(
            f"database {self._database} is not what its migrations made: {drift.words}; {drift.advice}"
        )

    def up(self, migrations: list[Migration], *, accept: bool = False) -> list[Migration]:
        """Apply what is pending, in order; returns it. With `accept`, what differs is right from now on.

        Raises:
            MigrationError: when something is missing, differs and is to be migrated, or does not exist after it was
                created. With nothing pending a difference stops nobody: nothing is built on it now.
        """
        self._prepare()
        todo = self.pending(migrations)
        drift = self.drift(migrations)
        if drift.missing or (drift.differs and todo and not accept):
            raise self.refused(drift)
        begun = {row.number for row in self.applied()}
        for migration, done in todo:
            for index in range(done, len(migration.steps)):
                self._step(migration, index, again=index == done and migration.number in begun)
        if todo or accept or not self._objects.recorded(migrations):
            self._objects.record(migrations)
        return [migration for migration, _ in todo]

    def missing(self) -> list[str]:
        """What comes before any migration: the database, and its tables about the schema, where these are missing."""
        everywhere = self._layout.everywhere
        sql = "SELECT count() FROM system.databases WHERE name = {database:String}"
        there = self._client.command(sql, parameters={"database": self._database})
        database = [] if there else [f"CREATE DATABASE `{self._database}`{everywhere} ENGINE = Atomic"]
        tables, about = self._tables(), {STATUS_TABLE: CREATE_STATUS, OBJECTS_TABLE: CREATE_OBJECTS}
        return database + [self._layout.status(sql).strip() for name, sql in about.items() if name not in tables]

    def _prepare(self) -> None:
        for statement in self.missing():
            if (name := created(statement)) is None:  # the database
                self._client.command(statement)
            else:
                self._run(statement)
                self._assert(name)

    def _step(self, migration: Migration, index: int, again: bool) -> None:
        if not index:  # later ones: what was recorded after the step before says the same
            self._record(migration, index)
        step = migration.steps[index]
        if (backfill := backfilled(step)) is not None:
            self._fill(backfill)
        else:
            for statement in self._layout.statements(step):
                self._run_once(statement, again)
        name = created(step)
        if name is not None:
            self._assert(name)
        if not all(map(only_comments, migration.steps[index : index + 2])) or index + 1 == len(migration.steps):
            self._record(migration, index + 1)  # else after the comments that follow: they may be given again

    def _run_once(self, statement: str, again: bool) -> None:
        from clickhouse_connect.driver.exceptions import Error  # here: help does not wait for it

        try:
            self._run(statement)
        except Error as error:
            # Only a step that was begun before may find its work done: it died before it could record that.
            if not again or error.code != _done_already(statement):
                raise

    def _fill(self, backfill: Backfill) -> None:
        feeds, (table, source) = Feeds(self._client, self._layout), backfill
        # An INSERT that began before the table's feed was created does not know it.
        wait_for_inserts(self._client, self._layout, source or SOURCE)
        if source:
            feeds.copy(source, table)
            return
        for _ in feeds.fill(feeds.of(table), table, feeds.days()):
            pass

    def _record(self, migration: Migration, steps_done: int) -> None:
        values = dict(zip(_STATUS, (*migration[:3], steps_done, len(migration.steps)), strict=True))
        told = ", ".join(f"{{{name}:{kind}}}" for name, kind in _STATUS.items())
        self._client.command(f"INSERT INTO {self._status} ({', '.join(_STATUS)}) VALUES ({told})", parameters=values)

    def _assert(self, name: str) -> None:
        if name not in self._tables():
            raise MigrationError(f"{self._database}.{name} does not exist after the statement that creates it")

    def _tables(self) -> set[str]:
        sql = "SELECT name FROM system.tables WHERE database = {database:String}"
        return {row[0] for row in self._client.query(sql, parameters={"database": self._database}).result_rows}

    def _run(self, sql: str) -> None:
        self._client.command(sql, settings={"database": self._database})

    @property
    def _status(self) -> str:
        return f"`{self._database}`.{STATUS_TABLE}"


def _done_already(statement: str) -> int:
    """The error code that says that the statement has run before."""
    if dropped_column(statement):
        return _NO_COLUMN
    if added_column(statement):
        return _DUPLICATE_COLUMN
    return _UNKNOWN if dropped(statement) else _EXISTS


def shown(layout: Layout, step: str) -> list[str]:
    """A step as a dry run prints it."""
    backfill = backfilled(step)
    if backfill is None:
        return layout.statements(step)
    table, source = backfill
    return [f"-- every row of {source} into {table}" if source else f"-- andon backfill {table} --add"]


@click.command("migrate", help="Create or upgrade the ClickHouse schema.")
@click.option("--dry-run", is_flag=True, help="Print the statements that would run, and run none.")
@click.option("--status", is_flag=True, help="Show which migrations the database has.")
@click.option("--json", "as_json", is_flag=True, help="With --status: one JSON object.")
@click.option(
    "--accept", is_flag=True, help="Tables and views that differ from what was recorded are right as they are."
)
@configured(("clickhouse", ClickHouseConfig))
def command(clickhouse: ClickHouseConfig, dry_run: bool, status: bool, as_json: bool, accept: bool) -> None:
    """Exit code 1 when --status finds something pending, missing, different or not recorded."""
    if accept and (status or dry_run):
        raise click.UsageError("--accept changes what is recorded: it goes with neither --status nor --dry-run")
    from clickhouse_connect.driver.exceptions import Error  # here: help does not wait for it

    try:
        layout = Layout(clickhouse.database, clickhouse.cluster)
        migrator = Migrator(connect(clickhouse), *layout)
        if status:
            _show(migrator, as_json)
        elif dry_run:
            _print(migrator, layout)
        else:
            _up(migrator, accept)
    except Error as error:
        raise MigrationError(f"ClickHouse at {clickhouse.url}: {error}") from None


def _up(migrator: Migrator, accept: bool) -> None:
    drift = migrator.drift(shipped())
    applied = migrator.up(shipped(), accept=accept)
    if drift.differs and not accept:
        say(f"warning: {migrator.refused(drift)}", err=True)
    if drift.unrecorded:
        say(f"{UNRECORDED}: recorded as they are now")
    for name in drift.differs if accept else ():
        say(f"accepted {name}")
    for migration in applied:
        say(f"applied {migration.number:04d}_{migration.name}")


def _print(migrator: Migrator, layout: Layout) -> None:
    for statement in migrator.missing():
        say(f"{statement};")
    for migration, done in migrator.pending(shipped()):
        say(f"-- {migration.number:04d}_{migration.name}")
        say("\n".join(f"{text};" for step in migration.steps[done:] for text in shown(layout, step)))


def _show(migrator: Migrator, as_json: bool) -> None:
    left = migrator.pending(shipped())
    done = [row for row in migrator.applied() if row.steps_done == row.steps]
    drift = migrator.drift(shipped())
    if as_json:
        names = {"applied": [row.number for row in done], "pending": [migration.number for migration, _ in left]}
        say_json(names | drift._asdict())
    else:
        for row in done:
            say(f"applied  {row.number:04d}_{row.name}")
        for migration, steps in left:
            say(f"pending  {migration.number:04d}_{migration.name} ({steps} of {len(migration.steps)} steps done)")
        for word, found in (("missing", drift.missing), ("differs", drift.differs)):
            say("".join(f"{word}  {name}\n" for name in found), newline=False)
        if drift.unrecorded:
            say(f"{UNRECORDED}: `andon migrate` records what they are now")
    if drift:
        raise migrator.refused(drift)
    if left or drift.unrecorded:
        raise SystemExit(1)
