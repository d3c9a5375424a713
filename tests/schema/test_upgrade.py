"""Upgrades: from every version that was ever shipped, with data in place, to the schema of today."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from support.clickhouse_data import SLOW_ROWS, events, insert, plain, slow_insert
from support.engines import Database, Databases

from consumers.clickhouse.connect import connect
from consumers.clickhouse.schema.migrate import Migrator
from consumers.clickhouse.schema.migration import shipped

BEFORE = events(1500, seed=1)
AFTER = events(500, seed=2)


DECISIONS = 3  # the version that has verdicts, halts and refused messages
# One row of every table that no event feeds, from the version on that has it.
UPDATE = {"fleet": "acme", "vendor": "v", "product": "p", "version": "1"}
NOW = datetime.now(UTC).replace(microsecond=0)
RECORDS: dict[str, dict[str, Any]] = {
    "verdicts": UPDATE | {"ring": "canary", "at": NOW, "observed": 3, "flags": ["capped"], "record": b"{}"},
    "heartbeats": {"fleet": "acme", "at": NOW, "stream_time": NOW, "live_updates": 2, "events": 7, "offset": 11},
    "halts": UPDATE
    | {"epoch": 1, "action": "halt", "rings": ["*"], "issued_at": NOW, "expires_at": NOW, "record": b"{}"},
    "halt_acks": {"halt_key": "acme/v/p/1", "epoch": 1, "subscriber": "s", "status": "confirmed", "at": NOW},
    "dead_letters": {"at": NOW, "reason": "invalid_json", "partition": 1, "offset": 5, "key": "h", "value": b"\xff{"},
}


def store(client: Client, offset: int) -> None:
    """Such a row each, at this place of its topic, where there is such a table."""
    tables = client.query("SELECT name FROM system.tables WHERE database = currentDatabase()").result_rows
    for table in RECORDS.keys() & {name for (name,) in tables}:
        row = RECORDS[table] | {"source_partition": 0, "source_offset": offset}
        client.insert(table, [list(row.values())], column_names=list(row))


def stored(client: Client) -> dict[str, list[tuple[Any, ...]]]:
    """Those rows whole, by table, once everything is merged and what has expired is dropped."""
    found = {}
    for table, row in RECORDS.items():
        client.command(f"OPTIMIZE TABLE {table} FINAL")
        names = ", ".join(f"`{name}`" for name in row)
        sql = f"SELECT source_offset, {names} FROM {table} ORDER BY source_offset"
        formats = {name: "bytes" for name, value in row.items() if isinstance(value, bytes)}
        found[table] = client.query(sql, column_formats=formats).result_rows
    return found


def expected(*offsets: int) -> dict[str, list[tuple[Any, ...]]]:
    """What `stored` says when nothing is lost, and nothing changed; times are UTC and do not say so."""
    values = {
        table: [value.replace(tzinfo=None) if value is NOW else value for value in row.values()]
        for table, row in RECORDS.items()
    }
    return {table: [(offset, *row) for offset in offsets] for table, row in values.items()}


@pytest.fixture(scope="module")
def anew(module_database: Database) -> Database:
    """A database that never was upgraded."""
    for batch in (BEFORE, AFTER):
        insert(module_database.client(), batch)
    return module_database


@pytest.fixture
def trial(databases: Databases) -> Iterator[Database]:
    """An empty one, gone afterwards."""
    made, connected = Database(databases.endpoint, "trial"), connect(databases.endpoint.server)
    connected.command(f"CREATE DATABASE {made.name} ENGINE = Atomic")
    yield made
    connected.command(f"DROP DATABASE {made.name} SYNC")


@pytest.fixture
def client(trial: Database) -> Client:
    """A client of the trial's."""
    return trial.client()


def test_upgraded_is_as_made_anew(anew: Database, client: Client) -> None:
    """From every version that ever was to the next: what was stored under each is in every table of today's, and so is
    what comes later."""
    migrator, versions = Migrator(client, client.database), range(1, len(shipped()) + 1)
    for version in versions:
        assert [migration.number for migration in migrator.up(shipped()[:version])] == [version]
        insert(client, BEFORE[version - 1 :: len(versions)])
        store(client, version)
    insert(client, AFTER)
    assert plain(client) == plain(anew.client())
    assert stored(client) == expected(*versions[DECISIONS - 1 :])


def test_what_was_stored_under_the_first_version_is_upgraded_at_once(anew: Database, client: Client) -> None:
    """Every migration in one run, each over all that there is."""
    migrator = Migrator(client, client.database)
    migrator.up(shipped()[:1])
    insert(client, BEFORE)
    assert migrator.up(shipped()) == shipped()[1:]
    insert(client, AFTER)
    assert plain(client) == plain(anew.client())


def test_what_is_being_stored_meanwhile_is_not_lost(trial: Database, client: Client) -> None:
    """An INSERT that began under the old schema ends after the new one's tables were filled: they have its rows."""
    migrator = Migrator(client, client.database)
    migrator.up(shipped()[:7])
    with slow_insert(trial):
        migrator.up(shipped())
    sql = "SELECT uniqExactMerge(crashes) FROM stratum_days"
    assert client.query(sql).first_row == (SLOW_ROWS,)


def test_every_step_may_run_twice(anew: Database, client: Client) -> None:
    """Died after each and every step, before that was recorded: the next run goes on and ends where it should."""
    migrator = Migrator(client, client.database)
    migrator.up(shipped()[:3])
    insert(client, BEFORE)
    store(client, 1)
    for migration in shipped()[3:]:
        for index in range(len(migration.steps)):
            migrator._step(migration, index, again=False)
            migrator._step(migration, index, again=True)
    insert(client, AFTER)
    assert migrator.up(shipped()) == []
    assert plain(client) == plain(anew.client())
    assert stored(client) == expected(1)


def test_what_is_stored_does_not_change_when_it_comes_again(anew: Database) -> None:
    """The same reports in other batches, without any token and side by side: no aggregate moves."""
    before = plain(anew.client())
    again = random.Random(3).sample([*BEFORE, *AFTER], len(BEFORE) + len(AFTER))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda start: insert(anew.client(), again[start : start + 700]), range(0, len(again), 700)))
    assert plain(anew.client()) == before
    assert anew.client().command("SELECT count() FROM events_once") == len(again)
