"""`andon forget --host`: what it takes from refused messages and from aggregates, and what it must leave to others."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver.client import Client
from support.clickhouse_data import AGGREGATES, andon
from support.engines import Database

from consumers.clickhouse.upkeep.rebuild import COMPLETE_DAYS

EVENT = {"v": 1, "fleet": "acme", "host": "h1", "kind": "boot"}


@pytest.fixture
def client(database: Database) -> Client:
    """A client of the test's own database."""
    return database.client()


def report(client: Client, fleet: str, host: str, day: date) -> None:
    """A crash, as it is stored when it is reported."""
    row = [fleet, host, "crash", datetime(day.year, day.month, day.day, 12), datetime.now(UTC), f"{host} {day}"]
    client.insert("events", [row], column_names=["fleet", "host", "kind", "ts", "ingested_at", "id"])


def forget(database: Database, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and what it said."""
    done = andon(database, "forget", *options, "--yes", "--json")
    return done.returncode, json.loads(done.stdout)


def hosts(client: Client) -> list[tuple[str, date, int, int]]:
    """What days of strata still know."""
    counts = "uniqCombinedMerge(s.hosts), uniqExactMerge(s.crashed_hosts)"
    sql = f"SELECT fleet, day, {counts} FROM stratum_days AS s GROUP BY fleet, day ORDER BY ALL"
    return [tuple(row) for row in client.query(sql).result_rows]


def sets(said: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Before and after, by table."""
    return {row["table"]: (row["before"], row["after"]) for row in said["tables"] if row["what"] == "sets"}


def test_days_whose_events_expired_are_left_to_all_others(database: Database, client: Client) -> None:
    """A late report of the host about such a day takes nothing from the hosts and fleets that it remembers; complete
    days are made anew; the hashes that stay are counted, and until when they do."""
    today = datetime.now(UTC).date()
    old, complete = today - timedelta(days=COMPLETE_DAYS + 1), today - timedelta(days=COMPLETE_DAYS)
    for fleet, host in (("acme", "h1"), ("acme", "h2"), ("other", "h3")):
        report(client, fleet, host, old)
        report(client, fleet, host, complete)
    client.command("ALTER TABLE events DELETE WHERE ts < {complete:Date} AND host != 'h1'", parameters={"complete": complete}, settings={"mutations_sync": 2})  # fmt: skip # noqa: E501
    code, said = forget(database, "--host", "h1")
    assert hosts(client) == [
        ("acme", old, 2, 2),
        ("acme", complete, 1, 1),
        ("other", old, 1, 1),
        ("other", complete, 1, 1),
    ]
    assert code == 1
    assert sets(said) == {table: (2, 1) for table in AGGREGATES if not table.startswith("update")} | {
        table: (0, 0) for table in AGGREGATES if table.startswith("update")
    }
    expires = said["expired"]["expire_on"]
    assert abs((date.fromisoformat(expires) - today).days - 3 * 365) < 3
    told = "4 sets of days whose raw events have expired still hold a hash of the host, not its name; they expire on "
    told += expires
    assert any(told in remain for remain in said["remains"])
    assert any("old_parts_lifetime" in remain for remain in said["remains"])


def test_a_host_whose_events_have_all_expired(database: Database, client: Client) -> None:
    """Nothing but a hash is left of it, in a set of thousands: that is found, and said; another fleet is not asked."""
    old = datetime.now(UTC).date() - timedelta(days=300)
    state = "arrayReduce('uniqExactState', arrayMap(n -> sipHash64(concat('h', toString(n))), range(6000)))"
    row = f"SELECT 'acme', {{day:Date}}, now(), {state}"
    client.command(f"INSERT INTO stratum_days (fleet, day, stored_at, crashed_hosts) {row}", parameters={"day": old})
    code, said = forget(database, "--host", "h1")
    assert (code, sets(said)["stratum_days"], said["expired"]["sets"]) == (1, (1, 1), 1)
    done = andon(database, "forget", "--host", "h1", "--yes")
    assert done.returncode == 1
    assert "1 sets of days whose raw events have expired still hold a hash" in " ".join(done.stdout.split())
    for options in (("--host", "h7000"), ("--fleet", "other", "--host", "h1")):
        code, said = forget(database, *options)
        assert (code, said["expired"]["sets"]) == (0, 0)


def test_one_that_died_is_ended(database: Database, client: Client) -> None:
    """The rows are gone, the sets were not yet made anew: the next run finds the days in the sets."""
    today = datetime.now(UTC).date()
    for host in ("h1", "h2"):
        report(client, "acme", host, today)
    client.command("ALTER TABLE events DELETE WHERE host = 'h1'", settings={"mutations_sync": 2})
    code, said = forget(database, "--host", "h1")
    assert (code, sets(said)["stratum_days"]) == (0, (1, 0))
    assert hosts(client) == [("acme", today, 1, 1)]


def letters(client: Client, *rows: tuple[str | None, bytes, str]) -> None:
    """Refused messages: key, bytes, the topic where they stood."""
    values = [[key, value, topic, number] for number, (key, value, topic) in enumerate(rows)]
    client.insert("dead_letters", values, column_names=["key", "value", "topic", "source_offset"])


def left(client: Client) -> list[int]:
    """Which of them are still there."""
    return [row[0] for row in client.query("SELECT source_offset FROM dead_letters ORDER BY ALL").result_rows]


def event(**fields: str) -> bytes:
    """One of version 1, as most senders would write it."""
    return json.dumps(EVENT | fields, ensure_ascii=False).encode()


@pytest.mark.parametrize("host", ["café", "a/b", "a.*b", "x'; DROP TABLE events; --\\ \"\n", "\U0001f525" * 128])
def test_letters_in_every_spelling_of_json(database: Database, client: Client, host: str) -> None:
    """As it is, escaped in part or all over, in broken JSON with spaces; a name is data, and no pattern."""
    units = host.encode("utf-16-be").hex()
    escaped = "".join(f"\\u{units[at : at + 4].upper()}" for at in range(0, len(units), 4))
    spellings = [
        event(host=host),
        json.dumps(EVENT | {"host": host}).encode(),
        json.dumps(EVENT | {"host": host}).replace("/", "\\/").encode(),
        f'\x01{{"\\u0068ost"\n :\t "{escaped}", "fleet'.encode(),
        b"\xff\xfe" + event(host=host),
    ]
    letters(client, *((None, value, "fleet.events") for value in spellings), (None, event(host="axxb"), "fleet.events"))
    assert forget(database, "--host", host)[0] == 0
    assert left(client) == [len(spellings)]


def test_letters_of_others_stay(database: Database, client: Client) -> None:
    """A host that is called like a word of every message; a key, when the value was cut; another fleet's host."""
    boot = event(host="boot")
    cut = boot[: boot.index(b'"host"')]
    rows = [
        (None, event(), "fleet.events"),  # 0: its kind is "boot"
        (None, event(note="boot"), "fleet.events"),
        (None, event(fleet="boot"), "fleet.events"),
        (None, boot, "fleet.events"),  # 3
        ("boot", cut, "fleet.events"),
        ("boot", b"{", "fleet.events"),
        ("boot", event(fleet="other", host="boot"), "fleet.events"),  # 6
        (None, b'{"host":"boot","fl', "fleet.events"),
    ]
    letters(client, *rows)
    assert forget(database, "--fleet", "acme", "--host", "boot")[0] == 0
    assert left(client) == [0, 1, 2, 6]
    assert forget(database, "--host", "boot")[0] == 0
    assert left(client) == [0, 1, 2]
    assert forget(database, "--fleet", "boot")[0] == 0
    assert left(client) == [0, 1]


def test_letters_that_are_partials(database: Database, client: Client) -> None:
    """MessagePack that lists crashed hosts: it goes whole; another fleet's stays."""

    def partial(fleet: str, host: str) -> bytes:
        return msgspec.msgpack.encode([1, fleet, "slot", [[1, host, 0]]])

    values = [partial("acme", "host-1"), partial("other", "host-1"), partial("acme", "host-12")]
    letters(client, *((None, value, "prefix.fleet.partials") for value in values))
    assert forget(database, "--fleet", "acme", "--host", "host-1")[0] == 0
    assert left(client) == [1, 2]
    assert forget(database, "--fleet", "acme")[0] == 0
    assert left(client) == [1]


def test_letters_whose_key_names_the_fleet(database: Database, client: Client) -> None:
    """Decisions have keys that begin with it, a partial's is it; not a longer name, and no host that looks like one."""
    rows = [
        ("a%2Fb/v/p/1/broad", b"{", "fleet.verdicts"),
        ("a%2Fb/-/heartbeat", b"{", "prefix.fleet.verdicts"),
        ("a%2Fb/v/p/1", b"\xff", "fleet.halts"),
        ("a%2Fb/v/p/1", b"{", "fleet.halt-acks"),
        ("a/b", b"\xc1", "prefix.fleet.partials"),
        ("a%2Fbc/v/p/1", b"{", "fleet.halts"),  # 5: of others, from here on
        ("a/b/v/1", b"{", "fleet.halts"),
        ("a%2Fb", b"\xc1", "fleet.partials"),
        ("a%2Fb/x", b"{", "fleet.events"),
        ("a/b", b"{", "fleet.events"),
        (None, b"{", "fleet.halts"),
    ]
    letters(client, *rows)
    assert forget(database, "--fleet", "a/b")[0] == 0
    assert left(client) == list(range(5, 11))
