"""How contenders are judged: by hand-made examples, and three families from end to end."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.bakeoff.contenders.table import CONTENDERS
from pipeline.bakeoff.contest.figures import by_family, row, summarise
from pipeline.bakeoff.contest.main import chosen, command
from pipeline.bakeoff.contest.page import page
from pipeline.bakeoff.contest.run import ORACLE, Score, Stop, run, score
from pipeline.bakeoff.families import FAMILIES
from pipeline.bakeoff.hosts import NEVER
from pipeline.bakeoff.limits import quantile, rate
from pipeline.bakeoff.protocol import Call, Step
from pipeline.bakeoff.reading import Reader, past_of
from pipeline.bakeoff.spec import Family, Fault, Fleet, Push
from pipeline.bakeoff.stream import Stream
from pipeline.bakeoff.world import World, make
from pipeline.runtime.errors import ConfigError

pytestmark = pytest.mark.service  # some ten seconds of a core

BY_NAME = {family.name: family for family in FAMILIES}
HOSTILE = Family("<b>hostile</b>", "k&k", Fleet(300), (Push("guilty", fault=Fault(crash_share=0.3)),), hours=3)


def world() -> World:
    """Update 0 is guilty: it crashed hosts 1, 2 and 3 after 100, 200 and 300 s; 1 and 2 are innocent."""
    made = make(Family("by hand", "test", Fleet(300), (Push("guilty", fault=Fault(crash_share=0.3)),), background=2), 1)
    truth = made.truth._replace(
        harmful_ms=np.array([50_000, NEVER, NEVER]), released_ms=np.array([50_000, 0, 0]),
        crash_ms=np.array([60_000, 100_000, 200_000, 300_000, 310_000]), crash_host=np.array([9, 1, 2, 3, 3]),
        crash_update=np.array([-1, 0, 0, 0, 0]),
    )  # fmt: skip
    return made._replace(truth=truth)


def judged(stops: Sequence[Stop], clears: dict[int, int] | None = None) -> Score:
    """The score of somebody who did that."""
    return score(world(), "somebody", list(stops), clears or {})


def test_crashed_hosts_count_until_the_halt() -> None:
    """Hosts of the fault, once each, up to the halt; all of them when there was none."""
    assert judged([Stop(0, 250_000, False)])[4:10] == (1, 1, 2, 150.0, 0, 0)
    assert judged([])[4:10] == (1, 0, 3, None, 0, 0)


def test_an_innocent_is_one_unless_it_is_inseparable_from_a_guilty_one() -> None:
    """Halted together, at the same time, with the guilty: beside it; alone, or with another: an innocent halted."""
    beside = judged([Stop(0, 250_000, True), Stop(1, 250_000, True)])
    assert (beside.innocents, beside.beside) == (0, 1)
    apart = judged([Stop(0, 250_000, False), Stop(1, 250_000, False), Stop(2, 10_000_000, True)])
    assert (apart.innocents, apart.beside) == (2, 0)


def test_a_halt_before_any_harm_is_a_false_one() -> None:
    """Right only by chance."""
    early = judged([Stop(0, 40_000, False)])
    assert (early.found, early.innocents, early.crashed) == (0, 1, 3)


def test_what_is_cleared_counts_when_it_is_harmless() -> None:
    """With the minutes since its release; a guilty one that is cleared is counted apart."""
    found = judged([], {0: 600_000, 1: 600_000})
    assert (found.cleared, found.clear_minutes, found.wrongly_cleared) == (1, (10.0,), 1)


def test_figures_add_up_with_their_limits() -> None:
    """Rates by Clopper and Pearson (0 of 10: at most 0.31), medians by order statistics; the ratio is to the oracle."""
    assert rate(0, 10).high == pytest.approx(0.3085, abs=1e-4)
    assert rate(3, 0).value is None
    median = quantile([float(v) for v in range(1, 102)])
    assert (median.value, median.low, median.high) == (51.0, 41.0, 61.0)
    best = judged([Stop(0, 150_000, False)])
    mine = judged([Stop(0, 250_000, False), Stop(1, 0, False)])
    summary = summarise([mine], {("by hand", 1): best})
    assert summary.ratio.value == 2.0
    assert (summary.found, summary.innocents, summary.precision.value) == (1, 1, 0.5)
    assert summary.false_per_1000.value == 500.0


@pytest.fixture(scope="module")
def three() -> list[Score]:
    """One fleet with a fault, one in which two travel together, one without."""
    names = ("x1000-300", "canary-of-20-bad", "ramps-300")
    return [found for name in names for found in run(BY_NAME[name], 1)]


def test_three_families_end_to_end(three: list[Score]) -> None:
    """Every contender is judged in each; fixed shares halt innocents, Andon none; nobody halts before the truth."""
    names = [entry.name for entry in CONTENDERS]
    assert [found.contender for found in three] == [*names, ORACLE] * 3
    summaries = {summary.contender: summary for summary in by_family(three)[""]}
    assert summaries["andon"].found == summaries[ORACLE].found == summaries["andon"].wanted == 2
    assert summaries["andon"].innocents == summaries[ORACLE].innocents == 0
    assert summaries["fixed_share"].innocents > 0


def test_nobody_who_keeps_the_bound_beats_the_oracle(three: list[Score]) -> None:
    """Andon has the same alpha and the same three hosts: in no family fewer hosts crash until its halt."""
    crashed = {(found.family, found.contender): found.crashed for found in three}
    assert all(crashed[family, "andon"] >= crashed[family, ORACLE] for family, _ in crashed)


def test_the_page_shows_every_rule_and_escapes_what_it_shows(three: list[Score]) -> None:
    """A picture a family, each with a bar or a word for every contender."""
    renamed = [found._replace(family=HOSTILE.name) for found in three if found.family == "x1000-300"]
    text = "".join(page([HOSTILE], by_family(renamed)))
    assert text.count("<figure ") == 1
    assert "<b>hostile" not in text
    assert "&lt;b&gt;hostile" in text
    assert all(f">{entry.title}<" in text for entry in CONTENDERS)


def test_a_step_is_what_its_partial_says() -> None:
    """Totals by update follow from the partials: exposed trials and crashed hosts never exceed those of the fleet."""
    made = make(BY_NAME["x1000-300"], 1)
    past = past_of(made)
    reader, steps = Reader(past), list[Step]()
    for partial in Stream(made).partials():
        steps.append(reader.read(partial))
    first = sum(crash.is_first for step in steps for crash in step.crashes)
    totals = steps[-1].totals
    assert 100 < first <= totals.crashed.max() + first
    assert (totals.trials <= totals.trials_since).all()
    assert (totals.crashed <= totals.crashed_since).all()
    assert sum(int(step.trials.sum()) for step in steps) >= totals.trials.max()
    assert past.targets[0].sum() == (made.installs.at[0] != NEVER).sum()


def test_every_contender_is_short_and_keeps_the_protocol() -> None:
    """Each is made of the past alone and answers a step with calls."""
    made = make(BY_NAME["canary-of-20-bad"], 2)
    past = past_of(made)
    step = Reader(past).read(next(iter(Stream(made).partials())))
    for entry in CONTENDERS:
        assert isinstance(entry.make, type)
        assert len(inspect.getsource(entry.make).splitlines()) < 60
        assert all(isinstance(call, Call) for call in entry.make(past).see(step))


def test_unknown_families_are_refused_by_name() -> None:
    """With the nearest that there is."""
    with pytest.raises(ConfigError, match="x1000-300"):
        chosen(("x1000-30",), False)


def test_the_command_prints_rows_and_writes_a_page(tmp_path: Path) -> None:
    """`--json`: a row a family and contender, and for all; `--html` beside it."""
    asked = ["--family", "ramps-300", "--seeds", "1", "--processes", "1", "--json", "--html", str(tmp_path / "p.html")]
    found = CliRunner().invoke(command, asked)
    assert found.exit_code == 0, found.output
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert [row["family"] for row in rows] == ["ramps-300"] * (len(CONTENDERS) + 1) + ["*"] * (len(CONTENDERS) + 1)
    assert rows[0]["false_per_1000"]["value"] == 0.0
    assert "<svg" in (tmp_path / "p.html").read_text("utf-8")


def test_the_page_of_documents_says_what_rows_hold(three: list[Score]) -> None:
    """docs/bakeoff.md names each key of a row, and no family that is not there."""
    text = (Path(__file__).parents[2] / "docs" / "bakeoff.md").read_text("utf-8")
    keys = row("ramps-300", "ramps", by_family(three)[""][0])
    assert all(f"`{key}`" in text for key in keys)
    tables = text.partition("| guilty in |")[2].partition("**Where it is deaf.**")[0]
    named = {line.split("|")[1].strip() for line in tables.splitlines() if line.startswith("| ")}
    assert len(named & set(BY_NAME)) >= 60
    assert named - set(BY_NAME) <= {"hosts", "nobody guilty in"}
