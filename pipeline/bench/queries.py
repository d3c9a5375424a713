"""`andon bench queries`: seconds of every query of the analysts' guide, and of others, over many stored events."""

import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec
from clickhouse_connect.driver.client import Client

from consumers.clickhouse.ask.named import queries
from consumers.clickhouse.connect import connect
from pipeline.bench.clickhouse import LocalClickHouse, value
from pipeline.bench.queries_load import DAYS, FLEET, HOST, PRODUCT, VENDOR, VERSION, Plan, decide, fill, generate
from pipeline.runtime.errors import AndonError

GOAL_SECONDS = 0.3
RUNS = 5
LONG_SECONDS = 7200
# Read events or every host's updates, not aggregates.
RAW = {"host-events", "pairs", "with-and-without", "exposure", "last-install", "silent", "silent-by-model"}
RAW |= {"hosts-to-restore", "recovery-curve", "crash-claims"}
GIVEN = {"fleet": FLEET, "vendor": VENDOR, "product": PRODUCT, "version": VERSION, "host": HOST}
ALSO = "also"
LOADED = "loaded.json"  # written last
SHARED_MEMORY = Path("/dev/shm")


def _sizes(client: Client, events: int) -> dict[str, Any]:
    sql = (
        "SELECT table, sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() "
        "GROUP BY table HAVING table NOT IN "
        "('verdicts', 'halts', 'halt_acks', 'dead_letters', 'schema_migrations', 'schema_objects')"
    )
    sizes = {table: round(size / events, 2) for table, size in client.query(sql).result_rows}
    total = round(sum(sizes.values()), 1)
    return {"bytes_per_event": sizes["events"], "bytes_per_event_with_aggregates": total, "bytes_by_table": sizes}


def _time(client: Client, also: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found = {}
    for query in queries().values():
        given = {name: GIVEN[name] for name in query.parameters}
        found[query.name] = _figures(client, query.sql, given) | {"reads": "raw" if query.name in RAW else "aggregates"}
        if not found[query.name]["rows"]:
            raise AndonError(f"{query.name} found nothing")
    return found | {name: _figures(client, sql, {}) | {"reads": ALSO} for name, sql in also.items()}


def _figures(client: Client, sql: str, given: Mapping[str, str]) -> dict[str, Any]:
    seconds, rows = [], 0
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        rows = len(client.query(sql, parameters=given).result_rows)
        seconds.append(time.perf_counter() - started)
    first, *again = seconds
    figures = {"seconds": statistics.median(again), "first_seconds": first, "best_seconds": min(again)}
    return {name: round(value, 4) for name, value in figures.items()} | {"rows": rows}


@contextlib.contextmanager
def _place(directory: Path | None) -> Iterator[Path]:
    """Where the data lies: in memory and gone afterwards, unless there is a directory to keep it in."""
    if directory is not None:
        yield directory
        return
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="andon-bench-", dir=memory) as scratch:
        yield Path(scratch)


def _load(client: Client, database: str, plan: Plan) -> dict[str, float]:
    """Seconds of each step."""
    started = time.monotonic()
    generate(client, plan)
    generated = time.monotonic()
    fill(client, database)
    filled = time.monotonic()
    for (table,) in client.query(
        "SELECT name FROM system.tables WHERE database = 'andon' AND total_rows > 0"
    ).result_rows:
        client.command(f"OPTIMIZE TABLE {table} FINAL", settings={"max_execution_time": LONG_SECONDS})
    merged = time.monotonic()
    decide(client, plan)
    took = {"generate": generated - started, "fill": filled - generated, "merge": merged - filled}
    return {f"{step}_seconds": round(seconds, 1) for step, seconds in took.items()}


def _loaded(place: Path, client: Client, database: str, plan: Plan) -> dict[str, float]:
    """Load, unless an earlier run has loaded the same here to the end.

    Raises:
        AndonError: when something else, or a part of it, is there.
    """
    done = place / LOADED
    if done.exists():
        held = msgspec.json.decode(done.read_bytes(), type=tuple[Plan, dict[str, float]])
        if held[0] != plan:
            raise AndonError(f"{place} holds {held[0]}: give those numbers, or another directory")
        return held[1]
    if value(client, "SELECT count() FROM events"):
        raise AndonError(f"{place} holds events of a load that did not come to its end: give another directory")
    took = _load(client, database, plan)
    done.write_bytes(msgspec.json.encode((plan, took)))
    return took


def measure(plan: Plan, also: Mapping[str, str], directory: Path | None = None) -> dict[str, Any]:
    """One run, everything started and stopped here; `also` are further queries by name, `directory` keeps what is
    loaded for the next run."""
    with _place(directory) as place, LocalClickHouse(place) as line:
        client = connect(line.server, database=line.server.database, timeout_seconds=LONG_SECONDS)
        took = _loaded(place, client, line.server.database, plan)
        sizes, times = _sizes(client, plan.events), _time(client, also)
        peak = line.stage.peak_rss_bytes()
        engine = value(client, "SELECT version()")
    aggregates = {name: found["seconds"] for name, found in times.items() if found["reads"] != "raw"}
    return {
        "events": plan.events,
        **sizes,
        **took,
        "slowest_aggregate_seconds": max(aggregates.values()),
        "over_goal": sorted(name for name, seconds in aggregates.items() if seconds > GOAL_SECONDS),
        "peak_rss_bytes": peak,
        "queries": times,
        "on": {
            "clickhouse": f"chdb {version('chdb')} ({engine}) behind the local HTTP endpoint",
            "cpus": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 1),
            **plan._asdict(),
        },
    }


@click.command("queries")
@click.option("--events", default=100_000_000, show_default=True, type=click.IntRange(1000), help="events stored")
@click.option("--hosts", default=50_000, show_default=True, type=click.IntRange(1), help="hosts that report them")
@click.option("--days", default=DAYS, show_default=True, type=click.IntRange(1, 80), help="days that they span")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--also",
    type=click.File("rb"),
    help="further queries, as a JSON object of SQL by name: those of dashboards are `python -m grafana.asked`",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="keep what is loaded here, and use it when it is there; else in memory, for once",
)
@click.option("--json", "as_json", is_flag=True, help="one JSON object on standard output")
def command(
    events: int,
    hosts: int,
    days: int,
    seed: int,
    also: BinaryIO | None,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Seconds of every named query over so many stored events, generated in the engine; goal 0.3 for aggregates.

    `seconds` is the median of five runs after a first one, as a client sees it over HTTP.
    """
    queries_also = msgspec.json.decode(also.read(), type=dict[str, str]) if also else {}
    figures = measure(Plan(events, hosts, days, seed), queries_also, directory)
    if as_json:
        click.echo(json.dumps(figures))
        return
    for name, found in sorted(figures["queries"].items(), key=lambda item: -item[1]["seconds"]):
        click.echo(f"{found['seconds']:>9.3f} s  {found['reads']:<10}  {name}")
    click.echo(f"{figures['events']:,} events, {figures['bytes_per_event_with_aggregates']} bytes each")
