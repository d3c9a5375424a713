"""`andon bench archive`: Kafka to ClickHouse, steadily for freshness, then as fast as it goes for speed and size."""

import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer, libversion

from pipeline.bench.brokers import broker_option, described, python, running
from pipeline.bench.clickhouse import LocalClickHouse, value, wait_until
from pipeline.bench.combine_load import EventLoad, messages
from pipeline.local.kafka.kinds import BrokerKind
from pipeline.local.machine.process import Process
from pipeline.runtime import topic_admin
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.runtime.waiting import Deadline
from pipeline.wire.spans import DAY_MS
from pipeline.wire.topics import EVENTS

RUN_SECONDS = 300.0
# A look takes ClickHouse 7 ms: fifty a second, as once, were a third of a core of those that it works with.
LOOK_SECONDS = 0.1
MARK_SECONDS = 0.02  # of the steady stream, one event in each such slice is watched until a query shows it
SLICE_EVENTS, MAX_UNREAD = 20_000, 100_000
COUNT = "SELECT count() FROM events"
# Rows are in the table before its views have theirs: what an insert has brought is whole once it is over.
NO_INSERT = "SELECT count() = 0 FROM system.processes WHERE query_kind = 'Insert'"
STRATA = ("stratum_minutes", "stratum_hours", "stratum_days", "ring_hours")
UPDATES = ("update_minutes", "update_hours", "update_days", "update_installs")
TABLES = ("events", "crashes", "hosts", *STRATA, *UPDATES)
WRONG = ("lost", "repeated")
_ID = slice(len('{"v":1,"id":"'), len('{"v":1,"id":"') + 24)
_HOST_FLEET = b'"fleet":"acme"'
SHARED_MEMORY = Path("/dev/shm")


class Plan(NamedTuple):
    """`rate` events a second for `seconds`, then `events` as fast as they are stored; at last as many of one day for
    their size, so many from each host."""

    broker: BrokerKind

    events: int
    rate: int
    seconds: float
    seed: int
    reports_per_host_and_day: int


class Produced:
    """What was produced, by the producer's own account: the id of every event that the broker acknowledged."""

    def __init__(self, kafka: KafkaConfig) -> None:
        self.ids: Counter[str] = Counter()
        self._producer = Producer(producer_config(kafka, "bench-load", **{"linger.ms": 5}))

    def produce(self, key: bytes, event: bytes) -> None:
        """Blocks while the producer's queue is full."""
        self.ids[event[_ID].decode()] += 1
        while True:
            try:
                self._producer.produce(EVENTS.name, event, key)
                return
            except BufferError:
                self._producer.poll(0.05)

    def poll(self) -> None:
        """Let the producer take its acknowledgements."""
        self._producer.poll(0)

    def flush(self) -> None:
        """Raises AndonError when the broker did not take everything."""
        if self._producer.flush(60):
            raise AndonError("the broker did not take the events")

    def compare(self, client: Client) -> dict[str, int]:
        """What is missing in the table and what is there too often, id by id."""
        stored: Counter[str] = Counter()
        with client.query_column_block_stream("SELECT id FROM events") as blocks:
            for block in blocks:
                stored.update(block[0])
        return dict(zip(WRONG, ((self.ids - stored).total(), (stored - self.ids).total()), strict=True))


def _feed(made: list[tuple[bytes, bytes]], ledger: Produced, client: Client) -> float:
    """Feed as fast as it is stored, never more than MAX_UNREAD ahead: the embedded broker answers a fetch with all that
    it has, so that the reader's memory would measure the backlog. The monotonic time of its end."""
    stored = value(client, COUNT) or 0
    for first in range(0, len(made), SLICE_EVENTS):
        wait_until(client, COUNT, stored + first - MAX_UNREAD, RUN_SECONDS)
        for key, event in made[first : first + SLICE_EVENTS]:
            ledger.produce(key, event)
        ledger.flush()
    return wait_until(client, COUNT, stored + len(made), RUN_SECONDS)


