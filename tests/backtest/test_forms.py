"""Forms of files that people have: each is read as what it plainly is, and the summary says what was made of it."""

import codecs
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.backtest_lines import NOW_MS, line

from pipeline.backtest import forms
from pipeline.backtest.lines import batches
from pipeline.backtest.main import command
from pipeline.runtime.errors import ConfigError
from pipeline.wire.elements import Elements
from pipeline.wire.events import MAX_MESSAGE_BYTES

ROWS = [line(number, NOW_MS + 1_000 * number) for number in range(300)]
TEXT = b"\n".join(ROWS).decode()


def read(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The events in the order in which they are read, and what was said about the file."""
    said: list[str] = []
    rows = [row for batch in batches(str(path), lambda _: None, said.append) for row in batch]
    return [json.loads(row) for row in rows], said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (TEXT.encode("utf-8-sig"), ["byte_order_mark"]),
        (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"), ["utf_16"]),
        (codecs.BOM_UTF16_BE + TEXT.replace("\n", "\r\n").encode("utf-16-be"), ["utf_16"]),
        (json.dumps([json.loads(row) for row in ROWS]).encode(), ["list"]),
        (json.dumps([json.loads(row) for row in ROWS], indent=2).encode("utf-16"), ["utf_16", "list"]),
        (b"\n [%s]\n[%s]" % (b",".join(ROWS[:100]), b",\n".join(ROWS[100:])), ["list"]),
        (b"\n".join(reversed(ROWS)), ["newest_first"]),
        (b"[%s]" % b",".join(reversed(ROWS)), ["list", "newest_first"]),
        (TEXT.encode(), []),
    ],
    ids=[
        "utf-8",
        "utf-16-le",
        "utf-16-be",
        "list",
        "utf-16 list",
        "lists",
        "newest first",
        "newest first list",
        "plain",
    ],
)
def test_every_form_holds_the_same_events(content: bytes, said: list[str], tmp_path: Path) -> None:
    """Read in the order of time, and said once."""
    path = tmp_path / "events"
    path.write_bytes(content)
    assert read(path) == ([json.loads(row) for row in ROWS], said)


def test_a_file_in_no_order_is_left_as_it_is(tmp_path: Path) -> None:
    """Host after host, each from old to new: times go up nearly everywhere."""
    path, rows = tmp_path / "events", [*ROWS[200:], *ROWS[100:200], *ROWS[:100]]
    path.write_bytes(b"\n".join(rows))
    assert read(path) == ([json.loads(row) for row in rows], [])


def test_too_much_to_turn_round_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than decided in the wrong order."""
    path = tmp_path / "events"
    path.write_bytes(b"\n".join(reversed([line(number, NOW_MS + number * 1_000) for number in range(9_000)])))
    monkeypatch.setattr(forms, "MAX_TURNED_BYTES", 1_000_000)
    with pytest.raises(ConfigError, match="newest first"):
        read(path)


values = st.recursive(
    st.none() | st.integers() | st.text(alphabet='"\\[]{},aé\n', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(st.lists(values.filter(lambda value: value is not None), max_size=4)), st.integers(1, 30), st.booleans()
)
def test_lists_are_cut_into_their_elements(lists: list[list[Any]], piece: int, ascii_only: bool) -> None:
    """However the stream is cut into pieces, and whatever brackets and quotes its texts hold."""
    stream = b"\n".join(json.dumps(each, ensure_ascii=ascii_only).encode() for each in lists)
    elements, found = Elements(), []
    for start in range(0, len(stream), piece):
        found += elements.feed(stream[start : start + piece])
    assert [json.loads(raw) for raw in found + elements.finish()] == [value for each in lists for value in each]


def test_a_list_is_read_in_bounded_memory() -> None:
    """A text of ten megabytes is one oversized element, and what follows is read; what is cut off is an element too."""
    elements, found = Elements(), []
    for piece in (b'[{"a":"', *[b"x" * 100_000] * 100, b'\\"}]"},{"b":', b'1},{"c'):
        found += elements.feed(piece)
        assert len(elements._rest) <= MAX_MESSAGE_BYTES + 1
    assert [len(found[0]) > MAX_MESSAGE_BYTES, *found[1:]] == [True, b'{"b":1}']
    assert elements.finish() == [b'{"c']


def summary(*arguments: str, stdin: bytes) -> dict[str, Any]:
    """The last line of `--json`."""
    result = CliRunner().invoke(command, ["-", "--json", *arguments], input=stdin)
    last: dict[str, Any] = json.loads(result.output.splitlines()[-1])
    return last


def test_the_summary_names_what_it_does_not_rest_on() -> None:
    """Reasons, words, and the first example of each; hosts whose clocks are ahead; crashes that came too late."""
    update = {"vendor": "v", "product": "p", "version": "1", "installed_at": NOW_MS + 7_200_000}
    crash = {"kind": "crash", "signature": {"code": "0x1", "module": "a.sys"}}
    rows = [
        *ROWS,
        line(300, ring=""),
        line(301, NOW_MS + 301_000, region=None),
        line(302, NOW_MS + 302_000, updates=[update]),
        line(303, NOW_MS - 2 * 86_400_000, **crash),
        line(304, NOW_MS + 302_000, **crash),
        line(305, NOW_MS + 303_000, host="h304", **crash),
        line(306, NOW_MS * 2),
    ]
    found = summary(stdin=b"\n".join(rows))
    assert (found["events"], found["rejected"]) == (305, 2)
    assert found["rejected_by_reason"] == {"empty_text": 1, "future_timestamp": 1}
    assert found["mended"] == {"null_text": 1}
    assert (found["first"]["empty_text"]["line"], found["first"]["empty_text"]["detail"]) == (
        301,
        'ring is "": use unassigned',
    )
    assert found["first"]["null_text"]["text"].startswith('{"v": 1, "id": "e301"')
    assert found["noted"]["acme"]["crashes_late"] == found["noted"]["acme"]["crashes_repeated"] == 1
    assert found["noted"]["acme"]["exposures_not_yet"] == 2  # and what the late crash lists
    assert found["noted_first"]["acme"]["crashes_late"] == {"host": "h303", "at": NOW_MS - 2 * 86_400_000}
    hosts = {each["host"]: each["ahead_seconds"] for each in found["clocks_ahead"]["acme"]["furthest"]}
    assert hosts["h302"] == 7_200_000 // 1_000 - 302
    assert hosts["h306"] > 86_400
    assert found["out_of_order"] == 1


def test_people_read_the_same() -> None:
    """A line for each kind, with its first example; nothing where nothing is to say."""
    rows = [*ROWS, line(300, ring=""), line(301, NOW_MS + 301_000, region=None)]
    told = CliRunner().invoke(command, ["-"], input=b"\n".join(rows)).output
    assert "1 lines refused: 1 empty_text" in told
    assert 'empty_text, first in line 301: ring is "": use unassigned' in told
    assert "Mended, so that no event is lost: 1 null_text" in told
    plain = CliRunner().invoke(command, ["-"], input=b"\n".join(ROWS)).output
    assert "refused" not in plain
    assert "Mended" not in plain
