"""Fleets drawn at random: a name is a fleet, everything that can vary does, and the truth is what is in the stream."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.bakeoff.contest.main import command
from pipeline.bakeoff.drawn.draw import NOBODY, draw, named, strata
from pipeline.bakeoff.families import FAMILIES
from pipeline.bakeoff.hosts import NEVER, span_ms
from pipeline.bakeoff.kept import digest
from pipeline.bakeoff.spec import Family, Fault, Fleet, Push, Shock, Telling, Where
from pipeline.bakeoff.world import CRASH, World, make
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

SEED, DRAWS = 20_260_306, 200
PLANS = [draw(SEED, number) for number in range(1, DRAWS + 1)]

# What is not drawn, and why.
ALIKE = {
    "Telling.forging_share": "no method can tell those that agree from crashes",
    "Where.trait": "faults and shocks hit a place",
    "Family.background": "all rollouts are drawn",
}


def values(plan: Any) -> Iterator[tuple[str, Any]]:
    """Every field of a family and of all in it, by its class and name."""
    kind = type(plan).__name__
    for name, value in plan._asdict().items():
        parts = value if isinstance(value, tuple) and value and hasattr(value[0], "_fields") else (value,)
        for part in parts:
            if hasattr(part, "_fields") and not isinstance(part, str):
                yield from values(part)
            yield f"{kind}.{name}", part


def test_everything_that_can_vary_does() -> None:
    """Over 200 plans each field of each value has several values, but those that are named here with the reason."""
    seen: dict[str, set[str]] = defaultdict(set)
    for plan in PLANS:
        for name, value in values(plan):
            seen[name].add(repr(value))
    fields = {
        f"{of.__name__}.{name}" for of in (Family, Fleet, Telling, Push, Fault, Shock, Where) for name in of._fields
    }
    assert set(seen) == fields
    assert {name for name, found in seen.items() if len(found) < 2} == set(ALIKE)


def test_the_plans_are_what_was_asked_for() -> None:
    """Half without a fault; 300 to 200,000 hosts, most of them small; 1 to 24 updates; all kinds of place and shock."""
    hosts = np.array([plan.fleet.hosts for plan in PLANS])
    assert 300 <= hosts.min() < 500
    assert 50_000 < hosts.max() <= 200_000
    assert 0.7 < (hosts <= 5000).mean() < 0.9
    assert sum(plan.is_innocent for plan in PLANS) == DRAWS // 2
    assert all((plan.kind == NOBODY) is plan.is_innocent for plan in PLANS)
    counts = {len(plan.pushes) for plan in PLANS}
    assert (min(counts), max(counts)) == (1, 24)
    assert min(plan.fleet.crashes_a_day or 1 for plan in PLANS) > 0
    assert any(plan.fleet.crashes_a_day == 0 for plan in PLANS)
    faults = [push.fault for plan in PLANS for push in plan.pushes if push.fault]
    assert {fault.signature is None for fault in faults} == {True, False}
    assert all(2 <= fault.risk <= 1000 or fault.crash_share or fault.boot_share for fault in faults)
    places = {name for fault in faults for name, value in fault.where._asdict().items() if value}
    assert places == {"ring", "model", "system", "region"}
    struck = {name for plan in PLANS for shock in plan.shocks for name, value in shock.where._asdict().items() if value}
    assert struck == {"model", "region", "site"}
    assert len(strata(PLANS)) == 10


def test_a_name_is_a_fleet() -> None:
    """The same plan and the same events, whoever asks; another number or seed gives another."""
    assert named(f"drawn-{SEED}-0003") == PLANS[2]
    assert named("drawn-1-0003") != PLANS[2] != PLANS[3]
    assert named("drawn-1") is None
    plan = next(plan for plan in PLANS if plan.fleet.hosts < 1000)
    first, again, other = make(plan, 1), make(draw(SEED, int(plan.name[-4:])), 1), make(plan, 2)
    assert all(np.array_equal(a, b) for a, b in zip(first.events, again.events, strict=True))
    assert not np.array_equal(first.installs.at, other.installs.at)


def test_what_was_kept_before_fleets_were_drawn_still_counts() -> None:
    """Fields that came with drawn fleets are no change to a family that does without; others are."""
    (family,) = [family for family in FAMILIES if family.name == "30pc-of-boots-300-new-here"]
    assert digest(family) == "168ac17f9d17"
    assert digest(family._replace(fleet=family.fleet._replace(zipf=1.0))) != digest(family)


def smaller(plan: Family) -> World:
    """As it is, on fewer hosts."""
    return make(plan._replace(fleet=plan.fleet._replace(hosts=min(plan.fleet.hosts, 800))), 3)


STRUCK = [plan for plan in PLANS if not plan.is_innocent and plan.fleet.beat_minutes and not plan.fleet.reimaged_share]
HEARD = [
    plan
    for plan in STRUCK
    if not any(shock.silence for shock in plan.shocks) and not plan.deaf_minutes and plan.telling.skew_minutes < 1
]


@pytest.mark.parametrize("plan", STRUCK[:20], ids=lambda plan: plan.name)
def test_the_truth_is_what_happened(plan: Family) -> None:
    """Guilty crashes are on hosts with the update, after it came to them, and in the place that the fault strikes."""
    world = smaller(plan)
    truth, installs = world.truth, world.installs
    rows = [row for row, push in enumerate(world.pushes) if push.fault]
    assert truth.guilty >= {int(installs.update[row]) for row in rows}
    assert set(truth.crash_update[truth.crash_update >= 0].tolist()) <= {int(installs.update[row]) for row in rows}
    for row in rows:
        mine = truth.crash_update == installs.update[row]
        fault = world.pushes[row].fault
        assert fault is not None
        assert world.hosts.match(fault.where)[truth.crash_host[mine]].all()
        assert (truth.crash_ms[mine] >= installs.at[row][truth.crash_host[mine]]).all()


@pytest.mark.parametrize("plan", HEARD[:20], ids=lambda plan: plan.name)
def test_a_faults_crashed_hosts_are_in_the_stream(plan: Family) -> None:
    """Every host that a fault crashed tells of a crash, but who is never heard of again and who tells after the end."""
    world = smaller(plan)
    truth, telling = world.truth, plan.telling
    slack = 1.5 * telling.late_hours * HOUR_MS + telling.disorder_minutes * MINUTE_MS + HOUR_MS
    due = (truth.crash_update >= 0) & (truth.back_ms < NEVER) & (truth.back_ms + slack < span_ms(plan))
    told = world.events.host[world.events.kind >= CRASH]
    assert set(truth.crash_host[due].tolist()) <= set(told.tolist())


def test_the_faults_do_harm() -> None:
    """In most fleets with a guilty update some host crashes of it."""
    worlds = [smaller(plan) for plan in STRUCK[:20]]
    assert sum(bool((world.truth.crash_update >= 0).any()) for world in worlds) >= 15


def test_drawn_fleets_are_run_and_reported_by_stratum(tmp_path: Path) -> None:
    """As families are: by number or by name, with a row for each stratum; the oracle and the limit as well."""
    arguments = ["--seed", str(SEED), "--hosts", "450"]
    listed = CliRunner().invoke(command, ["--drawn", "60", *arguments, "--list"]).output.splitlines()
    assert len(listed) > 2
    name = listed[0].split("\t")[0]
    run = ["--contender", "fixed_share", "--processes", "1", "--json", "--scores", str(tmp_path / "scores.jsonl")]
    done = CliRunner().invoke(command, ["--drawn", "60", *arguments, *run])
    rows = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
    assert {row["family"] for row in rows} == {line.split("\t")[0] for line in listed} | {"*"}
    by_size = [row["runs"] for row in rows if row["kind"] == "300 to 1,000 hosts"]
    assert by_size == [len(listed), len(listed)]
    alone = CliRunner().invoke(command, ["--family", name, "--no-run", "--seeds", "1", *arguments, *run])
    assert [json.loads(line) for line in alone.output.splitlines() if name in line] == [
        row for row in rows if row["family"] == name
    ]
    assert CliRunner().invoke(command, ["--drawn", "60", *arguments, "--limit"]).exit_code == 0
