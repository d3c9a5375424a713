"""19 July 2024 in the real engine, obeyed and not: what `andon query` says of it, beside the simulator's ledger."""

import time
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from support import spared_world as world
from support.engines import Database

from consumers.clickhouse.ask.named import queries
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

HOSTS = 4_000
# So that the halt always stands at twelve minutes past an hour: the story ends with the last hour.
END_MS = int(time.time() * 1000) // HOUR_MS * HOUR_MS
OF_UPDATE = world.UPDATE._asdict()


@pytest.fixture(scope="module")
def truths(module_database: Database) -> dict[str, world.Truth]:
    """By fleet: `heeded` stopped when it was told, `ignored` never did; `early` was heeded, and is looked at after half
    an hour."""
    client = module_database.client()
    played = {
        "heeded": world.play(client, world.load("heeded", HOSTS), END_MS, obeyed=True),
        "ignored": world.play(client, world.load("ignored", HOSTS), END_MS, obeyed=False),
        "early": world.play(client, world.load("early", HOSTS), END_MS, obeyed=True, until_minutes=30),
    }
    return played


@pytest.fixture
def client(module_database: Database) -> Client:
    """A client."""
    return module_database.client()


def ask(client: Client, name: str, fleet: str, **more: str) -> list[dict[str, Any]]:
    """The rows of a named query about the fleet, and the update if it takes one."""
    query = queries()[name]
    given = {"fleet": fleet} | OF_UPDATE | more
    answer = client.query(query.sql, parameters={name: given[name] for name in query.parameters})
    return list(answer.named_results())


def spared(client: Client, fleet: str) -> dict[str, Any]:
    """The one row of `spared`."""
    (row,) = ask(client, "spared", fleet)
    return row


def test_a_halt_that_nobody_obeyed_has_spared_nobody(client: Client, truths: dict[str, world.Truth]) -> None:
    """Installations went on: unproven, nothing at least; and who died without a word is no host without it."""
    truth, row = truths["ignored"], spared(client, "ignored")
    assert truth.spared == 0
    assert row["proof"] == "unproven: installations went on"
    assert row["spared_low"] == 0
    assert row["silent_hosts"] > 0.8 * len(truth.dead)
    assert row["hosts_without_it"] < HOSTS - truth.lost


def test_a_halt_that_was_obeyed_has_spared_within_its_limits(client: Client, truths: dict[str, world.Truth]) -> None:
    """The ledger's number lies between them, and the curve of installations that ended is proof enough."""
    truth, row = truths["heeded"], spared(client, "heeded")
    assert row["proof"] == "installations ended"
    assert 0 < row["spared_low"] <= truth.spared <= row["spared_high"]
    assert abs(row["silent_hosts"] - len(truth.dead)) <= 0.1 * len(truth.dead)
    assert row["spared_high"] <= row["hosts_without_it"] + row["silent_hosts"]


def test_credit_waits_for_an_acknowledgement(client: Client, truths: dict[str, world.Truth]) -> None:
    """Half an hour after the release nothing proves anything yet; a subscriber's word does, and not where it is
    contradicted."""
    before = spared(client, "early")
    assert (before["proof"], before["spared_low"]) == ("unproven", 0)
    assert before["spared_high"] >= truths["early"].spared
    for fleet in ("early", "ignored"):
        world.acknowledge(client, fleet, END_MS)
    after = spared(client, "early")
    assert after["proof"] == "acknowledged"
    assert 0 <= after["spared_low"] <= truths["early"].spared <= after["spared_high"]
    assert (spared(client, "ignored")["proof"], spared(client, "ignored")["spared_low"]) == (
        "unproven: installations went on",
        0,
    )


def test_a_halt_of_what_nobody_has_fails_no_other(client: Client, truths: dict[str, world.Truth]) -> None:
    """A halt ahead of any rollout, of a fleet of one host: at most that one, and the other fleets' rows are there."""
    assert truths
    client.command(
        "INSERT INTO events (fleet, host, kind, ts, ingested_at, id, "
        "`updates.vendor`, `updates.product`, `updates.version`, `updates.installed_at`) "
        f"SELECT 'ahead', 'h', 'heartbeat', fromUnixTimestamp64Milli({END_MS} - number * {HOUR_MS}) AS at, at, "
        "toString(number), ['crowdstrike'], ['falcon-content'], ['290'], [at - INTERVAL 1 DAY] FROM numbers(24)"
    )
    world.store_halt(client, "ahead", END_MS - 2 * HOUR_MS, END_MS - 2 * HOUR_MS)
    row = spared(client, "ahead")
    assert (row["proof"], row["hosts_with_it"], row["silent_hosts"]) == ("unproven", 0, 0)
    assert (row["spared_low"], row["spared_high"]) == (0, 1)
    assert spared(client, "heeded")["proof"] == "installations ended"


