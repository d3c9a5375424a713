"""`andon backfill` and `andon forget` on the real engine, with inserts going on."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from clickhouse_connect.driver.client import Client
from support.clickhouse_data import AGGREGATES, FED, SLOW_ROWS, andon, events, insert, plain, slow_insert
from support.engines import Database

from consumers.clickhouse.schema.inserts import wait_for_inserts
from consumers.clickhouse.schema.layout import Layout
from consumers.clickhouse.schema.migrate import Migrator
from consumers.clickhouse.schema.migration import shipped
from consumers.clickhouse.upkeep.backfill import command as backfill
from consumers.clickhouse.upkeep.rebuild import COMPLETE_DAYS
from pipeline.correlate.config import GROUP
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.wire.decode import decode_event

FIRST = events(3000, seed=1)


@pytest.fixture
def client(database: Database) -> Client:
    """A client of the test's own database, with three thousand events."""
    connected = database.client()
    insert(connected, FIRST)
    return connected


def test_backfill_while_the_stream_runs(database: Database, client: Client) -> None:
    """Every table is emptied and made anew while batches come in: it ends as if nothing had happened."""
    for table in AGGREGATES:
        client.command(f"TRUNCATE TABLE {table}")
    stop, inserted = threading.Event(), []

    def stream() -> None:
        ours = database.client()
        while not stop.wait(0.2):  # the pace of an archive; without one it would be a race for the machine
            inserted.append(events(200, seed=100 + len(inserted)))
            insert(ours, inserted[-1])

    thread = threading.Thread(target=stream)
    thread.start()
    done = andon(database, "backfill", "all")
    stop.set()
    thread.join()
    assert done.returncode == 0, done.stderr
    assert len(inserted) > 3
    assert client.command("SELECT sum(events) FROM strata_by_minute") == len(FIRST) + 200 * len(inserted)
    found = plain(client)
    for table in FED:
        client.command(f"TRUNCATE TABLE {table}")
    assert andon(database, "backfill", "all", "--add").returncode == 0
    assert plain(client) == found
    left = "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE '%\\_new%'"
    assert client.query(left).result_rows == []
    assert not Migrator(client, database.name).drift(shipped())


def test_backfill_waits_for_inserts_that_do_not_know_the_new_feed(database: Database, client: Client) -> None:
    """One INSERT has looked up its views before the rebuild begins and shows its rows after the fill: none is lost."""
    with slow_insert(database):
        done = andon(database, "backfill", "stratum_days")
    assert done.returncode == 0, done.stderr
    sql = "SELECT uniqExactMerge(crashes), uniqCombinedMerge(hosts) FROM stratum_days WHERE fleet = 'slow'"
    assert client.query(sql).first_row == (SLOW_ROWS, SLOW_ROWS)


def test_what_does_not_end_is_not_waited_for_for_ever(database: Database) -> None:
    """At the deadline it says which INSERT it was, and has taken nothing out of the table."""
    with (
        slow_insert(database),
        pytest.raises(AndonError, match=f"still run after 0 s.*INSERT INTO {database.name[:40]}"),
    ):
        wait_for_inserts(database.client(), Layout(database.name), wait_seconds=0.2)


def test_backfill_of_days_that_end_before_they_begin_is_refused() -> None:
    """Nothing would be done, and that be called done."""
    refused = CliRunner().invoke(backfill, ["update_days", "--since", "2026-11-28", "--until", "2026-11-20", "--add"])
    assert isinstance(refused.exception, ConfigError)
    assert "--until 2026-11-20 is before --since 2026-11-28" in str(refused.exception)


