"""`andon plan`: rehearsals through the real detector, what they add up to, and what is refused."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.bakeoff.hosts import NEVER
from pipeline.bakeoff.limits import Figure
from pipeline.bakeoff.world import make
from pipeline.canary.advice import advice, hours_text, more_seeds
from pipeline.canary.asked import CANARY, Asked, Harm, family_of
from pipeline.canary.cells import Cell, Kind, Wish, cells_of
from pipeline.canary.main import command
from pipeline.canary.plan import policy_for
from pipeline.canary.rehearsal import Outcome, Task, rehearse
from pipeline.cli import andon
from pipeline.decide.policy import Policy, PolicySet

SMALL = Asked(hosts=600, boots_per_day=4.0, history_hours=2.5, models=1, install_minutes=10.0)


@pytest.mark.parametrize(("past_hours", "is_halted"), [(21.0, True), (4.0, False)])
def test_a_ring_of_its_own_is_judged_by_a_day_of_past(past_hours: float, is_halted: bool) -> None:
    """Hosts boot once a day, so within two hours hardly any crash; the past speaks for longer when it holds a day."""
    asked = Asked(hosts=1_200, history_hours=past_hours, models=1, heartbeats_per_day=8.0)
    found = rehearse(Task(asked, Harm(boot_share=0.5), "ring", 400, 10.0, 1, Policy()))
    assert (found.halted_hours is not None) == is_halted


SEVERE = Harm(boot_share=0.9)
QUICK = ("--hosts", 600, "--boots-per-day", 4, "--history-hours", 2.5, "--models", 1, "--seeds", 2, "--processes", 1)


def plan(*words: object) -> Result:
    """`andon plan …`."""
    return CliRunner().invoke(andon, ["plan", *map(str, words)])


def halted(*hours: float | None) -> list[Outcome]:
    """Rehearsals that were halted so late; a host crashed each hour."""
    return [Outcome(at, None, (0.5, 1.5, 2.5, 3.5), 0) for at in hours]


def cells(harm: Harm, canary: int, layout: str, *hours: float | None) -> list[Cell]:
    """Their cells after 1 and 4 hours."""
    return list(cells_of(Kind(harm, layout, canary), (1.0, 4.0), halted(*hours), Wish()))  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["spread", "ring"])
def test_as_many_hosts_get_it_as_are_asked_for(layout: str) -> None:
    """Of a ring of its own all, of a spread one that many and the others of their ring do not."""
    world = make(family_of(SMALL, SEVERE, layout, 150, 2.0), 3)  # type: ignore[arg-type]
    got = world.installs.at[0] < NEVER
    ring = world.hosts.ring == world.hosts.rings.index(CANARY)
    assert got.sum() == 150
    assert ring[got].all()
    assert ring.sum() == (150 if layout == "ring" else 600)


def test_the_detector_itself_halts_and_hosts_are_counted_until_then() -> None:
    """A fault that nobody could miss, twice alike under a seed; a harmless update is not halted and crashes nobody."""
    found = rehearse(Task(SMALL, SEVERE, "spread", 150, 3.0, 1, Policy()))
    assert found.halted_hours is not None
    assert 0 < found.halted_hours < 3
    assert 3 <= found.crashed_by(3.0) < len(found.crashed_hours)
    assert found == rehearse(Task(SMALL, SEVERE, "spread", 150, 3.0, 1, Policy()))
    harmless = rehearse(Task(SMALL, Harm(), "spread", 150, 1.5, 1, Policy()))
    assert (harmless.halted_hours, harmless.crashed_hours) == (None, ())


def test_a_cell_counts_what_was_halted_in_time() -> None:
    """Its chance has Clopper and Pearson's limits; hosts count until the halt, or until the time is over."""
    early, late = cells(SEVERE, 100, "spread", 0.8, 2.0, 3.0, None)
    assert (early.halted, late.halted, late.hours_to_halt.value) == (1, 3, 2.0)
    assert late.chance.low == pytest.approx(0.1941, abs=1e-4)
    assert (early.crashed.value, late.crashed.value, late.crashed_most) == (1.0, 2.5, 4)


def test_the_answer_says_how_sure_it_is() -> None:
    """36 of 36 is more than 90 % beyond doubt, 10 of 10 by the look of it, 8 of 10 may be, 1 of 10 is not."""
    tries = {
        "enough": [1.0] * 36,
        "likely": [1.0] * 10,
        "open": [1.0] * 8 + [None] * 2,
        "too little": [1.0, *[None] * 9],
    }
    for answer, hours in tries.items():
        assert cells(SEVERE, 100, "spread", *hours)[1].answer == answer
    assert more_seeds(10, Wish()) == 36
    assert cells(Harm(), 100, "spread", 1.0)[1].answer == ""


