"""`andon backfill` and `andon forget` on the real engine, with inserts going on."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_data import AGGREGATES, FED, events, insert, plain

from pipeline.bench.archive_line import LocalClickHouse
from pipeline.wire.events import decode_event

pytestmark = pytest.mark.system
FIRST = events(3000, seed=1)


@pytest.fixture
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClickHouse]:
    """The endpoint with three thousand events."""
    with LocalClickHouse(tmp_path_factory.mktemp("forget")) as running:
        insert(running.client(), FIRST)
        yield running


@pytest.fixture
def client(line: LocalClickHouse) -> Client:
    """A client."""
    return line.client()


def andon(line: LocalClickHouse, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command against this ClickHouse."""
    environ = {"ANDON_ARCHIVE_CLICKHOUSE_PASSWORD": line.password, "PATH": ""}
    argv = [sys.executable, "-m", "pipeline", *arguments, "--clickhouse-url", line.server.clickhouse_url]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120, check=False)


def test_backfill_while_the_stream_runs(line: LocalClickHouse, client: Client) -> None:
    """Every table is emptied and made anew while batches come in: it ends as if nothing had happened."""
    for table in AGGREGATES:
        client.command(f"TRUNCATE TABLE {table}")
    stop, inserted = threading.Event(), []

    def stream() -> None:
        ours = line.client()
        while not stop.is_set():
            inserted.append(events(200, seed=100 + len(inserted)))
            while True:  # as the archive does: an insert that meets the exchange of tables is aborted, and sent again
                with contextlib.suppress(DatabaseError):
                    insert(ours, inserted[-1])
                    break

    thread = threading.Thread(target=stream)
    thread.start()
    done = andon(line, "backfill", "all")
    stop.set()
    thread.join()
    assert done.returncode == 0, done.stderr
    assert len(inserted) > 3
    assert client.command("SELECT sum(events) FROM strata_by_minute") == len(FIRST) + 200 * len(inserted)
    found = plain(client)
    for table in FED:
        client.command(f"TRUNCATE TABLE {table}")
    assert andon(line, "backfill", "all", "--add").returncode == 0
    assert plain(client) == found
    left = client.query("SELECT name FROM system.tables WHERE database = 'andon' AND name LIKE '%\\_new%'").result_rows
    assert left == []


def test_backfill_of_one_day_leaves_the_others(line: LocalClickHouse, client: Client) -> None:
    """What is wrong in a day is made right; what stands about another day stays, whether it is right or not."""
    today = datetime.now(UTC).date()
    for day, version in (("today()", "wrong"), ("today() - 200", "old")):
        row = f"VALUES ('acme', {day}, '{version}', now())"
        client.command(f"INSERT INTO update_days (fleet, day, version, stored_at) {row}")
    assert andon(line, "backfill", "update_days", "--since", str(today), "--until", str(today)).returncode == 0
    sql = "SELECT DISTINCT version FROM update_days WHERE version IN ('wrong', 'old')"
    assert client.query(sql).result_rows == [("old",)]
    assert andon(line, "backfill", "update_days").returncode == 0
    assert client.query(sql).result_rows == [("old",)]
    unknown = andon(line, "backfill", "verdicts")
    assert unknown.returncode == 1
    assert "update_days" in unknown.stderr