def test_a_rollout_that_had_ended_by_itself_proves_nothing(client: Client) -> None:
    """Half of the hosts had the update for half a day when it was halted: no curve shows that anything was stopped."""
    halted = END_MS - 3 * HOUR_MS
    installed = f"fromUnixTimestamp64Milli({halted - 12 * HOUR_MS})"
    client.command(
        "INSERT INTO events (fleet, host, kind, ts, ingested_at, id, "
        "`updates.vendor`, `updates.product`, `updates.version`, `updates.installed_at`) "
        f"SELECT 'ended', toString(number % 200), if(number % 200 < 20 AND number >= 4200, 'crash', 'heartbeat'), "
        f"fromUnixTimestamp64Milli({END_MS - 24 * HOUR_MS} + intDiv(number, 200) * {HOUR_MS}) AS at, at, "
        "toString(number), "
        "arrayMap(u -> u.1, us), arrayMap(u -> u.2, us), arrayMap(u -> u.3, us), arrayMap(u -> u.4, us) "
        "FROM (SELECT number, arrayFilter(u -> u.3 = '290' OR number % 200 < 100, "
        f"[('{world.UPDATE.vendor}', '{world.UPDATE.product}', '290', {installed} - INTERVAL 1 DAY), "
        f"('{world.UPDATE.vendor}', '{world.UPDATE.product}', '291', {installed})]) AS us FROM numbers(4800))"
    )
    world.store_halt(client, "ended", halted, halted)
    row = spared(client, "ended")
    assert (row["hosts_with_it"], row["hosts_without_it"], row["hosts_in_line"]) == (100, 100, 100)
    assert (row["proof"], row["spared_low"]) == ("unproven", 0)


def test_silent_hosts_are_counted_by_update_ring_and_model(client: Client, truths: dict[str, world.Truth]) -> None:
    """They are those that the ledger has for dead; hardly one of them had listed the update, and yet it is theirs, not
    the one that they did list: each is laid to one update. `spared` has about the same
    silent hosts: it counts from the day before the halt on."""
    dead = len(truths["heeded"].dead)
    by_update = {row["version"]: row for row in ask(client, "silent", "heeded")}
    assert abs(by_update["291"]["silent_hosts"] - dead) <= 0.1 * dead
    assert by_update["291"]["silent_that_listed_it"] <= 0.2 * dead
    first, *rest = ask(client, "silent", "heeded")
    laid = [row["silent_in_line"] + row["silent_that_listed_it"] for row in (first, *rest)]
    assert first["version"] == "291"
    assert laid[0] > 0.8 * sum(laid)
    assert sum(laid) <= dead * 1.1
    assert by_update["290"]["silent_that_listed_it"] <= 0.05 * dead
    assert abs(first["silent_hosts"] - spared(client, "heeded")["silent_hosts"]) <= 0.05 * dead
    by_model = ask(client, "silent-by-model", "heeded")
    for name in ("hosts", "silent_hosts", "silent_in_line", "silent_that_listed_it", "silent_in_as_long_before"):
        assert sum(row[name] for row in by_model) == by_update["291"][name]
    assert {row["ring"] for row in by_model} == {"canary", "early", "broad"}


@pytest.mark.parametrize("fleet", ["heeded", "ignored"])
def test_innocents_are_not_ranked_by_the_guilty_ones_crashes(
    client: Client, truths: dict[str, world.Truth], fleet: str
) -> None:
    """In raw rates every update of the same hosts stands out; adjusted, only the guilty one does."""
    assert truths
    first, *rest = ask(client, "rates", fleet)
    assert first["version"] == "291"
    assert first["adjusted_excess_low"] > 0.1
    assert len(rest) == 5
    for row in (first, *rest):
        assert -1 <= row["adjusted_excess_low"] <= row["adjusted_excess"] <= row["adjusted_excess_high"] <= 1
    for row in rest:
        assert row["adjusted_excess_low"] < 0.01
        assert abs(row["adjusted_excess"]) < 0.02
    if fleet == "ignored":
        assert max(row["crash_rate"] for row in rest) > 0.05
        for row in ask(client, "with-and-without", fleet, product="workplace", vendor="zoom", version="6.1.5"):
            assert abs(row["adjusted_excess"]) < 0.03


def test_whether_it_still_spreads_is_one_query(client: Client, truths: dict[str, world.Truth]) -> None:
    """Minute by minute, the halt marked: after it nobody installs where it was obeyed, and the last minute in which
    anybody reported is there."""
    assert truths
    heeded, ignored = ask(client, "exposure", "heeded"), ask(client, "exposure", "ignored")
    marks = [row["after_halt"] for row in heeded]
    assert marks.count("HALT") == 1
    later = heeded[: marks.index("HALT")]
    assert later
    assert all(row["hosts"] == 0 and row["after_halt"] == "+107 min" for row in later)
    assert heeded[0]["hosts_so_far"] == sum(row["hosts"] for row in heeded) > 0
    assert sum(row["hosts"] for row in ignored if row["after_halt"].startswith("+")) > 20
    assert ignored[0]["after_halt"] == "+107 min"


