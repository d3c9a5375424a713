"""What the doctor prints for people: colours on a terminal, plain words elsewhere, and no escape of somebody else's."""

import io
import sys

import pytest

from pipeline.doctor.finding import ok, problem, unchecked
from pipeline.doctor.main import show

FINDINGS = [ok("kafka", "is there"), problem("gateway", "says [red]\x1b[2J", "see its log")]
PLAIN = """\
ok              kafka    is there
problem         gateway  says [red]\\x1b[2J
                         → see its log
1 problem
"""


def test_what_was_not_looked_at_is_not_well(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line, which is all that many read, says that something could not be known."""
    show([FINDINGS[0], unchecked("halts", "fleet.halts cannot be read")])
    assert capsys.readouterr().out.endswith("\nall well; 1 not checked\n")


class Terminal(io.StringIO):
    """As wide as any."""

    def isatty(self) -> bool:
        return True


def test_in_a_pipe_it_is_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    """No colour, and none that was escaped."""
    show(FINDINGS)
    assert capsys.readouterr().out == PLAIN


def test_on_a_terminal_levels_are_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    """By real sequences; the text of others has none."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal())
    show(FINDINGS)
    shown = sys.stdout.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[32mok" in shown
    assert "\x1b[31mproblem" in shown
    assert "\x1b[2J" not in shown
