"""`andon query crash-claims`: crashes that were forged stand out from real ones, in fleets whose truth is known."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from support.engines import Database

from consumers.clickhouse.ask.named import queries
from pipeline.bakeoff.crashes import FRIDAY_MS
from pipeline.bakeoff.spec import SIGNATURES, Family, Fault, Fleet, Push, Telling
from pipeline.bakeoff.stream import Stream
from pipeline.bakeoff.world import CRASH, CRASH_BOOT, World, make
from pipeline.halts.stored import Asking, Stored
from pipeline.halts.words import claims_words
from pipeline.wire.cells import BOOT, HEARTBEAT
from pipeline.wire.record_keys import update_key

NAMES = ["fleet", "host", "kind", "ts", "ingested_at", "ring", "site", "prior", "prior_ended_at", "id"]
SIGNED = ["signature_code", "signature_module"]
LISTS = ["updates.vendor", "updates.product", "updates.version", "updates.installed_at"]
KINDS = {BOOT: "boot", HEARTBEAT: "heartbeat", CRASH: "crash", CRASH_BOOT: "boot"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOURS = {"warm_hours": 24.0, "hours": 12.0, "background": 0}  # so long that most hosts have booted by themselves
FLEET = Fleet(1000, boots_a_day=2.0)
FORGED = Family("forged", "", FLEET, (Push("it", over_minutes=60),), telling=Telling(forging_share=0.1), **HOURS)
FAULT = Fault(crash_share=0.2)
REAL = Family(
    "real", "", FLEET, (Push("it", over_minutes=60, fault=FAULT),), telling=Telling(silent_share=0.3), **HOURS
)


def moment(at_ms: int) -> datetime:
    """Of unix ms."""
    return EPOCH + timedelta(milliseconds=at_ms)


def rows(world: World) -> list[list[Any]]:
    """Its events as rows of `events`: what each host sent."""
    events, stream, name = world.events, Stream(world), world.family.name
    at, sent = events.at + FRIDAY_MS, events.sent + FRIDAY_MS
    event, row = stream.listed(events.host, at, events.kind)
    listed: dict[int, list[int]] = {}
    for place, which in zip(event.tolist(), row.tolist(), strict=True):
        listed.setdefault(place, []).append(which)
    made = []
    for n, (host, kind) in enumerate(zip(events.host.tolist(), events.kind.tolist(), strict=True)):
        tells = kind == CRASH_BOOT
        ts = moment(int(sent[n] if tells else at[n]))
        had = listed.get(n, [])
        updates = [world.updates[world.installs.update[which]] for which in had]
        installed = [moment(int(world.installs.at[which][host]) + FRIDAY_MS) for which in had]
        shown = SIGNATURES[events.look[n]]
        look = (shown.code, shown.module) if kind == CRASH else ("", "")
        ended = ["crash", moment(int(at[n]))] if tells else ["clean" if kind == BOOT else "", None]
        place = [name, f"h{host}", KINDS[kind], ts, datetime.now(UTC), "broad", f"s{host % 7}", *ended, f"{n}", *look]
        made.append([*place, *([u[part] for u in updates] for part in range(3)), installed])
    return made


class Found(NamedTuple):
    """What the query says of each host, and of `halts why`; the hosts that truly crashed."""

    states: dict[str, str]
    stored: Stored
    crashed: set[str]


def found(database: Database, family: Family) -> Found:
    """Of the family's one update, under a seed."""
    world, client = make(family, 7), database.client()
    client.insert("events", rows(world), column_names=[*NAMES, *SIGNED, *LISTS])
    (update,) = world.updates
    given = {"fleet": family.name, **dict(zip(("vendor", "product", "version"), update, strict=True))}
    answer = list(client.query(queries()["crash-claims"].sql, parameters=given).named_results())
    assert all(row["heard_before"] for row in answer)
    asking = Asking(msgspec.structs.replace(database.server, database=database.name), update_key(family.name, *update))
    crashed = {f"h{host}" for host in np.unique(world.truth.crash_host).tolist()}
    return Found({row["host"]: row["state"] for row in answer}, asking.start().wait(), crashed)


