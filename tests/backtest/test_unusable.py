"""Input of which nothing, or hardly anything, is an event is no pass: exit code 1, whatever was or was not found."""

import json

import pytest
from click.testing import CliRunner, Result
from support.backtest_lines import line

from pipeline.backtest.main import command


def run(*arguments: str, stdin: bytes) -> Result:
    return CliRunner().invoke(command, ["-", *arguments], input=stdin)


@pytest.mark.parametrize("as_json", [(), ("--json",)])
@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        (b"", "the input holds no event and no line"),
        (b"\n \n", "nothing was judged"),
        (bytes(range(256)) * 40, "was an event ("),
        (b"\n".join(line(number, v=2) for number in range(300)), "no line of 300 was an event (300 unknown_version)"),
        (
            b"\n".join([*map(line, range(100)), *(line(number, ring=None) for number in range(101))]),
            "only 100 of 201 lines were events (101 wrong_type)",
        ),
    ],
)
def test_what_holds_no_events_is_no_pass(stdin: bytes, words: str, as_json: tuple[str, ...]) -> None:
    """Counts and reasons are in the error, and the summary is there all the same; nobody reads "No halt."."""
    result = run(*as_json, stdin=stdin)
    assert result.exit_code == 1
    assert words in str(result.exception)
    if as_json:
        found = json.loads(result.output.splitlines()[-1])
        assert (found["type"], found["halts"]) == ("summary", 0)
    elif "only" not in words:
        assert "No halt" not in result.output


def test_some_bad_lines_are_no_reason_to_fail() -> None:
    """A file that is mostly events is judged by them."""
    result = run(stdin=b"\n".join([*map(line, range(100)), b"nonsense", line(7, v=2)]))
    assert result.exit_code == 0
    assert "No halt" in result.output
