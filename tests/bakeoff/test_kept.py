"""Runs that are kept, so that a bake-off which is cut off is taken up where it stopped."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.bakeoff import kept
from pipeline.bakeoff.contest.main import command
from pipeline.bakeoff.contest.run import ALL, Score
from pipeline.bakeoff.contest.running import Kept, Task, tasks
from pipeline.bakeoff.families import FAMILIES
from pipeline.bakeoff.spec import Family, Fleet
from pipeline.runtime.errors import ConfigError

FAMILY = Family("kept", "test", Fleet(300))


def scored(contender: str, innocents: int = 0, family: Family = FAMILY) -> Score:
    """What a contender did in the first seed."""
    return Score(family.name, family.kind, 1, contender, 0, 0, 0, None, innocents, 0, 0, 5, 1, (60.5,), 0)


def test_what_has_been_run_is_not_run_again(tmp_path: Path) -> None:
    """Only contenders that the file does not hold, of that family as it was; the newest of two scores counts."""
    path, task = tmp_path / "scores.jsonl", Task(FAMILY, 1, ("andon", "z_test"))
    keep = Kept(path, [FAMILY])
    keep.add([scored("andon", 1)])
    keep.add([scored("andon", 2)])
    again = Kept(path, [FAMILY])
    assert again.missing(task).names == ("z_test",)
    assert again.of(task) == []
    again.add([scored("z_test")])
    assert Kept(path, [FAMILY]).of(task) == [scored("andon", 2), scored("z_test")]
    assert Kept(path, [FAMILY], ["andon"]).missing(task).names == ("andon",)
    changed = FAMILY._replace(hours=11)
    assert Kept(path, [changed]).missing(task._replace(family=changed)).names == ("andon", "z_test")


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    """And what comes after it is whole."""
    path = tmp_path / "scores.jsonl"
    Kept(path, [FAMILY]).add([scored("andon"), scored("z_test")])
    path.write_bytes(path.read_bytes()[:-7])
    assert len(kept.read(path)) == 1
    Kept(path, [FAMILY]).add([scored("cusum")])
    assert [row["contender"] for row in kept.read(path)] == ["andon", "cusum"]


@pytest.mark.parametrize("text", ["[1]\n", "no json\n", '{"family": "kept"}\n'])
def test_another_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """It is not written to either."""
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"--scores .*other\.jsonl"):
        Kept(path, [FAMILY])


def test_small_fleets_are_run_first_and_large_ones_once() -> None:
    """A run that is cut off has most families; three seeds of those that are not too large."""
    todo = tasks(FAMILIES, 3, 1)
    first = [task.family.fleet.hosts for task in todo if task.seed == 1]
    assert len(first) == len(FAMILIES)
    assert first[0] == min(first)
    assert first[-1] == max(first)
    assert {task.family.name for task in todo if task.seed == 3}.isdisjoint({"x10-200000"})


def test_a_report_needs_no_run(tmp_path: Path) -> None:
    """`--no-run` tells what the file holds, and refuses a file that holds nothing."""
    path = tmp_path / "scores.jsonl"
    family = next(family for family in FAMILIES if family.name == "ramps-300")
    Kept(path, [family]).add([scored(name, int(name == "cusum"), family) for name in ALL])
    asked = ["--scores", str(path), "--no-run", "--markdown", "--family", "ramps-300"]
    found = CliRunner().invoke(command, asked)
    assert found.exit_code == 0, found.output
    assert "1 of 3 runs" in found.stderr
    assert "| CUSUM on history | – | 1 |" in found.stdout
    nothing = CliRunner().invoke(command, ["--no-run", "--family", "ramps-300"])
    assert isinstance(nothing.exception, ConfigError)
