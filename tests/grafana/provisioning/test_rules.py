"""Grafana-managed rules on the real engine, asked as Grafana's account: each fires when it should, and only then."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from clickhouse_connect.driver.client import Client
from support import spared_world as world
from support.engines import Database

from grafana.preview.macros import expand
from pipeline.wire.spans import DAY_MS, HOUR_MS, MINUTE_MS

ROOT = Path(__file__).parents[3]
RULES = {
    rule["title"]: rule
    for group in yaml.safe_load((ROOT / "grafana/provisioning/alerting/rules.yml").read_text())["groups"]
    for rule in group["rules"]
}
HOSTS = 2_000
END_MS = int(time.time() * 1000) // HOUR_MS * HOUR_MS
COMPARED = {"gt": lambda value, limit: value > limit, "lt": lambda value, limit: value < limit}
Fired = dict[str, tuple[dict[str, Any], float]]


@pytest.fixture(scope="module")
def client(module_database: Database) -> Client:
    """As Grafana's account, beside data of the night of 19 July: `ignored`, whose halt nobody obeyed; `heeded`; `calm`,
    until just before the release; and of fleets that report hour by hour for nine days, `falling` and `steady`."""
    owner = module_database.client()
    world.store(owner, world.load("ignored", HOSTS), END_MS, obeyed=False)
    world.store(owner, world.load("heeded", HOSTS), END_MS, obeyed=True)
    world.store(owner, world.load("calm", HOSTS), END_MS, obeyed=True, until_minutes=-1)
    for fleet, left in (("falling", 60), ("steady", 90), ("gone", 0)):
        owner.command(_HOURLY.format(fleet=fleet, left=left, end=END_MS // 1000))
    return module_database.as_grafana()


# A hundred hosts an hour, and `left` of them in the last two; at the same hours a week ago it was a quiet night.
_HOURLY = """
INSERT INTO events (fleet, host, kind, ts, ingested_at, id)
SELECT '{fleet}', toString(number % 100), 'heartbeat',
       toDateTime64({end} - 1800 - 3600 * intDiv(number, 100), 3, 'UTC') AS at, at, toString(number)
FROM numbers(22000) WHERE (intDiv(number, 100) >= 2 OR number % 100 < {left})
"""


def fired(client: Client, title: str, now_ms: int = END_MS + MINUTE_MS) -> Fired:
    """By fleet, the labels and the value of what fires then: the query, and its threshold."""
    query, threshold = RULES[title]["data"]
    span = query["relativeTimeRange"]
    sql = expand(
        query["model"]["rawSql"],
        start_ms=now_ms - span["from"] * 1000,
        end_ms=now_ms - span["to"] * 1000,
        interval_ms=query["model"]["intervalMs"],
        variables={},
    )
    (condition,) = threshold["model"]["conditions"]
    compare, (limit,) = COMPARED[condition["evaluator"]["type"]], condition["evaluator"]["params"]
    found: Fired = {}
    for row in client.query(sql).named_results():
        (value,) = [each for each in row.values() if not isinstance(each, str)]
        assert isinstance(value, float), "one number, and labels that are text"
        if compare(value, limit):
            assert row["fleet"] not in found
            found[row["fleet"]] = {name: each for name, each in row.items() if isinstance(each, str)}, value
    return found


def test_a_halt_that_nothing_proves(client: Client) -> None:
    """Two hours after it, and not before; where installations ended, nobody is bothered, nor about a resumed one."""
    now = END_MS + 30 * MINUTE_MS
    found = fired(client, "AndonSparedUnproven", now)
    assert set(found) == {"ignored"}
    labels, seconds = found["ignored"]
    assert labels == {"fleet": "ignored"} | world.UPDATE._asdict()
    assert 2 * 3600 < seconds < 3 * 3600
    assert fired(client, "AndonSparedUnproven", now - HOUR_MS) == {}
    assert fired(client, "AndonSparedUnproven", now + 3 * DAY_MS) == {}


def test_it_ends_with_a_resume(client: Client, module_database: Database) -> None:
    """A resumed halt need not prove anything."""
    row = ["ignored", *world.UPDATE, 2, "resume", ["*"], world.moment(END_MS), world.moment(END_MS), 0]
    names = ["fleet", "vendor", "product", "version", "epoch", "action", "rings", "stream_time", "issued_at"]
    owner = module_database.client()
    owner.insert("halts", [row], column_names=[*names, "crashed_hosts"])
    try:
        assert fired(client, "AndonSparedUnproven", END_MS + 30 * MINUTE_MS) == {}
    finally:
        owner.command("ALTER TABLE halts DELETE WHERE action = 'resume' SETTINGS mutations_sync = 1")


def test_coverage_that_falls(client: Client) -> None:
    """Three in five of the usual hosts is too few, nine in ten is not; a fleet that has gone altogether is
    Prometheus' to tell of, and one of which there is no day before has nothing to be compared with."""
    found = fired(client, "AndonCoverageFalling")
    assert {fleet: round(value) for fleet, (_, value) in found.items()} == {"falling": 60}
    assert fired(client, "AndonCoverageFalling", END_MS - 3 * HOUR_MS) == {}


def test_a_quiet_hour_of_the_week_is_no_fall(client: Client, module_database: Database) -> None:
    """As few as a week ago at this hour is as usual, whatever it was yesterday."""
    sql = _HOURLY.format(fleet="weekend", left=60, end=END_MS // 1000)
    quiet = " AND (NOT intDiv(number, 100) BETWEEN 168 AND 169 OR number % 100 < 60)"
    module_database.client().command(sql.rstrip() + quiet)
    assert set(fired(client, "AndonCoverageFalling")) == {"falling"}


def test_hosts_that_went_silent_after_an_update(client: Client) -> None:
    """Of the update that killed them, in both fleets that got it, and of no other; before the release, of none."""
    found = fired(client, "AndonHostsSilent")
    assert set(found) == {"ignored", "heeded"}
    for fleet, (labels, hosts) in found.items():
        assert labels == {"fleet": fleet} | world.UPDATE._asdict()
        assert hosts >= 10
    assert found["ignored"][1] > found["heeded"][1]
    assert fired(client, "AndonHostsSilent", END_MS - 4 * HOUR_MS) == {}
