"""The entry point, for every command."""

import io
import sys

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