@pytest.fixture(scope="module")
def forged(module_database: Database) -> Found:
    """A tenth of its hosts tell of a crash that never was; some others crash as hosts do."""
    return found(module_database, FORGED)


@pytest.fixture(scope="module")
def real(module_database: Database) -> Found:
    """A fifth of its hosts crash, and of these three in ten are never heard of again."""
    return found(module_database, REAL)


def test_forged_crashes_go_on_without_a_boot(forged: Found) -> None:
    """Nine in ten at least: by chance a host boots before its next heartbeat. Those that truly crashed booted."""
    lied = Counter(state for host, state in forged.states.items() if host not in forged.crashed)
    honest = Counter(state for host, state in forged.states.items() if host in forged.crashed)
    assert sum(lied.values()) > 40
    assert lied["went_on"] / (sum(lied.values()) - lied["no_boots"]) > 0.9
    assert lied["no_boots"] < 0.2 * sum(lied.values())
    assert set(honest) <= {"booted"} or honest["booted"] >= 0.8 * sum(honest.values())


def test_real_crashes_are_borne_out(real: Found) -> None:
    """All but those of whom nothing more came."""
    counts = Counter(real.states.values())
    assert counts["booted"] > 60
    assert counts["went_on"] <= 0.02 * counts["booted"]
    assert real.states.keys() <= real.crashed


def test_the_page_counts_the_same_and_says_what_follows(forged: Found, real: Found) -> None:
    """In words: most went on without a boot; or none did."""
    for one in (forged, real):
        assert one.stored.why_not == ""
        claims = one.stored.claims
        assert claims is not None
        assert {state: claims[state] for state in ("booted", "went_on", "silent", "no_boots")} == {
            state: Counter(one.states.values())[state] for state in ("booted", "went_on", "silent", "no_boots")
        }
        assert (claims["unheard_before"], claims["rings"], claims["sites"]) == (0, 1, 7)
    said = claims_words(forged.stored.claims, "")
    assert "WENT ON WITHOUT A BOOT, though they report boots" in said
    assert "all heard of before its release; most may be forged" in said
    assert "may be forged" not in claims_words(real.stored.claims, "")
    assert claims_words(None, "it is away") == "unknown: it is away"


def test_who_is_new_or_tells_nothing_more_is_told_apart(module_database: Database) -> None:
    """A host that nobody knew, and that was heard of once; one that crashed and is silent; one that never reports a
    boot; one whose heartbeat of the very minute is no sign; one that boots after two crashes."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)
    listed = (["acme"], ["tool"], ["2"], [start])

    def report(host: str, minutes: float, kind: str = "heartbeat") -> list[Any]:
        ts = start + timedelta(minutes=minutes)
        return ["hand", host, kind, ts, ts, "broad", "s1", "", None, f"{host}{minutes}", "", "", *listed]

    told = [report("new", 5, "crash"), report("dead", -60, "boot"), report("dead", 6, "crash")]
    told += [report("bootless", -60), report("bootless", 7, "crash"), report("bootless", 30)]
    told += [report("same", -60), report("same", 8, "crash"), report("same", 8.5), report("same", 12, "boot")]
    told += [
        report("twice", -60),
        report("twice", 9, "crash"),
        report("twice", 10, "crash"),
        report("twice", 15, "boot"),
    ]
    told += [report("liar", -60, "boot"), report("liar", 9, "crash"), report("liar", 70)]
    client = module_database.client()
    client.insert("events", told, column_names=[*NAMES, *SIGNED, *LISTS])
    given = {"fleet": "hand", "vendor": "acme", "product": "tool", "version": "2"}
    answer = list(client.query(queries()["crash-claims"].sql, parameters=given).named_results())
    assert {row["host"]: (row["state"], bool(row["heard_before"]), row["crashes"]) for row in answer} == {
        "new": ("silent", False, 1), "dead": ("silent", True, 1), "bootless": ("no_boots", True, 1),
        "same": ("booted", True, 1), "twice": ("booted", True, 2), "liar": ("went_on", True, 1),
    }  # fmt: skip
    assert answer[0]["host"] == "liar"
    assert answer[0]["next_report_at"].replace(tzinfo=UTC) == start + timedelta(minutes=70)
    assert next(row for row in answer if row["host"] == "new")["next_report_at"] is None