def test_a_replay_says_so(client: Client, truths: dict[str, world.Truth]) -> None:
    """Reports that came in at sixty times the speed of life: how long the halt took says nothing. What came in within
    the second of the halt, minutes of the story, had not come when it was made."""
    assert truths
    (live,) = ask(client, "time-to-halt", "heeded")
    assert float(live["seconds_decision_to_halt"]) == world.HALTED_SECONDS - world.DECIDED_SECONDS
    released = END_MS - 2 * HOUR_MS
    client.command(
        "INSERT INTO events (fleet, host, kind, ts, ingested_at, id) "
        f"SELECT 'fast', 'h', 'heartbeat', fromUnixTimestamp64Milli({released} + number * {MINUTE_MS}), "
        f"fromUnixTimestamp64Milli({END_MS} + least(number, 51) * 1000), toString(number) FROM numbers(60)"
    )
    world.store_halt(client, "fast", released + 50 * MINUTE_MS, END_MS + 51_500)
    (fast,) = ask(client, "time-to-halt", "fast")
    assert fast["seconds_decision_to_halt"] == "replayed"
    told = "SELECT toUnixTimestamp64Milli(told_at) FROM halt_moments WHERE fleet = 'fast'"
    assert client.command(told) == released + 51 * MINUTE_MS


def test_the_last_installation_is_told_from_the_crash_that_decided(
    client: Client, truths: dict[str, world.Truth]
) -> None:
    """Obeyed, the last host that tells of one installed it between that crash and the halt; ignored, hosts go on to
    install it until the vendor's own stop, 78 minutes after the release."""
    assert truths["heeded"].spared > 0
    (heeded,) = ask(client, "last-install", "heeded")
    assert 0 < heeded["seconds_decision_to_last_install"] <= world.HALTED_SECONDS - world.DECIDED_SECONDS
    assert heeded["hosts_after_decision"] > heeded["hosts_after_halt"] == 0
    (ignored,) = ask(client, "last-install", "ignored")
    assert 70 * 60 < ignored["seconds_decision_to_last_install"] <= 78 * 60
    assert ignored["hosts_after_halt"] > 50


def test_the_limits_of_an_excess_are_limits_of_shares(client: Client) -> None:
    """Two hosts with it, beside two without, of which one crashed: limits by hand; none below -1."""
    base = END_MS - 3 * HOUR_MS
    client.command(
        "INSERT INTO events (fleet, host, kind, ts, ingested_at, id, "
        "`updates.vendor`, `updates.product`, `updates.version`, `updates.installed_at`) "
        f"SELECT 'few', toString(number), if(number = 2, 'crash', 'heartbeat'), fromUnixTimestamp64Milli({base}) "
        "AS at, at, toString(number), if(number < 2, ['v'], []), if(number < 2, ['p'], []), if(number < 2, ['1'], []), "
        "if(number < 2, [at - INTERVAL 1 HOUR], []) FROM numbers(4)"
    )
    (row,) = ask(client, "rates", "few")
    assert (row["adjusted_host_days"], row["adjusted_crashed"], row["adjusted_excess"]) == (2, 0, -0.5)
    z2 = 1.959964**2
    low0, high0 = ((1 + z2 / 2 + sign * 1.959964 * (0.5 + z2 / 4) ** 0.5) / (2 + z2) for sign in (-1, 1))
    high1 = z2 / (2 + z2)
    assert row["adjusted_excess_low"] == pytest.approx(-0.5 - (high0 - 0.5), abs=1e-6)
    assert row["adjusted_excess_high"] == pytest.approx(-0.5 + (high1**2 + (0.5 - low0) ** 2) ** 0.5, abs=1e-6)