def _speed(plan: Plan, ledger: Produced, archive: Process, client: Client) -> dict[str, Any]:
    made = list(messages(_sparse(plan)))
    cpu, started = archive.cpu_seconds(), time.monotonic()
    ended = _feed(made, ledger, client)
    cpu = archive.cpu_seconds() - cpu
    return {
        "events_per_second": round(plan.events / (ended - started)),
        "events_per_cpu_second": round(plan.events / cpu),
        "cpu_seconds": round(cpu, 2),
    }


def _sparse(plan: Plan) -> EventLoad:
    """A million hosts within minutes: hardly any host reports twice, no set serves many reports."""
    return EventLoad(plan.events, 1_000_000, 150, 150.0, wall_clock_ms(), plan.seed)


def _dense(plan: Plan) -> EventLoad:
    """Yesterday, from its first to its last moment: what a host costs a day is shared by its reports."""
    hosts = max(1, plan.events // plan.reports_per_host_and_day)
    return EventLoad(plan.events, hosts, 150, 86_400.0, wall_clock_ms() // DAY_MS * DAY_MS, plan.seed + 2)


def _dense_size(plan: Plan, kafka: KafkaConfig, client: Client) -> dict[str, Any]:
    """Bytes per event of the dense load, alone in emptied tables; and its own account."""
    _empty(client)
    ledger = Produced(kafka)
    _feed(list(messages(_dense(plan))), ledger, client)
    return {f"dense_{name}": found for name, found in (_size(client, plan.events) | ledger.compare(client)).items()}


def _empty(client: Client) -> None:
    wait_until(client, NO_INSERT, 1, RUN_SECONDS)
    for table in TABLES:
        client.command(f"TRUNCATE TABLE {table}")


def _size(client: Client, rows: int) -> dict[str, Any]:
    wait_until(client, NO_INSERT, 1, RUN_SECONDS)
    for table in TABLES:
        client.command(f"OPTIMIZE TABLE {table} FINAL")
    where = "active AND database = currentDatabase()"
    sql = f"SELECT table, sum(bytes_on_disk) FROM system.parts WHERE {where} GROUP BY table"
    found = dict(client.query(sql).result_rows)
    sizes = {table: round(found.get(table, 0) / rows, 1) for table in TABLES}
    return {"bytes_per_event": sizes["events"], "bytes_per_event_with_aggregates": round(sum(sizes.values()), 1)}


class Freshness:
    """Watches marked events from when they were due until a query shows them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: dict[str, float] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self.seconds: list[float] = []

    def mark(self, event_id: str, due: float) -> None:
        """This event is produced now, and was due then (monotonic): a producer that is held up hides no waiting."""
        with self._lock:
            self._waiting[event_id] = due

    def watch(self) -> None:
        """Poll until `finish`, and then until every marked event has been seen."""
        deadline: Deadline | None = None
        while not self._done.is_set() or self._waiting:
            if self._done.is_set():
                deadline = deadline or Deadline(RUN_SECONDS)
                if deadline.has_passed:
                    return
            sql = "SELECT id FROM events WHERE fleet = 'marked'"
            seen = {row[0] for row in self._client.query(sql).result_rows}
            now = time.monotonic()
            with self._lock:
                found = [event_id for event_id in self._waiting if event_id in seen]
                self.seconds += [now - self._waiting.pop(event_id) for event_id in found]
            self._done.wait(LOOK_SECONDS) if not self._done.is_set() else time.sleep(LOOK_SECONDS)

    def finish(self) -> None:
        """No more marks."""
        self._done.set()


def _freshness(plan: Plan, ledger: Produced, client: Client) -> dict[str, Any]:
    count = int(plan.rate * plan.seconds)
    load = list(messages(EventLoad(count, 1_000_000, 150, plan.seconds, wall_clock_ms(), plan.seed + 1)))
    slice_events = max(1, int(plan.rate * MARK_SECONDS))
    fresh = Freshness(client)
    watcher = threading.Thread(target=fresh.watch)
    watcher.start()
    start = time.monotonic()
    for first in range(0, count, slice_events):
        due = start + first / plan.rate
        time.sleep(max(0.0, due - time.monotonic()))
        key, event = load[first]
        marked = event.replace(_HOST_FLEET, b'"fleet":"marked"')
        fresh.mark(marked[_ID].decode(), due)
        ledger.produce(key, marked)
        for key, event in load[first + 1 : first + slice_events]:
            ledger.produce(key, event)
        ledger.poll()
    took = time.monotonic() - start
    ledger.flush()
    fresh.finish()
    watcher.join()
    p50, p99 = np.quantile(fresh.seconds, (0.5, 0.99)) if fresh.seconds else (float("nan"), float("nan"))
    return {
        "p50_seconds": round(float(p50), 3),
        "p99_seconds": round(float(p99), 3),
        "steady_events_per_second": round(count / took),
        "watched_events": len(fresh.seconds),
    }


def measure(plan: Plan) -> dict[str, Any]:
    """One run, everything started and stopped here. Freshness first: each second the embedded broker writes anew all
    that it holds."""
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="andon-bench-", dir=memory) as scratch,
        running(plan.broker, Path(scratch) / "broker") as kafka,
        LocalClickHouse(Path(scratch)) as line,
    ):
        topic_admin.apply(kafka, replication=1)
        client, steady, fast = line.client(), Produced(kafka), Produced(kafka)
        archive = line.archive(kafka.bootstrap_servers)
        try:
            figures = _freshness(plan, steady, client)
            wait_until(client, COUNT, steady.ids.total(), RUN_SECONDS)
            missing = Counter(steady.compare(client))
            _empty(client)
            figures |= _speed(plan, fast, archive, client)
            figures |= _size(client, plan.events)
            missing += Counter(fast.compare(client))
            figures |= {"peak_rss_bytes": archive.peak_rss_bytes(), **{what: missing[what] for what in WRONG}}
            figures |= _dense_size(plan, kafka, client)
            figures |= {"exit_code": archive.stop()}
        finally:
            archive.kill()
        engine = value(client, "SELECT version()")
    return {"events": steady.ids.total() + fast.ids.total(), **figures, "on": _on(plan, engine)}


def _on(plan: Plan, engine: str) -> dict[str, Any]:
    return {
        **python(),
        "librdkafka": libversion()[0],
        "pyarrow": version("pyarrow"),
        "clickhouse": f"chdb {version('chdb')} ({engine}) behind the local HTTP endpoint, on tmpfs",
        "broker": described(plan.broker),
        "cpus": os.cpu_count(),
        "most_unread_events": MAX_UNREAD,
        "load_average": round(os.getloadavg()[0], 1),
        **{name: given for name, given in plan._asdict().items() if name != "broker"},
    }


@click.command("archive")
@click.option("--events", default=1_000_000, show_default=True, help="events that come as fast as they are stored")
@click.option("--rate", default=20_000, show_default=True, help="events per second of the steady stream")
@click.option("--seconds", default=15.0, show_default=True, help="length of the steady stream")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--reports-per-host-and-day", type=click.IntRange(1), default=20, show_default=True, help="of the last part"
)
@broker_option
@click.option("--json", "as_json", is_flag=True, help="one JSON object on standard output")
def command(
    events: int,
    rate: int,
    seconds: float,
    seed: int,
    reports_per_host_and_day: int,
    broker: BrokerKind,
    as_json: bool,
) -> None:
    """Kafka to ClickHouse: events per second, bytes per event, seconds from due to queryable.

    events_per_cpu_second counts the archive process only, all its threads, from when it has its partitions. Bytes per
    event are those of a fleet whose hosts report once in minutes, and, as dense_…, of one whose hosts report often in a
    day: what is kept per host is shared by more events.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # what was started is stopped on the way
    figures = measure(Plan(broker, events, rate, seconds, seed, reports_per_host_and_day))
    if as_json:
        click.echo(json.dumps(figures))
        return
    for name, figure in figures.items():
        click.echo(f"{name:32} {figure}")
