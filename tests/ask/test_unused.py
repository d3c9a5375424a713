"""`andon query unused`: crashes and listings that are no evidence, and hosts whose clocks are ahead, by why."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.engines import Database

from consumers.clickhouse.ask.named import queries

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
NAMES = ["fleet", "host", "kind", "prior", "ts", "prior_ended_at", "ingested_at", "id"]
LISTS = ["updates.vendor", "updates.product", "updates.version", "updates.installed_at"]


def row(host: str, kind: str, ts: datetime, installed_at: datetime, ended_at: datetime | None = None) -> list[Any]:
    """A report with one update, which came in now."""
    prior = "crash" if kind == "boot" else ""
    return ["acme", host, kind, prior, ts, ended_at, NOW, host, ["v"], ["p"], ["1"], [installed_at]]


@pytest.fixture(scope="module")
def found(module_database: Database) -> dict[str, tuple[int, int, str]]:
    """What the query says of one report of each kind, and of two that are as they should be."""
    client = module_database.client()
    rows = [
        row("good", "crash", NOW, NOW - HOUR),
        row("well", "heartbeat", NOW, NOW - HOUR),
        row("undated", "boot", NOW, NOW - HOUR),
        row("late", "crash", NOW - 30 * HOUR, NOW - 31 * HOUR),
        row("old", "crash", NOW, NOW - 80 * HOUR),
        row("before", "boot", NOW, NOW - HOUR, NOW - 2 * HOUR),
        row("nowhen", "crash", NOW, datetime(2020, 1, 1, tzinfo=UTC)),
        row("ahead", "heartbeat", NOW, NOW + 2 * HOUR),
    ]
    client.insert("events", rows, column_names=[*NAMES, *LISTS])
    letter = ["future_timestamp", "collect", NOW, '{"fleet":"acme","host":"fast","ts":1}']
    client.insert("dead_letters", [letter], column_names=["reason", "stage", "at", "value"])
    answer = client.query(queries()["unused"].sql, parameters={"fleet": "acme"})
    return {what: (reports, hosts, example) for what, reports, hosts, example in answer.result_rows}


def test_each_kind_is_counted_with_an_example(found: dict[str, tuple[int, int, str]]) -> None:
    """An installation at no time is past the window too: neither exposed nor control."""
    excluded = found.pop("exposures_excluded")
    assert excluded[:2] == (2, 2)
    assert found == {
        "crashes_undated": (1, 1, "undated"),
        "crashes_late": (1, 1, "late"),
        "exposures_not_yet": (1, 1, "before"),
        "installed_at_unusable": (1, 1, "nowhen"),
        "clocks_ahead": (1, 1, "ahead"),
        "future_timestamp": (1, 1, "fast"),
    }


def test_an_installation_at_no_time_moves_no_release(module_database: Database) -> None:
    """The release is the earliest time that a host knows, or the first report of any; hours have only what is known."""
    client = module_database.client()
    nowhen = datetime(2020, 1, 1, tzinfo=UTC)
    rows = [
        row("first", "heartbeat", NOW - 2 * HOUR, NOW - 3 * HOUR),
        row("early", "heartbeat", NOW - HOUR, nowhen),
        row("late", "heartbeat", NOW, nowhen),
    ]
    named = [["misdated", *each[1:]] for each in rows]
    client.insert("events", named, column_names=[*NAMES, *LISTS])
    client.insert("events", [["undated", *each[1:]] for each in rows[1:]], column_names=[*NAMES, *LISTS])
    sql = "SELECT fleet, min(installed) FROM update_days WHERE fleet LIKE '%dated' GROUP BY fleet ORDER BY fleet"
    known = {fleet: installed.replace(tzinfo=UTC) for fleet, installed in client.query(sql).result_rows}
    assert known == {"misdated": NOW - 3 * HOUR, "undated": NOW - HOUR}
    sql = "SELECT fleet, hosts_so_far FROM exposure_over_time WHERE fleet LIKE '%dated'"
    assert client.query(sql).result_rows == [("misdated", 1)]
