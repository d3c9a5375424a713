"""What the produced events must have become in ClickHouse, table by table, and what is there.

The expectation is computed here from the ledger in plain Python; only what it is compared with comes from ClickHouse.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from pipeline.runtime.errors import AndonError
from pipeline.wire.spans import DAY_MS, HOUR_MS, MINUTE_MS

EXACT_HOSTS = 2_000  # `uniqCombined` is exact up to thousands; above, within
HOSTS_TOLERANCE = 0.01
_AGGREGATES = (
    "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%AggregatingMergeTree'"
)

PLACE = ("ring", "os", "model")
UPDATE = ("vendor", "product", "version")
Cell = tuple[Any, ...]


class Aggregate(NamedTuple):
    """A table of sets: its time column and that column's width, its keys before and after it, and what it counts."""

    time: str
    width_ms: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    counts: tuple[str, ...]
    crashes_only: bool = False
    by_installation: bool = False  # a further key: the hour in which the update was installed

    @property
    def by_update(self) -> bool:
        """Whether each event counts once per update that it lists."""
        return "vendor" in self.before


AGGREGATES = {
    "stratum_minutes": Aggregate(
        "minute", MINUTE_MS, ("fleet",), ("kind", *PLACE), ("crashes", "crashed_hosts", "hosts", "reports")
    ),
    "stratum_hours": Aggregate("hour", HOUR_MS, ("fleet",), ("kind", *PLACE), ("crashes", "crashed_hosts", "hosts")),
    "ring_hours": Aggregate("hour", HOUR_MS, ("fleet",), ("ring",), ("hosts",)),
    "stratum_days": Aggregate("day", DAY_MS, ("fleet",), PLACE, ("crashes", "crashed_hosts", "hosts")),
    "update_minutes": Aggregate("minute", MINUTE_MS, ("fleet", *UPDATE), PLACE, ("crashes", "crashed_hosts"), True),
    "update_hours": Aggregate("hour", HOUR_MS, ("fleet", *UPDATE), PLACE, ("crashes", "crashed_hosts"), True),
    "update_days": Aggregate("day", DAY_MS, ("fleet", *UPDATE), PLACE, ("crashes", "crashed_hosts", "hosts")),
    "update_installs": Aggregate("day", DAY_MS, ("fleet", *UPDATE), ("ring",), ("hosts",), by_installation=True),
}


def expected_cells(aggregate: Aggregate, events: Iterable[Mapping[str, Any]]) -> dict[Cell, tuple[int, ...]]:
    """Counts by cell, from the events themselves."""
    sets: dict[Cell, tuple[set[str], ...]] = defaultdict(lambda: tuple(set[str]() for _ in aggregate.counts))
    for event in events:
        crashed = event["kind"] == "crash"
        if aggregate.crashes_only and not crashed:
            continue
        start = event["ts"] // aggregate.width_ms * aggregate.width_ms // 1000
        for update in event["updates"] if aggregate.by_update else ({},):
            known = event | update
            cell = (*(known[k] for k in aggregate.before), start, *(known[k] for k in aggregate.after))
            if aggregate.by_installation:
                cell = (*cell, known["installed_at"] // HOUR_MS * HOUR_MS // 1000)
            for name, members in zip(aggregate.counts, sets[cell], strict=True):
                if crashed or name in ("hosts", "reports"):
                    members.add(event["host"] if "hosts" in name else event["id"])
    return {cell: tuple(map(len, members)) for cell, members in sets.items()}


def stored_cells(table: str, aggregate: Aggregate, client: Client) -> dict[Cell, tuple[int, ...]]:
    """The same from ClickHouse."""
    keys = (*aggregate.before, f"toUnixTimestamp(toDateTime({aggregate.time}, 'UTC'))", *aggregate.after)
    merged = [f"{'uniqCombined' if n in ('hosts', 'reports') else 'uniqExact'}Merge({n})" for n in aggregate.counts]
    names = (*aggregate.before, aggregate.time, *aggregate.after)
    if aggregate.by_installation:
        keys, names = (*keys, "toUnixTimestamp(hour)"), (*names, "hour")
    found = client.query(f"SELECT {', '.join((*keys, *merged))} FROM {table} GROUP BY {', '.join(names)}")
    size = len(keys)
    return {tuple(row[:size]): tuple(row[size:]) for row in found.result_rows}


def wrong_cells(expected: Mapping[Cell, Sequence[int]], stored: Mapping[Cell, Sequence[int]]) -> int:
    """Cells that are missing, too many, or count differently."""
    cells = expected.keys() | stored.keys()
    return sum(not _alike(expected.get(cell, ()), stored.get(cell, ())) for cell in cells)


def _alike(wanted: Sequence[int], found: Sequence[int]) -> bool:
    return len(wanted) == len(found) and all(map(_close, wanted, found))


def _close(wanted: int, found: int) -> bool:
    return abs(found - wanted) <= (0 if wanted <= EXACT_HOSTS else HOSTS_TOLERANCE * wanted)


def wrong_aggregates(events: Sequence[Mapping[str, Any]], client: Client) -> dict[str, int]:
    """Wrong cells by table, of every aggregate, and of the tables that hold a row per crash and per host.

    Raises:
        AndonError: when there is an aggregate that this file does not know.
    """
    there = client.query(_AGGREGATES).result_rows
    if unknown := {row[0] for row in there} ^ AGGREGATES.keys():
        raise AndonError(f"bench/faults/stored.py and the schema disagree about aggregates: {sorted(unknown)}")
    found = {
        table: wrong_cells(expected_cells(aggregate, events), stored_cells(table, aggregate, client))
        for table, aggregate in AGGREGATES.items()
    }
    crashes = {(event["fleet"], event["host"], event["id"]): (1,) for event in events if event["kind"] == "crash"}
    hosts = {(event["fleet"], event["host"], event["ts"]): (1,) for event in events}
    found["crashes"] = wrong_cells(crashes, _rows(client, "crashes", "id"))
    found["hosts"] = wrong_cells(hosts, _rows(client, "hosts", "toUnixTimestamp64Milli(last_seen)"))
    return found


def _rows(client: Client, table: str, third: str) -> dict[Cell, tuple[int, ...]]:
    rows = client.query(f"SELECT fleet, host, {third}, count() FROM {table} FINAL GROUP BY ALL").result_rows
    return {tuple(row[:3]): tuple(row[3:]) for row in rows}
