"""Upgrades: from every version that was ever shipped, with data in place, to the schema of today."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_data import SLOW_ROWS, events, insert, plain, slow_insert

from consumers.clickhouse.connect import connect
from consumers.clickhouse.migrate import Migrator
from consumers.clickhouse.schema import shipped
from pipeline.bench.archive_line import LocalClickHouse

pytestmark = pytest.mark.system
DATABASE = "trial"
BEFORE = events(1500, seed=1)
AFTER = events(500, seed=2)


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
    """Events stored under an old version are in every table of today's, and so are those that come later."""
    migrator = Migrator(client, DATABASE)
    migrator.up(shipped()[:version])
    insert(client, BEFORE, DATABASE)
    assert [migration.number for migration in migrator.up(shipped())] == list(range(version + 1, len(shipped()) + 1))
    insert(client, AFTER, DATABASE)
    assert plain(client, DATABASE) == plain(line.client())


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
    for migration in shipped()[3:]:
        for index in range(len(migration.steps)):
            migrator._step(migration, index, again=False)
            migrator._step(migration, index, again=True)
    insert(client, AFTER, DATABASE)
    assert migrator.up(shipped()) == []
    assert plain(client, DATABASE) == plain(line.client())


def test_what_is_stored_does_not_change_when_it_comes_again(line: LocalClickHouse, client: Client) -> None:
    """The same reports in other batches, without any token and side by side: no aggregate moves."""
    before = plain(line.client())
    again = random.Random(3).sample([*BEFORE, *AFTER], len(BEFORE) + len(AFTER))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda start: insert(line.client(), again[start : start + 700]), range(0, len(again), 700)))
    after = plain(line.client())
    assert after == before
    assert client.command("SELECT count() FROM andon.events_once") == len(again)
