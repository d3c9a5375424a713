"""`andon hosts-to-restore`: a small fleet whose fate is known, host by host."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from clickhouse_connect.driver.client import Client
from support.engines import Database

from consumers.clickhouse.ask.named import queries
from pipeline.cli import andon
from pipeline.halts.to_restore import STEPS, thinned

UPDATE = ("crowdstrike", "content", "291")
GIVEN = dict(zip(("fleet", "vendor", "product", "version"), ("acme", *UPDATE), strict=True))
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)
NAMES = ["fleet", "host", "kind", "ts", "ingested_at", "ring", "site", "prior", "prior_ended_at", "id"]
LISTS = ["updates.vendor", "updates.product", "updates.version", "updates.installed_at"]
OLD = (("crowdstrike", "content", "290"), START - timedelta(days=3))
NEW = (UPDATE, START)


def at(minutes: float) -> datetime:
    """So many minutes after the release."""
    return START + timedelta(minutes=minutes)


def report(host: str, minutes: float, kind: str = "heartbeat", prior_ended: float | None = None, *updates: Any) -> Any:
    """A row of `events`: `prior_ended` minutes for a boot after a crash."""
    listed = updates or (OLD, NEW)
    ring, site = ("canary", "ber-3") if host.startswith("c") else ("broad", "muc-1")
    boot = ("crash", at(prior_ended)) if prior_ended is not None else ("", None)
    names = [[each[0][n] for each in listed] for n in range(3)]
    ts = at(minutes)
    place = ["acme", host, kind, ts, ts, ring, site, *boot, f"{host}-{minutes}-{kind}"]
    return [*place, *names, [each[1] for each in listed]]


def rows() -> list[Any]:
    """Twenty well hosts report each quarter of an hour to the end. Of the others: c-back crashes twice and reports
    again; c-down crashes and is not heard of; b-loop boots after crashes and nothing else; b-mute listed the update and
    fell silent; b-line had the version before it and fell silent; b-other lists another product and fell silent; b-old
    crashed before it had the update."""
    made = [report(f"b-well-{n}", 15.0 * quarter) for n in range(20) for quarter in range(-8, 24)]
    made += [report("c-back", 5, "crash"), report("c-back", 20, "boot", 18), report("c-back", 65)]
    made += [report("c-down", 7, "crash")]
    made += [report("b-loop", 10, "boot", 8), report("b-loop", 30, "boot", 28)]
    made += [report("b-mute", 12)]
    made += [report("b-line", 3, "heartbeat", None, OLD)]
    made += [report("b-other", 3, "heartbeat", None, (("dell", "bios", "1"), START - timedelta(days=1)))]
    made += [report("b-old", 40, "boot", -20)] + [report("b-old", 15.0 * n) for n in range(3, 24)]
    return made


@pytest.fixture(scope="module")
def stored(module_database: Database) -> Database:
    """That fleet."""
    module_database.client().insert("events", rows(), column_names=[*NAMES, *LISTS])
    return module_database


def ask(client: Client, name: str) -> list[dict[str, Any]]:
    """A named query about the update."""
    return list(client.query(queries()[name].sql, parameters=GIVEN).named_results())


def run(stored: Database, *words: str, update: str = "/".join(UPDATE)) -> Any:
    """The command, as an analyst."""
    where = ["--clickhouse-url", stored.server.url, "--database", stored.name, "--clickhouse-user", "andon_read"]
    environ = {"ANDON_CLICKHOUSE_PASSWORD": stored.endpoint.read_password}
    return CliRunner().invoke(andon, ["hosts-to-restore", update, "--fleet", "acme", *where, *words], env=environ)


def test_each_host_is_what_became_of_it(stored: Database) -> None:
    """Back, down or silent; hosts that are well, or of whom nothing points at the update, are not in it."""
    found = {row["host"]: row for row in ask(stored.client(), "hosts-to-restore")}
    assert {host: (row["state"], row["crashes"], bool(row["listed_it"])) for host, row in found.items()} == {
        "c-back": ("back", 2, True),
        "c-down": ("down", 1, True),
        "b-loop": ("down", 2, True),
        "b-mute": ("silent", 0, True),
        "b-line": ("silent", 0, False),
    }
    assert found["c-back"]["crashed_at"].replace(tzinfo=UTC) == at(18)
    assert found["b-mute"]["crashed_at"] is None
    assert (found["c-down"]["ring"], found["c-down"]["site"]) == ("canary", "ber-3")


def test_the_curve_ends_where_the_list_does(stored: Database) -> None:
    """Who crashed first counts from then on; who is back from its first report after its last crash."""
    curve = ask(stored.client(), "recovery-curve")
    steps = [(row["crashed_so_far"], row["back_so_far"], row["still_down"]) for row in curve]
    assert steps == [(3, 0, 3), (3, 1, 2)]
    assert [row["moment"].replace(tzinfo=UTC) for row in curve] == [at(5), at(65)]


def test_the_command_says_it_by_ring_and_site(stored: Database) -> None:
    """On a screen and as JSON, with the same figures; an unknown update is said to be unknown."""
    shown = run(stored)
    assert shown.exit_code == 0, shown.output
    assert "3 hosts crashed, 1 of them back, 2 still down; 2 more fell silent" in shown.output
    found = json.loads(run(stored, "--json").output)
    assert {name: found[name] for name in ("crashed", "back", "down", "silent")} == {
        "crashed": 3, "back": 1, "down": 2, "silent": 2,
    }  # fmt: skip
    assert found["by_ring_and_site"] == [
        {"ring": "broad", "site": "muc-1", "crashed": 1, "back": 0, "down": 1, "silent": 2},
        {"ring": "canary", "site": "ber-3", "crashed": 2, "back": 1, "down": 1, "silent": 0},
    ]
    assert len(found["hosts"]) == 5
    assert found["curve"][-1]["still_down"] == 2
    unknown = run(stored, update="crowdstrike/content/292")
    assert "unknown" in str(unknown.exception)


def test_a_long_curve_fits_a_screen() -> None:
    """With its last step."""
    curve = [{"n": n} for n in range(100)]
    assert len(thinned(curve)) <= STEPS
    assert thinned(curve)[-1] == {"n": 99}
    assert thinned(curve[:3]) == curve[:3]
    assert thinned([]) == []
