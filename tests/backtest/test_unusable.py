"""Input of which nothing, or hardly anything, is an event is no pass: exit code 1, whatever was or was not found."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.backtest_lines import NOW_MS, line

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


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        (b"fleet,host,ts,kind\nacme,h,1764000000000,boot\n", "the file looks like CSV"),
        (line().decode().encode("utf-16-le"), "the file is UTF-16 without its mark"),
        (b'{"events": [' + line() + b"]}", 'the events stand in "events" of one object'),
        (b"hello\n", "send JSON objects, one a line"),
    ],
    ids=["csv", "utf-16", "wrapped", "words"],
)
def test_other_forms_are_told_what_to_do(stdin: bytes, words: str) -> None:
    """In the words of the gateway."""
    result = run(stdin=stdin)
    assert result.exit_code == 1
    assert words in str(result.exception)


def test_some_bad_lines_are_no_reason_to_fail() -> None:
    """A file that is mostly events is judged by them."""
    result = run(stdin=b"\n".join([*map(line, range(100)), b"nonsense", line(7, v=2)]))
    assert result.exit_code == 0
    assert "No halt" in result.output


CRASH = {"kind": "crash", "signature": {"code": "0x1", "module": "a.sys"}}
UNTIMED = [{"vendor": "v", "product": "p", "version": "1"}]
AHEAD = [{"vendor": "v", "product": "p", "version": "1", "installed_at": NOW_MS + 7_200_000}]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (CRASH, "no heartbeat and no boot beside 200 crashes"),
        ({"updates": []}, "no updates are listed"),
        ({"updates": UNTIMED}, "200 times installed_at is missing"),
        ({"updates": AHEAD}, "200 times the installation is later than the report: are clocks"),
    ],
    ids=["only crashes", "no updates", "no installed_at", "clocks"],
)
def test_what_cannot_be_judged_is_no_pass(fields: dict[str, Any], words: str) -> None:
    """Well-formed events of which none says whether an update crashes hosts: the reason comes first, exit code 1."""
    stdin = b"\n".join(line(number, NOW_MS + number, **fields) for number in range(200))
    result = run(stdin=stdin)
    assert result.exit_code == 1
    assert words in str(result.exception)
    assert result.output.startswith("Nothing could be judged: fleet acme: ")
    assert "No halt" not in result.output
    found = json.loads(run("--json", stdin=stdin).output.splitlines()[-1])
    assert found["judged"] == "nothing"
    assert words in found["not_judged"]["acme"]


def test_a_part_that_was_not_judged_is_said_first() -> None:
    """A fleet whose clocks are wrong beside one that is right, and an input that was cut off: judged, in part."""
    rows = [line(number, NOW_MS + number) for number in range(100)]
    rows += [line(number, NOW_MS + number, fleet="off", updates=AHEAD) for number in range(100, 200)]
    stdin = b"\n".join(rows) + b"\n" + line(300)[:-40]
    result = run(stdin=stdin)
    assert result.exit_code == 0
    first, second, third, *_ = result.output.splitlines()
    assert first.startswith("Not all could be judged: fleet off: ")
    assert second.startswith("The input ends in the middle of a line")
    assert third == "No halt."
    found = json.loads(run("--json", stdin=stdin).output.splitlines()[-1])
    assert (found["judged"], [*found["not_judged"]], found["cut_off"]) == ("part", ["off"], True)
    whole = json.loads(run("--json", stdin=b"\n".join(rows[:100])).output.splitlines()[-1])
    assert (whole["judged"], whole["not_judged"], whole["cut_off"]) == ("all", {}, False)


def test_an_update_that_wrong_clocks_hide_is_said_first() -> None:
    """Hosts list an update of long ago, which is judged, and one that seems to come only in two hours."""
    ahead = [{**AHEAD[0], "product": "q"}, {**AHEAD[0], "installed_at": NOW_MS - 3_600_000}]
    rows = [line(number, NOW_MS + number, updates=ahead) for number in range(100)]
    result = run(stdin=b"\n".join(rows))
    assert result.exit_code == 0
    said = "Not all could be judged: fleet acme: clocks or time zones of 100 hosts are wrong"
    assert result.output.startswith(said)
