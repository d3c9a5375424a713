"""Upgrades: from every version that was ever shipped, with data in place, to the schema of today."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from support.clickhouse import LocalClickHouse
from support.clickhouse_data import SLOW_ROWS, events, insert, plain, slow_insert

from consumers.clickhouse.connect import connect
from consumers.clickhouse.schema.files import shipped
from consumers.clickhouse.schema.migrate import Migrator

pytestmark = pytest.mark.system
DATABASE = "trial"
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
    "halt_acks": {"halt_key": "acme/v/p/1", "epoch": 1, "subscriber": "s", "status": "stopped", "at": NOW},
    "dead_letters": {"at": NOW, "reason": "invalid_json", "partition": 1, "offset": 5, "key": "h", "value": b"\xff{"},
}


def store(client: Client, offset: int) -> None:
    """Such a row each, at this place of its topic, where there is such a table."""
    tables = client.query(f"SELECT name FROM system.tables WHERE database = '{DATABASE}'").result_rows
    for table in RECORDS.keys() & {name for (name,) in tables}:
        row = RECORDS[table] | {"source_partition": 0, "source_offset": offset}
        client.insert(table, [list(row.values())], column_names=list(row), database=DATABASE)


def stored(client: Client) -> dict[str, list[tuple[Any, ...]]]:
    """Those rows whole, by table, once everything is merged and what has expired is dropped."""
    found = {}
    for table, row in RECORDS.items():
        client.command(f"OPTIMIZE TABLE {DATABASE}.{table} FINAL")
        names = ", ".join(f"`{name}`" for name in row)
        sql = f"SELECT source_offset, {names} FROM {DATABASE}.{table} ORDER BY source_offset"
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
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClickHouse]:
    """The endpoint; its own database holds what a database that never was upgraded holds."""
    with LocalClickHouse(tmp_path_factory.mktemp("upgrade")) as running:
        insert(running.client(), BEFORE)
        insert(running.client(), AFTER)
        yield running


@pytest.fixture
def client(line: LocalClickHouse) -> Iterator[Client]:
    """A client; the database of the trial is gone afterwards."""
    connected = connect(line.server)
    yield connected
    connected.command(f"DROP DATABASE IF EXISTS {DATABASE} SYNC")


@pytest.mark.parametrize("version", range(1, len(shipped())))
def test_upgraded_is_as_made_anew(line: LocalClickHouse, client: Client, version: int) -> None:
    """What was stored under an old version is in every table of today's, and so is what comes later."""
    migrator = Migrator(client, DATABASE)
    migrator.up(shipped()[:version])
    insert(client, BEFORE, DATABASE)
    store(client, 1)
    assert [migration.number for migration in migrator.up(shipped())] == list(range(version + 1, len(shipped()) + 1))
    insert(client, AFTER, DATABASE)
    store(client, 2)
    assert plain(client, DATABASE) == plain(line.client())
    assert stored(client) == expected(*((1, 2) if version >= DECISIONS else (2,)))


def test_what_is_being_stored_meanwhile_is_not_lost(line: LocalClickHouse, client: Client) -> None:
    """An INSERT that began under the old schema ends after the new one's tables were filled: they have its rows."""
    migrator = Migrator(client, DATABASE)
    migrator.up(shipped()[:7])
    with slow_insert(line, DATABASE):
        migrator.up(shipped())
    sql = f"SELECT uniqExactMerge(crashes) FROM {DATABASE}.stratum_days"
    assert client.query(sql).first_row == (SLOW_ROWS,)


def test_every_step_may_run_twice(client: Client, line: LocalClickHouse) -> None:
    """Died after each and every step, before that was recorded: the next run goes on and ends where it should."""
    migrator = Migrator(client, DATABASE)
    migrator.up(shipped()[:3])
    insert(client, BEFORE, DATABASE)
    store(client, 1)
    for migration in shipped()[3:]:
        for index in range(len(migration.steps)):
            migrator._step(migration, index, again=False)
            migrator._step(migration, index, again=True)
    insert(client, AFTER, DATABASE)
    assert migrator.up(shipped()) == []
    assert plain(client, DATABASE) == plain(line.client())
    assert stored(client) == expected(1)


def test_what_is_stored_does_not_change_when_it_comes_again(line: LocalClickHouse, client: Client) -> None:
    """The same reports in other batches, without any token and side by side: no aggregate moves."""
    before = plain(line.client())
    again = random.Random(3).sample([*BEFORE, *AFTER], len(BEFORE) + len(AFTER))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda start: insert(line.client(), again[start : start + 700]), range(0, len(again), 700)))
    after = plain(line.client())
    assert after == before
    assert client.command("SELECT count() FROM andon.events_once") == len(again)
