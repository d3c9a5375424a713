"""The README stays what a stranger reads: short, with the two commands, and an account that adds up."""

import re
from pathlib import Path

from pipeline.local import guide

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
MAX_LINES = 150


def test_it_is_short() -> None:
    """What a stranger needs, and no more: everything else has a page of its own."""
    assert len(README.splitlines()) <= MAX_LINES


def test_the_two_commands_stand_first() -> None:
    """`make demo` and `make test` are in the first block of commands."""
    block = re.search(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert block is not None
    assert re.findall(r"^make (\w+)", block[1], re.MULTILINE) == ["demo", "test"]


def test_sections_that_commands_point_to_are_there() -> None:
    """What `andon demo` says at its end about this page."""
    headings = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    assert {guide.HALTS_SECTION, "Ask ClickHouse"} <= set(headings)


def test_the_account_adds_up() -> None:
    """Of the demo's account as it is shown: lost without the halt, less what was lost with it, is what was spared."""
    shown = re.findall(r"(lost by 05:27 UTC without the halt|lost with it|spared) +([\d,]+) hosts", README)
    without, lost, spared = (int(count.replace(",", "")) for _, count in shown)
    assert without - lost == spared
