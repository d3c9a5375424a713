"""Events for tests of the ClickHouse schema: put in as the archive does it, asked for as people do."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from consumers.clickhouse.archive.events import EventRows
from consumers.clickhouse.connect import connect
from pipeline.bench.combine_load import EventLoad, messages
from pipeline.runtime.waiting import wait_for
from support.engines import Database

STRATA = ("stratum_minutes", "stratum_hours", "stratum_days")
UPDATES = ("update_minutes", "update_hours", "update_days", "update_installs")
AGGREGATES = (*STRATA, "ring_hours", *UPDATES)
FED = ("crashes", "hosts", *AGGREGATES)
PLAIN = (
    "SELECT * FROM strata_by_minute ORDER BY ALL",
    "SELECT * FROM strata_by_hour ORDER BY ALL",
    "SELECT fleet, hour, ring, uniqCombinedMerge(hosts) AS n FROM ring_hours GROUP BY ALL ORDER BY ALL",
    "SELECT * FROM updates_by_minute ORDER BY ALL",
    "SELECT * FROM updates_by_hour ORDER BY ALL",
    "SELECT * FROM exposure_over_time ORDER BY ALL",
    "SELECT * FROM crash_rate_by_update_day ORDER BY ALL",
    "SELECT * FROM crash_rate_by_ring ORDER BY ALL",
    "SELECT fleet, host, last_seen, updates.version FROM hosts FINAL ORDER BY ALL",
    "SELECT * EXCEPT ingested_at FROM crashes FINAL ORDER BY ALL",
)


def events(count: int, seed: int, days: float = 2.0, hosts: int = 300) -> list[bytes]:
    """Events of `hosts` hosts over the last days, one in a thousand a crash, and every fiftieth made one."""
    load = messages(EventLoad(count, hosts, 12, days * 86_400, int(time.time() * 1000), seed))
    crash = b'"kind":"crash","signature":{"code":"0x50","module":"csagent.sys"}'
    return [
        value.replace(b'"kind":"heartbeat"', crash) if number % 50 == 0 else value
        for number, (_, value) in enumerate(load)
    ]


def insert(client: Client, values: list[bytes]) -> None:
    """As the archive inserts a batch, into the client's database."""
    rows = EventRows()(values, [int(time.time() * 1000)] * len(values))
    client.insert_arrow("events", pa.Table.from_batches([rows.tables["events"]]))


def plain(client: Client) -> list[list[Any]]:
    """What every aggregate says, in plain numbers."""
    return [client.query(sql).result_rows for sql in PLAIN]


def command(database: Database, *arguments: str, reads: bool = False) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of `andon …` in this database, as the owner, or as who may only read."""
    endpoint, user = database.endpoint, "andon_read" if reads else "andon"
    where = ["--clickhouse-url", endpoint.server.url, "--clickhouse-user", user, "--database", database.name]
    password = endpoint.read_password if reads else endpoint.password
    first, *rest = arguments
    return [sys.executable, "-m", "pipeline", first, *where, *rest], {"ANDON_CLICKHOUSE_PASSWORD": password, "PATH": ""}


def andon(database: Database, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the owner's in this database."""
    argv, environ = command(database, *arguments)
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120, check=False)


SLOW_ROWS = 24


@contextmanager
def slow_insert(database: Database) -> Iterator[None]:
    """An INSERT of crashes of today that knows its views, and shows its rows only some seconds later: it is under way
    when the body begins, and done when the block ends."""
    sql = (
        f"INSERT INTO {database.name}.events (fleet, host, ts, ingested_at, kind, ring, id) "
        "SELECT 'slow', toString(number), now64(3), now64(3), 'crash', 'late', toString(number) "
        f"FROM numbers({SLOW_ROWS}) WHERE sleepEachRow(0.25) = 0 "
        "SETTINGS max_block_size = 1, max_threads = 1"
    )
    asker, inserter = (connect(database.endpoint.server) for _ in range(2))
    thread = threading.Thread(target=inserter.command, args=(sql,))
    thread.start()
    ours = f"query_kind = 'Insert' AND startsWith(query, 'INSERT INTO {database.name}.events') AND read_rows > 0"
    under_way = f"SELECT count() FROM system.processes WHERE {ours}"
    assert wait_for(lambda: asker.command(under_way) or not thread.is_alive(), 20)
    assert thread.is_alive()
    try:
        yield
    finally:
        thread.join()
