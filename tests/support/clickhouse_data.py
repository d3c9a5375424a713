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

from consumers.clickhouse.archive.tables import EventRows
from pipeline.bench.combine_load import EventLoad, messages
from support.clickhouse import LocalClickHouse

STRATA = ("stratum_minutes", "stratum_hours", "stratum_days")
UPDATES = ("update_minutes", "update_hours", "update_days", "update_installs")
AGGREGATES = (*STRATA, *UPDATES)
FED = ("crashes", "hosts", *AGGREGATES)
PLAIN = (
    "SELECT * FROM strata_by_minute ORDER BY ALL",
    "SELECT * FROM strata_by_hour ORDER BY ALL",
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


def insert(client: Client, values: list[bytes], database: str = "andon") -> None:
    """As the archive inserts a batch."""
    batch = EventRows()(values, [int(time.time() * 1000)] * len(values))
    client.insert_arrow("events", pa.Table.from_batches([batch.tables["events"]]), database=database)


def plain(client: Client, database: str = "andon") -> list[list[Any]]:
    """What every aggregate says, in plain numbers."""
    return [client.query(sql, settings={"database": database}).result_rows for sql in PLAIN]


def andon(line: LocalClickHouse, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command against this ClickHouse."""
    environ = {"ANDON_ARCHIVE_CLICKHOUSE_PASSWORD": line.password, "PATH": ""}
    argv = [sys.executable, "-m", "pipeline", *arguments, "--clickhouse-url", line.server.clickhouse_url]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120, check=False)


SLOW_ROWS = 24


@contextmanager
def slow_insert(line: LocalClickHouse, database: str = "andon") -> Iterator[None]:
    """An INSERT of crashes of today that knows its views, and shows its rows only some seconds later: it is under way
    when the body begins, and done when the block ends."""
    sql = (
        f"INSERT INTO {database}.events (fleet, host, ts, ingested_at, kind, ring, id) "
        "SELECT 'slow', toString(number), now64(3), now64(3), 'crash', 'late', toString(number) "
        f"FROM numbers({SLOW_ROWS}) WHERE sleepEachRow(0.25) = 0 "
        "SETTINGS max_block_size = 1, max_threads = 1"
    )
    thread = threading.Thread(target=lambda: line.client().command(sql))
    thread.start()
    client, deadline = line.client(), time.monotonic() + 20
    under_way = "SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND read_rows > 0"
    while not client.command(under_way):
        assert time.monotonic() < deadline
        assert thread.is_alive()
    yield
    thread.join()
