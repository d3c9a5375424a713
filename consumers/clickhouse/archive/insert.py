"""Batches into ClickHouse: retried with the same token until they are acknowledged, or given up."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pyarrow as pa
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from consumers.clickhouse.archive.lanes import Batch
from consumers.clickhouse.connect import ClickHouseConfig, connect
from consumers.clickhouse.refused import Refusal, code_of, refusal
from pipeline.runtime.metrics import INSERT_FAILURES, INSERT_SECONDS, ROWS
from pipeline.runtime.seldom import Seldom

THREADS = 2  # one batch is being sent while ClickHouse works on another
FIRST_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 10.0
CLOSE_SECONDS = 2.0
SLOW_SECONDS = 10.0
SAID_EVERY_SECONDS = 60.0  # that inserts into a table fail

SETTINGS: dict[str, Any] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # An event may say that it is years old; that must not stop the line.
    "throw_on_max_partitions_per_insert_block": 0,
    # A batch has hardly two rows of one key, and every query merges by itself: merging here, too, took a third of the
    # time.
    "optimize_on_insert": 0,
}


class Abandoned(Exception):
    """Given up before ClickHouse has acknowledged; the promise stays on the broker."""


class CannotInsert(Exception):
    """What no further attempt will change: how many rows, into which table, of which records, and why."""


class Inserter:
    """Inserts in threads of its own, each with a client of its own."""

    def __init__(self, server: ClickHouseConfig, log: structlog.typing.FilteringBoundLogger) -> None:
        self._server = server
        # On a cluster an insert is acknowledged once every shard has its rows, and not when they are queued.
        self._sharding: dict[str, Any] = {"distributed_foreground_insert": 1} if server.cluster else {}
        self._log = log
        self._pool = ThreadPoolExecutor(THREADS, "archive-insert")
        self._mine = threading.local()
        self._given_up = threading.Event()
        self._pending: dict[Future[None], str] = {}
        self._under_way: dict[str, float] = {}  # by token: since when (monotonic seconds)
        self._failing: dict[str, tuple[float, Refusal]] = {}  # by token: since when, and why the last time
        self._seldom = Seldom(SAID_EVERY_SECONDS)  # a full disk, or a server that is away, may last the night

    def submit(self, batch: Batch) -> "Future[None]":
        """Insert; the future fails with Abandoned when it is given up, with anything else if it cannot be sent."""
        future = self._pool.submit(self._insert, batch, self._given_up)
        self._pending[future] = batch.words
        future.add_done_callback(lambda done: self._pending.pop(done, None))
        return future

    def trouble(self) -> list[str]:
        """What there is to say of inserts that fail, or are not answered for long. From any thread."""
        now, failing, under_way = time.monotonic(), list(self._failing.values()), list(self._under_way.values())
        if failing:
            why = "; ".join(dict.fromkeys(str(refused) for _, refused in failing))
            return [f"inserts into ClickHouse have failed for {now - min(failing)[0]:.0f} s: {why}"]
        waits_seconds = now - min(under_way, default=now)
        return [f"ClickHouse has had an insert for {waits_seconds:.0f} s"] if waits_seconds > SLOW_SECONDS else []

    def give_up(self) -> None:
        """What has been submitted is no longer ours: it is not tried again."""
        self._given_up.set()
        self._given_up = threading.Event()

    def close(self) -> bool:
        """Give up what ClickHouse does not take at once; False when it has not even refused it by then."""
        self._given_up.set()
        hangs = wait(list(self._pending), CLOSE_SECONDS).not_done
        self._pool.shutdown(wait=not hangs, cancel_futures=True)
        return not hangs

    def under_way(self) -> list[str]:
        """The inserts that nobody has acknowledged or given up, by the records that they hold."""
        return sorted(self._pending.values())

    def _insert(self, batch: Batch, given_up: threading.Event) -> None:
        self._under_way[batch.token] = time.monotonic()
        try:
            self._insert_tables(batch, given_up)
        finally:
            self._under_way.pop(batch.token, None)
            self._failing.pop(batch.token, None)

    def _insert_tables(self, batch: Batch, given_up: threading.Event) -> None:
        for table, held in batch.tables.items():
            # A column that is null in all of one part has another type there.
            parts = [pa.Table.from_batches([rows]) for rows in held]
            rows = pa.concat_tables(parts, promote_options="permissive").unify_dictionaries().combine_chunks()
            self._insert_table(table, rows, batch, given_up)
            ROWS.labels(table).inc(rows.num_rows)

    def _insert_table(self, table: str, rows: pa.Table, batch: Batch, given_up: threading.Event) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while not given_up.is_set():
            started = time.monotonic()
            try:
                settings = SETTINGS | self._sharding | {"insert_deduplication_token": batch.token}
                self._client().insert_arrow(table, rows, settings=settings)
            except (Error, OSError) as error:
                self._mine.client = None
                refused = refusal(error)
                INSERT_FAILURES.labels(table, refused.reason).inc()
                since, _ = self._failing.get(batch.token, (time.monotonic(), refused))
                self._failing[batch.token] = since, refused
                if (more := self._seldom.turn(f"{table}: {_kind(error)}")) is not None:
                    failed = {"table": table, "rows": rows.num_rows, "of": batch.words, "wait": backoff, **more}
                    why = {"why": refused.words, "do": refused.advice, "error": str(error)[:500]}
                    self._log.warning("insert failed, will be retried", **why, **failed)
                given_up.wait(backoff)
                backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)
            except Exception as error:
                raise CannotInsert(f"{rows.num_rows} rows into {table}, of {batch.words}: {error!r}") from error
            else:
                self._failing.pop(batch.token, None)
                self._seldom.over(f"{table}: ")
                INSERT_SECONDS.observe(time.monotonic() - started)
                return
        raise Abandoned

    def _client(self) -> Client:
        client: Client | None = getattr(self._mine, "client", None)
        if client is None:
            client = self._mine.client = connect(self._server, database=self._server.database)
        return client


def _kind(error: Exception) -> str:
    """ClickHouse's number, or the exception's name: another kind is said though the table failed before."""
    return str(code_of(error) or type(error).__name__)
