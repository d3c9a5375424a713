"""The preview: what it makes of answers, by example; and that it knows all that the dashboards use."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.grafana.boards import BOARDS, Json, panels

from grafana.model.kinds import big, lines
from grafana.model.panels import Column
from grafana.preview.frames import Field, Frame, from_prometheus, from_rows, matrix, of_json, series_of, to_json
from grafana.preview.page import NOTE, height_of, page
from grafana.preview.values import Config, config_of, look, name_of, text_of

SPAN: Json = {"start_ms": 1_721_361_600_000, "end_ms": 1_721_365_200_000, "annotations": [], "alerts": [], "values": {}}
HOSTILE = "<script>alert(1)</script>\"'&"
EMPTY: Json = {"frames": [], "error": ""}
MOMENTS = (1_721_361_660_000.0, 1_721_365_100_000.0)


def board_of(*made: Json) -> Json:
    """A dashboard of these panels, one below the other."""
    placed = [panel | {"id": at, "gridPos": {"x": 0, "y": 8 * at, "w": 12, "h": 8}} for at, panel in enumerate(made, 1)]
    return {"title": "T", "time": {"from": "now-1h"}, "panels": placed}


def drawn(panel: Json, *frames: Frame, **more: Any) -> str:
    """The page of one panel."""
    answer = SPAN | {"panels": {"1": {"frames": to_json(frames), "error": ""}}} | more
    return page(board_of(panel), answer, 1280, "")


def series(name: str, *values: float | None, **labels: str) -> Frame:
    """Two points in the hour."""
    return Frame([Field("time", "time", MOMENTS), Field(name, "number", values, labels)])


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "text"),
    [
        (5.0, "none", None, "5"), (0.12345, "none", None, "0.123"), (31.0, "none", 1, "31.0"),
        (1234.0, "short", None, "1.23 K"), (12_000_000.0, "short", None, "12 Mil"), (950.0, "short", None, "950"),
        (0.5, "percentunit", 0, "50%"), (7.34, "percentunit", None, "734%"), (0.9931, "percentunit", 2, "99.31%"),
        (0.0370, "s", None, "37 ms"), (42.6, "s", None, "42.6 s"), (90.0, "s", None, "1.5 mins"),
        (7200.0, "s", None, "2 hours"), (200_000.0, "s", 1, "2.3 days"), (2.5e-5, "s", None, "25 µs"),
        (3.2e7, "s", 0, "1 years"), (120.0, "ops", None, "120 ops/s"), (3.0, "cpm", None, "3 c/m"),
        (7384.0, "dtdurations", None, "2 hours, 3 minutes"), (0.0, "dtdurations", None, "0 seconds"),
        (1_721_361_600_000.0, "dateTimeAsIso", None, "2024-07-19 04:00:00"), ("a", "s", None, "a"),
        (3.0 * 2**20, "bytes", None, "3 MiB"), (512.0, "bytes", None, "512 B"),
    ],
)  # fmt: skip
def test_units(value: float | str, unit: str, decimals: int | None, text: str) -> None:
    """In Grafana's words."""
    assert text_of(value, unit, decimals) == text


def test_a_unit_that_it_does_not_know_is_an_error() -> None:
    """Rather than a picture that is wrong."""
    with pytest.raises(ValueError, match="furlongs"):
        text_of(1.0, "furlongs")


def test_looks() -> None:
    """The step that is reached, the word of a mapping and its colour, a fixed colour; nothing is "no value"."""
    steps = {"steps": [{"value": None, "color": "blue"}, {"value": 1, "color": "red"}]}
    plain = Config({"unit": "none", "thresholds": steps, "noValue": "none waits"})
    assert look(0.0, plain) == ("0", "blue")
    assert look(1.0, plain) == ("1", "red")
    assert look(None, plain).text == look("", plain).text == "none waits"
    words = {"0": {"text": "NOTHING"}, "halted": {"text": "HALTED", "color": "red"}}
    says = Config({"mappings": [{"type": "value", "options": words}]})
    assert look(0.0, says).text == "NOTHING"
    assert look("halted", says) == ("HALTED", "red")
    assert look(3.0, Config({"color": {"mode": "fixed", "fixedColor": "pink"}, "unit": "none"})) == ("3", "pink")