def test_backfill_of_one_day_leaves_the_others(database: Database, client: Client) -> None:
    """What is wrong in a day is made right; what stands about another day stays, whether it is right or not;
    with a feed gone, "all" is refused."""
    today = datetime.now(UTC).date()
    for day, version in (("today()", "wrong"), ("today() - 200", "old")):
        row = f"VALUES ('acme', {day}, '{version}', now())"
        client.command(f"INSERT INTO update_days (fleet, day, version, stored_at) {row}")
    assert andon(database, "backfill", "update_days", "--since", str(today), "--until", str(today)).returncode == 0
    sql = "SELECT DISTINCT version FROM update_days WHERE version IN ('wrong', 'old')"
    assert client.query(sql).result_rows == [("old",)]
    assert andon(database, "backfill", "update_days").returncode == 0
    assert client.query(sql).result_rows == [("old",)]
    since = str(today - timedelta(days=COMPLETE_DAYS + 1))
    refused = andon(database, "backfill", "update_days", "--since", since)
    assert refused.returncode == 2
    assert f"The first day that can be made anew is {today - timedelta(days=COMPLETE_DAYS)}" in refused.stderr
    assert client.query(sql).result_rows == [("old",)]
    complete = str(today - timedelta(days=COMPLETE_DAYS))
    assert andon(database, "backfill", "update_days", "--since", complete).returncode == 0
    assert andon(database, "backfill", "update_days", "--since", "2001-01-01", "--add").returncode == 0
    assert client.query(sql).result_rows == [("old",)]
    assert andon(database, "backfill", "update_days", "--since", "2001-01-01", "--yes").returncode == 0
    assert client.query(sql).result_rows == []
    unknown = andon(database, "backfill", "verdicts")
    assert unknown.returncode == 1
    assert "update_days" in unknown.stderr
    client.command("DROP VIEW update_days_feed")
    lacking = andon(database, "backfill", "all")
    assert (lacking.returncode, lacking.stdout) == (1, "")
    assert "missing: update_days_feed" in lacking.stderr


def test_a_host_is_forgotten(database: Database, client: Client) -> None:
    """Rows and hashes of the host are gone from every table; what is left is what all others have reported."""
    host = next(event.host for event in map(decode_event, FIRST) if event.__class__.__name__ == "Crash")
    letter = ["invalid_json", b'{"host":"%s"' % host.encode()]
    client.insert("dead_letters", [letter], column_names=["reason", "value"])
    done = andon(database, "forget", "--host", host, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    said = {(row["table"], row["what"]): row for row in json.loads(done.stdout)["tables"]}
    assert {table for table, _ in said} == {"events", "dead_letters", *FED}
    assert all(row["before"] > 0 and row["after"] == 0 for row in said.values()), said
    found = plain(client)
    for table in ("events", *FED):
        client.command(f"TRUNCATE TABLE {table}")
    insert(client, [raw for raw in FIRST if decode_event(raw).host != host])
    assert plain(client) == found


def test_a_fleet_is_forgotten(database: Database, client: Client) -> None:
    """Nothing of the fleet is in any table; another fleet's data is untouched; hostile names are data."""
    evil = "x'; DROP TABLE events; --"
    insert(client, [raw.replace(b'"fleet":"acme"', b'"fleet":"%s"' % evil.encode()) for raw in FIRST[:200]])
    client.insert("verdicts", [[evil]], column_names=["fleet"])
    client.insert("halts", [[evil]], column_names=["fleet"])
    keys = [["acme/v/p/1"], ["x'; DROP TABLE events; --/v/p/1"]]
    client.insert("halt_acks", keys, column_names=["halt_key"])
    done = andon(database, "forget", "--fleet", evil, "--yes")
    assert done.returncode == 0
    for source in ("fleet.verdicts", "fleet.halts", "heartbeats", GROUP + "-state-changelog", "senders"):
        assert source in done.stdout  # what brings it back is named
    said = " ".join(done.stdout.split())
    assert "lift its standing halts, each by a signed resume" in said
    assert "Never delete keys of fleet.halts" in said
    named = "SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'fleet'"
    for (table,) in client.query(f"{named} AND table NOT LIKE '%feed'").result_rows:
        counted = client.command(f"SELECT count() FROM {table} WHERE fleet = {{f:String}}", parameters={"f": evil})
        assert counted == 0, table
    assert client.query("SELECT halt_key FROM halt_acks").result_rows == [("acme/v/p/1",)]
    assert client.command("SELECT count() FROM events WHERE fleet = 'acme'") == len(FIRST)
    assert andon(database, "forget", "--yes").returncode == 2


def test_what_nobody_knows_is_said_to_be_unknown(database: Database, client: Client) -> None:
    """That nothing of a misspelt name is left proves nothing about the right one."""
    insert(client, FIRST)
    done = andon(database, "forget", "--fleet", "acmee", "--yes")
    assert "warning: fleet 'acmee' is unknown: ClickHouse has acme; did you mean acme?" in done.stderr
    host = json.loads(FIRST[0])["host"]
    done = andon(database, "forget", "--host", host + "x", "--yes")
    assert f"warning: host '{host}x' is unknown; did you mean {host}" in done.stderr
    assert "unknown" not in andon(database, "forget", "--host", host, "--yes").stderr
    assert "unknown" not in andon(database, "forget", "--fleet", "acme", "--yes").stderr