def test_a_crash_before_the_installation_is_no_crash_without_it(client: Client) -> None:
    """Two hosts in five crash, at every hour alike, and half of all hosts install `1` at six in the evening: it is
    innocent. `2` came with it to a tenth, crashed them all in the hour after, and again, and was halted: it is not."""
    day = "toStartOfDay(now64(3, 'UTC')) - INTERVAL 2 DAY"
    client.command(
        "INSERT INTO events (fleet, host, kind, ts, ingested_at, id, "
        "`updates.vendor`, `updates.product`, `updates.version`, `updates.installed_at`) "
        f"SELECT 'evening', toString(n), if(number < 480, 'heartbeat', 'crash') AS kind, {day} + toIntervalMinute("
        "multiIf(number < 480, 1430, number < 960, 30 + 60 * (intDiv(n, 2) % 24), number < 1440, 1110, 1200)) "
        "AS at, at, toString(number), arrayMap(v -> 'v', has), arrayMap(v -> 'p', has), "
        f"arrayFilter(v -> at >= {day} + INTERVAL 18 HOUR AND n % 2 AND (v = '1' OR n > 432), ['1', '2']) AS has, "
        f"arrayMap(v -> {day} + INTERVAL 18 HOUR, has) FROM (SELECT number, number % 480 AS n FROM numbers(1920)) "
        "WHERE number < 480 OR (number < 960 AND n < 192) OR (number >= 960 AND n > 432 AND n % 2)"
    )
    order = ["evening", "v", "p", "2", 1, "halt", world.moment(END_MS)]
    client.insert(
        "halts", [order], column_names=["fleet", "vendor", "product", "version", "epoch", "action", "issued_at"]
    )
    guilty, innocent = ask(client, "rates", "evening")
    assert (guilty["version"], innocent["version"]) == ("2", "1")
    assert (guilty["adjusted_host_days"], guilty["adjusted_crashed"]) == (24, 24)
    assert guilty["adjusted_excess_low"] > 0.5
    assert (innocent["adjusted_host_days"], innocent["adjusted_crashed"]) == (240 - 24, 24)
    assert innocent["adjusted_excess_low"] < 0 < innocent["adjusted_excess_high"]
    assert abs(innocent["adjusted_excess"]) < 0.03


def test_a_resume_makes_nobody_guilty(client: Client) -> None:
    """Half of the hosts with `1` had `2`, which crashed them and was halted, and resumed since: `1` stays innocent."""
    client.command(
        "INSERT INTO events (fleet, host, kind, ts, ingested_at, id, "
        "`updates.vendor`, `updates.product`, `updates.version`, `updates.installed_at`) "
        "SELECT 'resumed', toString(number), if(number < 50, 'crash', 'heartbeat'), "
        f"fromUnixTimestamp64Milli({END_MS - 3 * HOUR_MS}) AS at, at, toString(number), arrayMap(v -> 'v', has), "
        "arrayMap(v -> 'p', has), multiIf(number < 100, ['1', '2'], number < 200, ['1'], []) AS has, "
        "arrayMap(v -> at - INTERVAL 1 DAY, has) FROM numbers(300)"
    )
    names = ["fleet", "vendor", "product", "version", "epoch", "action", "issued_at"]
    orders = [("halt", END_MS - 2 * HOUR_MS), ("resume", END_MS - HOUR_MS)]
    rows = [["resumed", "v", "p", "2", epoch, action, world.moment(at)] for epoch, (action, at) in enumerate(orders, 1)]
    client.insert("halts", rows, column_names=names)
    excess = {row["version"]: row["adjusted_excess"] for row in ask(client, "rates", "resumed")}
    assert excess == {"1": 0, "2": 0.5}
    of_one = {"vendor": "v", "product": "p", "version": "1"}
    (row,) = ask(client, "with-and-without", "resumed", **of_one)
    assert (row["adjusted_crashed_with"], row["adjusted_excess"]) == (0, 0)


def test_evidence_is_told_once_for_all_rings(client: Client) -> None:
    """Two records of a moment: the newer one of each ring counts; crashed hosts of all rings, and by ring, the most
    first; a ring without any is not named."""
    names = ["fleet", "vendor", "product", "version", "ring", "at", "state", "log10_evidence", "threshold", "basis"]
    names += ["crashed_hosts", "flags", "source_offset"]
    at, before = world.moment(END_MS), world.moment(END_MS - MINUTE_MS)

    def told(ring: str, when: Any, state: str, evidence: float, crashed: int, offset: int) -> list[Any]:
        return ["told", *world.UPDATE, ring, when, state, evidence, 6.0, "concurrent", crashed, ["capped"], offset]

    rows = [told("broad", before, "watching", 2.0, 1, 1), told("early", before, "watching", 2.0, 0, 2)]
    rows += [told("broad", at, "watching", 5.7, 4, 3), told("early", at, "watching", 5.7, 1, 4)]
    rows += [told("broad", at, "halted", 9.2, 5, 5), told("early", at, "halted", 9.2, 11, 6)]
    client.insert("verdicts", rows, column_names=names)
    newest, older = ask(client, "evidence", "told")
    assert (newest["state"], newest["log10_evidence"], newest["crashed_hosts"]) == ("halted", 9.2, 16)
    assert (newest["by_ring"], newest["basis"], newest["flags"]) == ("early 11, broad 5", "concurrent", ["capped"])
    assert (older["crashed_hosts"], older["by_ring"]) == (1, "broad 1")