def test_the_smallest_canary_that_is_enough_is_recommended() -> None:
    """With the shortest time for it, what a smaller one cannot, and that a ring of its own has no control."""
    found = [
        *cells(SEVERE, 50, "spread", *[None] * 40), *cells(SEVERE, 100, "spread", *[3.0] * 40),
        *cells(SEVERE, 200, "spread", *[0.7] * 40), *cells(SEVERE, 200, "ring", *[None] * 40),
    ]  # fmt: skip
    told = advice(found, Wish(), 3)
    assert told.best is not None
    assert (told.best.kind.canary, told.best.hours, told.best.answer) == (100, 4.0, "enough")
    for words in (
        "a canary of 100 hosts spread over the fleet's rings and 4 hours of waiting. Halted in 40 of 40 runs",
        "1 hour would do with a canary of 200 hosts",
        "No canary of 50 can show it within 4 hours.",
        "A ring of its own of 200 is halted in 0 of 40",
    ):
        assert words in told.text
    assert "--seeds" not in told.text


def test_that_no_canary_can_show_it_is_said() -> None:
    """With the crashed hosts that a policy wants; and where it is not settled, how many seeds would tell."""
    none = advice(cells(SEVERE, 100, "spread", *[None] * 40), Wish(), 3)
    assert none.best is None
    assert "no canary of up to 100 hosts can show it within 4 hours with a chance of 90%" in none.text
    assert "the policy halts for 3 at least" in none.text
    unsettled = advice(cells(SEVERE, 100, "spread", *[3.0] * 8, None, None), Wish(), 3)
    assert "some may be: --seeds 36 tells. The best was a canary of 100 hosts" in unsettled.text
    harmless = advice(cells(Harm(), 100, "spread", None, None), Wish(), 3)
    assert "halted in 0 of 2 runs" in harmless.text


def test_the_command_says_the_same_in_both_forms(tmp_path: Path) -> None:
    """From outside: a table with a row a cell and advice; the same figures as JSON; a policy that never halts halts
    never."""
    asked = (*QUICK, "--canary", 150, "--hours", 1.5, "--hours", 1, "--boot-share", 0.9, "--layout", "spread")
    shown = plan(*asked)
    assert shown.exit_code == 0, shown.output
    row = json.loads(plan(*asked, "--json").stdout)
    assert [(cell["canary"], cell["hours"]) for cell in row["cells"]] == [(150, 1.0), (150, 1.5)]
    last = row["cells"][-1]
    assert (last["runs"], last["halted"], last["answer"]) == (2, 2, "likely")
    assert f"{last['halted']}/{last['runs']}" in shown.output
    assert " ".join(row["advice"][0]["text"].split()) in " ".join(shown.output.split())
    (policy := tmp_path / "policy.toml").write_text("[default]\nminimum_crashed_hosts = 1000000\n")
    row = json.loads(plan(*asked, "--json", "--policy", policy).stdout)
    assert [cell["halted"] for cell in row["cells"]] == [0, 0]
    assert row["advice"][0]["canary"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--canary", 8000), "--canary 8000: it must be smaller than the fleet (--hosts 8000)"),
        (("--risk", 1.2), "--risk 1.2: the policy tolerates ×1.5"),
        (("--boots-per-day", 0), "--boot-share with --boots-per-day 0"),
        (("--boots-per-day", 0, "--heartbeats-per-day", 0, "--risk", 5), "hosts that never report show nothing"),
        (("--crashes-per-day", 0, "--risk", 5), "--risk with --crashes-per-day 0"),
        (("--hosts", 10_000_000), "fewer --hosts (at most"),
        (("--policy", "nowhere.toml"), "--policy nowhere.toml: cannot be read"),
        (("--chance", 1), "0<x<1"),
        (("--hours", 0), "0<x<=120"),
        (("--layout", "star"), "'star' is not one of 'spread', 'ring'"),
    ],
    ids=lambda value: str(value[0]).strip("-") if isinstance(value, tuple) else "",
)
def test_what_cannot_be_planned_is_refused(words: tuple[object, ...], said: str) -> None:
    """With option, value and what would be right, before anything is simulated."""
    refused = plan(*words)
    assert refused.exit_code != 0
    assert said in refused.output + str(refused.exception)


def test_the_canary_ring_keeps_its_risk_to_clear() -> None:
    """By whatever name the policy has it."""
    policies = PolicySet(default=Policy(clear_risk_by_ring={"a": 9.0, "b": 4.0}))
    assert policy_for(policies, "a").clear_risk_in(CANARY) == 9.0
    assert policy_for(policies, "z").clear_risk_in(CANARY) == policies.default.clear_risk


def test_times_read_well() -> None:
    """And a figure without limits is none."""
    assert [hours_text(hours) for hours in (0.5, 1.0, 9.154, 12.0, None)] == [
        "30 min", "1 hour", "9.2 hours", "12 hours", "?",
    ]  # fmt: skip
    assert command.name == "plan"
    assert Figure(None).row() == {"value": None, "low": None, "high": None}
