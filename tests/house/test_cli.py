"""The entry point, for every command."""

import io
import re
import sys
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from pipeline import cli


def test_an_output_that_knows_no_arrows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the terminal cannot show becomes a question mark and ends nothing."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    monkeypatch.setattr(sys, "argv", ["andon", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    Console(width=40).print("α → 1e-6")
    sys.stdout.flush()
    assert written.getvalue().endswith(b"? ? 1e-6\n")


def test_what_builds_is_pinned() -> None:
    """The build's own requirements and the tool that installs them are those of constraints.txt, hashes and all; what
    else the Makefile fetches is one version."""
    root = Path(__file__).parents[2]
    locked = set(re.findall(r"^\S+==[^\s;]+", (root / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    wanted = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    assert set(wanted) <= locked
    assert any(each.startswith("uv==") for each in locked)
    makefile = (root / "Makefile").read_text("utf-8")
    fetched = re.findall(r"^\t.*(?:pip install .*|tool run .*--from) (\S+)", makefile, re.MULTILINE)
    assert fetched
    assert all("==" in each for each in fetched)