def test_series_of_a_long_table() -> None:
    """One for each number and each text; named as Grafana names them."""
    rows = [(MOMENTS[0], "broad", 1, 2.0), (MOMENTS[0], "canary", 3, None), (MOMENTS[1], "broad", 5, 6.0)]
    found = series_of(from_rows(["time", "ring", "hosts", "rate"], rows))
    assert [(frame.fields[1].name, frame.fields[1].labels["ring"], frame.fields[1].values) for frame in found] == [
        ("hosts", "broad", [1.0, 5.0]), ("rate", "broad", [2.0, 6.0]), ("hosts", "canary", [3.0]),
        ("rate", "canary", [None]),
    ]  # fmt: skip
    panel = lines("t", "d").json(1, {})
    assert [name_of(panel, frame.fields[1], found) for frame in found][:2] == ["hosts broad", "rate broad"]
    panel["fieldConfig"]["defaults"]["displayName"] = "${__field.labels.ring}"
    assert name_of(panel, found[0].fields[1], found) == "broad"


def test_prometheus_answers() -> None:
    """Series and values of now; the legend's labels; what is no number is missing."""
    answer = [{"metric": {"__name__": "up", "stage": "combine"}, "values": [[1.5, "1"], [2.5, "NaN"]]}]
    (named,) = from_prometheus(answer, "{{stage}} up")
    assert named.fields[1].values == [1.0, None]
    assert named.fields[0].values == [1500.0, 2500.0]
    assert named.fields[1].name_as_told == "combine up"
    (plain,) = from_prometheus([{"metric": {"stage": "x"}, "value": [1, "2"]}], "")
    assert plain.fields[1].name_as_told == '{stage="x"}'


def test_a_matrix() -> None:
    """`groupingToMatrix`: ring by model."""
    frame = from_rows(["ring", "model", "crashed"], [("a", "m", 1), ("b", "n", 2)])
    found = matrix(frame, "ring", "model", "crashed", 0.0)
    assert [(field.name, list(field.values)) for field in found.fields] == [
        ("ring\\model", ["a", "b"]), ("m", [1.0, 0.0]), ("n", [0.0, 2.0]),
    ]  # fmt: skip


@given(st.lists(st.tuples(st.text(max_size=5), st.none() | st.floats(allow_nan=False, allow_infinity=False))))
def test_answers_are_kept_whole(rows: list[tuple[str, float | None]]) -> None:
    """What is written is what is read."""
    frame = from_rows(["a", "b"], rows)
    assert of_json(to_json([frame])) == [frame]


def test_it_says_what_it_is() -> None:
    """First of all, on every page."""
    text = drawn(big("t", "d").json(1, {}))
    assert "It is not Grafana" in NOTE
    assert text.index(NOTE) < text.index("<section")


@pytest.mark.parametrize("kind", ["stat", "table", "series", "alerts", "error", "moment"])
def test_hostile_text_stays_text(kind: str) -> None:
    """Names of endpoints, of series, errors of servers: none is markup."""
    hostile = from_rows([HOSTILE], [(HOSTILE,)])
    if kind == "stat":
        text = drawn(big("t", "d", fields="/.*/", values=True, text_mode="value_and_name").json(1, {}), hostile)
    elif kind == "table":
        text = drawn(table_of(), hostile)
    elif kind == "series":
        text = drawn(lines("t", "d").json(1, {}), series("hosts", 1.0, 2.0, version=HOSTILE))
    elif kind == "alerts":
        alerts = [{"name": HOSTILE, "severity": HOSTILE, "state": HOSTILE, "text": HOSTILE}]
        (panel,) = [p for p in panels(BOARDS["andon-response"]) if p["type"] == "alertlist"]
        text = drawn(panel, alerts=alerts)
    elif kind == "error":
        text = drawn(lines("t", "d").json(1, {}), panels={"1": {"frames": [], "error": HOSTILE}})
    else:
        moments = [{"time": MOMENTS[0], "text": HOSTILE, "colour": HOSTILE}]
        text = drawn(
            lines("t", "d").json(1, {}), series("hosts", 1.0, 2.0), annotations=moments, values={HOSTILE: HOSTILE}
        )
    assert "script&gt;" in text
    assert "<script" not in text
    assert HOSTILE not in text


def table_of() -> Json:
    """Any table of the dashboards."""
    return next(panel for panel in panels(BOARDS["andon-incident"]) if panel["type"] == "table")


def test_a_table_says_what_does_not_fit() -> None:
    """Rows below its edge, and columns beyond it."""
    panel = table_of() | {"fieldConfig": {"defaults": {"unit": "none", "noValue": "x"}, "overrides": []}}
    text = drawn(panel, from_rows([f"c{n}" for n in range(30)], [tuple(range(30))] * 40))
    assert "34 rows below, scrolls; wider than its panel, scrolls" in text
    assert "scrolls" not in drawn(panel, from_rows(["a"], [(1,)]))


