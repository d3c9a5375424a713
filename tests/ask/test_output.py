"""CSV on its way to a spreadsheet, and JSON on its way to a terminal."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.clickhouse.ask.output import Defused, Terminal
from pipeline.runtime.say import safe, safe_json

TEXTS = st.text(st.sampled_from("=+-@\t\r\n\",'a1＝é"), max_size=6)


def defused(raw: bytes, *cuts: int) -> bytes:
    """What comes out when it comes in pieces."""
    out = io.BytesIO()
    sink = Defused(out)
    for start, end in zip((0, *cuts), (*cuts, len(raw)), strict=True):
        sink.write(raw[start:end])
    sink.close()
    return out.getvalue()


def as_clickhouse(rows: list[list[str | int]]) -> bytes:
    """Text quoted, numbers not."""
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", '=HYPERLINK("http://x","y")'])
def test_a_formula_is_text(text: str) -> None:
    """In a row or in the header; numbers and text that only contains one stay."""
    rows: list[list[str | int]] = [[text, -1, "a" + text, ""]]
    (found,) = csv.reader(io.StringIO(defused(as_clickhouse(rows)).decode(), newline=""))
    assert found == ["'" + text, "-1", "a" + text, ""]


@given(st.lists(st.lists(TEXTS | st.integers(-9, 9), min_size=2, max_size=3), max_size=4), st.data())
def test_cells_stay_cells_wherever_the_answer_is_cut(rows: list[list[str | int]], data: st.DataObject) -> None:
    """Quotes, commas and line breaks in cells, and pieces that end anywhere, change nothing else."""
    raw = as_clickhouse(rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=4)))
    found = list(csv.reader(io.StringIO(defused(raw, *cuts).decode(), newline="")))
    begins = tuple("=+-@\t\r\n＝")
    assert found == [
        ["'" + cell if isinstance(cell, str) and cell.startswith(begins) else str(cell) for cell in row] for row in rows
    ]


def test_json_on_a_terminal_is_json() -> None:
    """Escapes that a program can read, too, wherever a character is cut."""
    raw = json.dumps({"a": "\x9b1m\u202e"}, ensure_ascii=False).encode()
    for cut in range(len(raw)):
        out = io.BytesIO()
        sink = Terminal(out, safe_json)
        sink.write(raw[:cut])
        sink.write(raw[cut:])
        assert json.loads(out.getvalue()) == {"a": "\x9b1m\u202e"}
        assert out.getvalue().isascii()
    out = io.BytesIO()
    Terminal(out, safe).write(b"\xff\x1b")
    assert out.getvalue() == b"\\xff\\x1b"