def test_a_host_is_forgotten(line: LocalClickHouse, client: Client) -> None:
    """Rows and hashes of the host are gone from every table; what is left is what all others have reported."""
    host = next(event.host for event in map(decode_event, FIRST) if event.__class__.__name__ == "Crash")
    letter = ["invalid_json", b'{"host":"%s"' % host.encode()]
    client.insert("dead_letters", [letter], column_names=["reason", "value"])
    done = andon(line, "forget", "--host", host, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    said = {(row["table"], row["what"]): row for row in json.loads(done.stdout)["tables"]}
    assert {table for table, _ in said} == {"events", "dead_letters", *FED}
    assert all(row["before"] > 0 and row["after"] == 0 for row in said.values()), said
    found = plain(client)
    for table in ("events", *FED):
        client.command(f"TRUNCATE TABLE {table}")
    insert(client, [raw for raw in FIRST if decode_event(raw).host != host])
    assert plain(client) == found


def test_what_cannot_be_made_anew_stays(line: LocalClickHouse, client: Client) -> None:
    """A host reports a day whose raw events have expired: forgetting it leaves others' history, and says what is."""
    old = datetime.now(UTC) - timedelta(days=200)
    client.command(
        "INSERT INTO stratum_days SELECT 'zeta' AS fleet, {day:Date} AS day, 'r' AS ring, 'o' AS os, 'm' AS model, "
        "now() AS stored_at, uniqCombinedState(number) AS hosts, uniqExactState(number) AS crashes, "
        "uniqExactState(number) AS crashed_hosts FROM numbers(500)",
        parameters={"day": old.date()},
    )
    late = msgspec.json.decode(FIRST[0]) | {"host": "late-1", "ts": int(old.timestamp() * 1000), "updates": []}
    insert(client, [msgspec.json.encode(late)])
    done = andon(line, "forget", "--host", "late-1", "--yes", "--json")
    said = {(row["table"], row["what"]): row["after"] for row in json.loads(done.stdout)["tables"]}
    assert said["events", "rows"] == 0
    assert said["stratum_days", "sets"] == 1
    assert done.returncode == 1
    assert client.command("SELECT uniqCombinedMerge(hosts) FROM stratum_days WHERE fleet = 'zeta'") == 500
    refused = andon(line, "backfill", "stratum_days", "--since", str(old.date()))
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert client.command("SELECT uniqCombinedMerge(hosts) FROM stratum_days WHERE fleet = 'zeta'") == 500


def test_an_insert_that_began_before_a_rebuild_counts(line: LocalClickHouse, client: Client) -> None:
    """Its events are committed only after the day would have been read: the rebuild waits for it."""
    slow = (
        "INSERT INTO events SELECT * REPLACE (concat(id, '-slow') AS id, concat(host, '-slow') AS host) "
        "FROM (SELECT * FROM events LIMIT 28) WHERE sleepEachRow(0.1) = 0"
    )
    other = line.client()
    thread = threading.Thread(target=lambda: other.command(slow))
    thread.start()
    running = "SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO events SELECT%'"
    deadline = time.monotonic() + 30
    while not client.command(running):
        assert time.monotonic() < deadline
    assert andon(line, "backfill", "stratum_days").returncode == 0
    thread.join()
    hosts = client.command("SELECT uniqExact(host) FROM events")
    assert client.command("SELECT uniqCombinedMerge(hosts) FROM stratum_days") == hosts


def test_a_fleet_is_forgotten(line: LocalClickHouse, client: Client) -> None:
    """Nothing of the fleet is in any table; another fleet's data is untouched; hostile names are data."""
    evil = "x'; DROP TABLE events; --"
    insert(client, [raw.replace(b'"fleet":"acme"', b'"fleet":"%s"' % evil.encode()) for raw in FIRST[:200]])
    client.insert("verdicts", [[evil]], column_names=["fleet"])
    client.insert("halts", [[evil]], column_names=["fleet"])
    keys = [["acme/v/p/1"], ["x'; DROP TABLE events; --/v/p/1"]]
    client.insert("halt_acks", keys, column_names=["halt_key"])
    assert andon(line, "forget", "--fleet", evil, "--yes").returncode == 0
    for (table,) in client.query(
        "SELECT table FROM system.columns WHERE database = 'andon' AND name = 'fleet' AND table NOT LIKE '%feed'"
    ).result_rows:
        counted = client.command(f"SELECT count() FROM {table} WHERE fleet = {{f:String}}", parameters={"f": evil})
        assert counted == 0, table
    assert client.query("SELECT halt_key FROM halt_acks").result_rows == [("acme/v/p/1",)]
    assert client.command("SELECT count() FROM events WHERE fleet = 'acme'") == len(FIRST)
    assert andon(line, "forget", "--yes").returncode == 2