def test_lines_break_where_nothing_is() -> None:
    """A missing value breaks the line if the panel does not bridge it; hidden series are not drawn."""
    panel = lines("t", "d", custom={"spanNulls": False}).json(1, {})
    moments = [MOMENTS[0] + each * 60_000 for each in range(5)]
    frame = Frame([Field("time", "time", moments), Field("n", "number", [1.0, 2.0, None, 3.0, 4.0])])
    assert drawn(panel, frame).count("<polyline") == 2
    bridged = lines("t", "d", custom={"spanNulls": True}).json(1, {})
    assert drawn(bridged, frame).count("<polyline") == 1
    hidden = lines("t", "d", columns={"n": Column(hidden=True)}).json(1, {})
    assert drawn(hidden, frame).count("<polyline") == 0


@given(st.lists(st.none() | st.floats(-1e15, 1e15), min_size=2, max_size=2))
def test_any_numbers_make_a_picture(values: list[float | None]) -> None:
    """However near to each other, however small."""
    text = drawn(lines("t", "d").json(1, {}), series("n", *values))
    assert "<svg" in text
    assert "nan" not in text


@pytest.mark.parametrize("uid", BOARDS)
def test_it_knows_all_that_the_dashboards_use(uid: str) -> None:
    """Kinds, units, matchers, transformations: a page of every dashboard, empty and with something in every panel."""
    board = BOARDS[uid] | {"panels": list(panels(BOARDS[uid]))}  # rows that are closed as if they were open
    answers = {str(panel["id"]): EMPTY for panel in panels(board)}
    text = page(board, SPAN | {"panels": answers}, 1920, "")
    assert text.count("<section") == len(list(panels(board)))
    for panel in panels(board):
        names = [name for each in panel["fieldConfig"]["overrides"] if (name := each["matcher"]["options"])]
        if panel["type"] == "table":
            frames = [from_rows(["ring", "model", "crashed hosts", *names], [("a", "b", 1.0, *[0.5] * len(names))])]
        else:
            frames = [series(name, 0.5, 0.7) for name in names or ["n"]]
        answers[str(panel["id"])] = {"frames": to_json(frames), "error": ""}
    assert 'class="empty error"' not in page(board, SPAN | {"panels": answers}, 1280, "")


@pytest.mark.parametrize("uid", BOARDS)
@pytest.mark.parametrize("width", [1280, 1920])
def test_panels_stand_where_the_json_puts_them(uid: str, width: int) -> None:
    """In 24 columns, none over another, none beyond the screen or the page's end."""
    board = BOARDS[uid]
    answer = SPAN | {"panels": {str(panel["id"]): EMPTY for panel in panels(board)}}
    text = page(board, answer, width, "")
    found = [
        tuple(map(float, each))
        for each in re.findall(
            r'class="panel" style="left:([\d.]+)px;top:(\d+)px;width:([\d.]+)px;height:(\d+)px', text
        )
    ]
    assert len(found) == text.count('class="panel"')
    for at, (left, top, wide, tall) in enumerate(found):
        assert left + wide <= width - 15
        assert top + tall <= height_of(board)
        for other_left, other_top, other_wide, other_tall in found[:at]:
            is_beside = left >= other_left + other_wide or other_left >= left + wide
            assert is_beside or top >= other_top + other_tall or other_top >= top + tall


def test_overrides_by_type() -> None:
    """As Grafana matches them; another matcher is an error."""
    override = {"matcher": {"id": "byType", "options": "string"}, "properties": [{"id": "noValue", "value": "–"}]}
    panel: Json = {"fieldConfig": {"defaults": {"noValue": "nothing"}, "overrides": [override]}}
    assert config_of(panel, "a", "string").get("noValue") == "–"
    assert config_of(panel, "a", "number").get("noValue") == "nothing"
    override["matcher"]["id"] = "byFrameRefID"  # type: ignore[index]
    with pytest.raises(ValueError, match="byFrameRefID"):
        config_of(panel, "a", "string")


def test_the_style_is_there() -> None:
    """What the pages are shown in."""
    style = (Path(__file__).parents[3] / "grafana" / "preview" / "page.css").read_text("utf-8")
    used = set(re.findall(r'class="(\w+)', drawn(table_of())))
    assert used <= set(re.findall(r"\.(\w+)", style))
