"""What commands print cannot drive a terminal, whoever wrote the text: lines, JSON, tables, tracebacks."""

import io
import json

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.runtime.console import console
from pipeline.runtime.say import safe, safe_json, say, say_json, say_traceback

HOSTILE = "a\x1b]0;x\x07\x9b31m\u202egpj\u2066\x00\r\u2028é"


def test_a_line_keeps_its_layout_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    """Line breaks and tabs pass; controls and marks of direction are told as escapes."""
    say(HOSTILE + "\n\tb")
    assert capsys.readouterr().out == "a\\x1b]0;x\\x07\\x9b31m\\u202egpj\\u2066\\x00\\r\\u2028é\n\tb\n"
    say(HOSTILE, err=True)
    assert "\\x9b31m" in capsys.readouterr().err


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.dictionaries(st.text(), inner)))
def test_json_means_the_same_and_is_printable(value: object) -> None:
    """Escaped as JSON escapes: a program reads what it would have read."""
    said = safe_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(said) == value
    assert safe(said) == said


def test_rows_of_json_are_safe(capsys: pytest.CaptureFixture[str]) -> None:
    """A line a row, with C1 controls and marks of direction escaped; numbers of numpy are numbers."""
    say_json({"text": HOSTILE, "n": numpy.float64(1.5), "m": numpy.int64(2)})
    said = capsys.readouterr().out
    assert said[:-1].isprintable()
    assert json.loads(said) == {"text": HOSTILE, "n": 1.5, "m": 2}
    with pytest.raises(TypeError, match="no JSON for object"):
        say_json(object())


def test_what_rich_prints_is_safe_too() -> None:
    """Text that nobody has escaped before, in colour on a terminal: rich's own sequences pass, its text's do not."""
    out = io.StringIO()
    shown = console(out, 200)
    shown._force_terminal = True
    shown.print("[red]" + HOSTILE.replace("[", "") + "[/red]\nb")
    said = out.getvalue()
    assert "\x9b" not in said
    assert "\u202e" not in said
    assert "\x1b]0" not in said
    assert "\nb" in said


def test_an_exception_quotes_nothing_raw(capsys: pytest.CaptureFixture[str]) -> None:
    """The traceback of what nobody expected."""
    try:
        raise RuntimeError(HOSTILE)
    except RuntimeError as error:
        say_traceback(type(error), error, error.__traceback__)
    said = capsys.readouterr().err
    assert "RuntimeError: a\\x1b]0;x" in said
    assert safe(said) == said
