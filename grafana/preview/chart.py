"""Series over time as SVG: lines, bars, bands, limits, moments. Pure."""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from typing import NamedTuple

from grafana.preview.frames import Frame, Json, Value
from grafana.preview.values import PALETTE, Config, config_of, name_of, text_of

FOOT_PIXELS, TOP_PIXELS, RIGHT_PIXELS, DIGIT_PIXELS = 22, 8, 8, 7
_STEPS_MS = [1000 * each for each in (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200,
                                      86_400, 172_800, 432_000, 604_800)]  # fmt: skip


class Series(NamedTuple):
    """One line: its points, its name, its colour and what the panel says of it."""

    name: str
    points: Sequence[tuple[float, Value]]
    colour: str
    config: Config


class Place(NamedTuple):
    """Of the picture, and what it spans; `left` is the room of its numbers."""

    left: int
    width: int
    height: int
    start_ms: float
    end_ms: float
    low: float
    high: float

    def x(self, time_ms: float) -> float:
        """Pixels from the left."""
        room = self.width - self.left - RIGHT_PIXELS
        return self.left + room * (time_ms - self.start_ms) / (self.end_ms - self.start_ms)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        room = self.height - FOOT_PIXELS - TOP_PIXELS
        return TOP_PIXELS + room * (1 - (value - self.low) / (self.high - self.low))


def series_of(panel: Json, frames: Sequence[Frame]) -> list[Series]:
    """All that a panel shows, in the order of its colours."""
    found: list[Series] = []
    for frame in frames:
        times = [field for field in frame.fields if field.kind == "time"]
        for field in (field for field in frame.fields if field.kind == "number" and times):
            name = name_of(panel, field, frames)
            config = config_of(panel, name, field.kind)
            if (config.get("custom.hideFrom") or {}).get("viz"):
                continue
            fixed = (config.get("color") or {}).get("fixedColor", "")
            points = [(float(time or 0), value) for time, value in zip(times[0].values, field.values, strict=True)]
            found.append(Series(name, points, fixed or PALETTE[len(found) % len(PALETTE)], config))
    return found


def drawn(panel: Json, series: Sequence[Series], answer: Json, width: int, height: int) -> str:
    """The whole of it."""
    bars = [each for each in series if each.config.get("custom.drawStyle") == "bars"]
    heights = _stacked(bars)
    place = _place(panel, series, heights, answer, width, height)
    parts = [*_grid(panel, place), *_moments(answer, place)]
    for each in bars:
        parts += _bars(each, heights, place)
    for each in series:
        if each not in bars:
            parts += _line(each, series, place)
    parts += _limits(panel, place)
    return f'<svg width="{width}" height="{height}" role="img">{"".join(parts)}</svg>'


Heights = dict[tuple[str, float], tuple[float, float]]


def _stacked(bars: Sequence[Series]) -> Heights:
    """By name and time, from where to where each bar goes."""
    found: Heights = {}
    reached: dict[float, float] = {}
    for each in bars:
        for time, value in each.points:
            if isinstance(value, float):
                start = reached.get(time, 0.0)
                reached[time] = start + value
                found[each.name, time] = start, start + value
    return found


def _place(panel: Json, series: Sequence[Series], heights: Heights, answer: Json, width: int, height: int) -> Place:
    values = [v for each in series for _, v in each.points if isinstance(v, float)] + [
        top for _, top in heights.values()
    ]
    defaults = panel["fieldConfig"]["defaults"]
    low = defaults.get("min", min([*values, 0.0]) if heights else min(values, default=0.0))
    high = defaults.get("max", max(values, default=1.0))
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value: room around it
        room = 0.1 * max(abs(low), abs(high)) or 1.0
        low, high = low - room if low else 0.0, high + room
    step = _nice((high - low) / max(2, height // 45))
    first, last = math.floor(low / step), math.ceil(high / step)
    low, high = first * step, max(last, first + 1) * step
    ticks = [len(_tick(panel, low + at * step)) for at in range(round((high - low) / step) + 1)]
    return Place(DIGIT_PIXELS * max(ticks) + 14, width, height, answer["start_ms"], answer["end_ms"], low, high)


def _tick(panel: Json, value: float) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    return text_of(round(value, 12), defaults.get("unit", ""), defaults.get("decimals"))


def _nice(size: float) -> float:
    power: float = 10 ** math.floor(math.log10(size))
    return next(power * each for each in (1, 2, 5, 10) if power * each >= size)


def _grid(panel: Json, place: Place) -> Iterator[str]:
    step = _nice((place.high - place.low) / max(2, place.height // 45))
    count = round((place.high - place.low) / step)
    for at in range(count + 1):
        value = place.low + at * step
        y = place.y(value)
        yield f'<line class="grid" x1="{place.left}" x2="{place.width - RIGHT_PIXELS}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{place.left - 6}" y="{y + 4:.1f}" text-anchor="end">'
        yield f"{escape(_tick(panel, value))}</text>"
    span = place.end_ms - place.start_ms
    wide = next((each for each in _STEPS_MS if span / each <= max(2, place.width / 110)), _STEPS_MS[-1])
    words = "%H:%M:%S" if wide < 60_000 else "%H:%M" if span <= 86_400_000 else "%m-%d"
    time = math.ceil(place.start_ms / wide) * wide
    while time <= place.end_ms:
        x, text = place.x(time), f"{datetime.fromtimestamp(time / 1000, UTC):{words}}"
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP_PIXELS}" y2="{place.height - FOOT_PIXELS}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{place.height - 6}" text-anchor="middle">{text}</text>'
        time += wide


def _moments(answer: Json, place: Place) -> Iterator[str]:
    for each in answer["annotations"]:
        if place.start_ms <= each["time"] <= place.end_ms:
            x = place.x(each["time"])
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP_PIXELS}" y2="{place.height - FOOT_PIXELS}" '
            yield f'stroke="{escape(each["colour"])}" stroke-dasharray="3 3">'
            yield f"<title>{escape(each['text'])}</title></line>"


def _bars(each: Series, heights: Heights, place: Place) -> Iterator[str]:
    times = sorted({time for time, _ in each.points})
    gap = min((b - a for a, b in pairwise(times)), default=place.end_ms - place.start_ms)
    wide = max(1.0, 0.8 * (place.x(place.start_ms + gap) - place.left))
    wide = min(wide, place.width / 8)
    for time, value in each.points:
        if isinstance(value, float) and value and place.start_ms <= time <= place.end_ms:
            bottom, top = (place.y(at) for at in heights[each.name, time])
            yield f'<rect x="{place.x(time) - wide / 2:.1f}" y="{top:.1f}" width="{wide:.1f}" '
            yield f'height="{max(0.5, bottom - top):.1f}" fill="{each.colour}" fill-opacity="0.8"/>'


def _line(each: Series, others: Sequence[Series], place: Place) -> Iterator[str]:
    opacity = float(each.config.get("custom.fillOpacity") or 0) / 100
    line_width = each.config.get("custom.lineWidth", 1)
    below = each.config.get("custom.fillBelowTo", "")
    floor = next((other for other in others if other.name == below), None)
    is_stepped = each.config.get("custom.lineInterpolation") == "stepAfter"
    for run in _runs(each, place):
        at = [(place.x(time), place.y(value)) for time, value in run]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_stepped(at) if is_stepped else at))
        if line_width and len(at) > 1:
            yield f'<polyline points="{path}" fill="none" stroke="{each.colour}" stroke-width="{line_width}"/>'
        if opacity and len(at) > 1:
            back = _floor(floor, place) or [
                (at[-1][0], place.y(max(0.0, place.low))),
                (at[0][0], place.y(max(0.0, place.low))),
            ]
            ground = " ".join(f"{x:.1f},{y:.1f}" for x, y in back)
            yield f'<polygon points="{path} {ground}" fill="{each.colour}" fill-opacity="{opacity}"/>'
        shows = each.config.get("custom.showPoints", "auto")
        if len(at) == 1 or shows == "always":
            size = each.config.get("custom.pointSize", 5) / 2
            yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{each.colour}"/>' for x, y in at)


def _floor(floor: Series | None, place: Place) -> list[tuple[float, float]]:
    if floor is None:
        return []
    return [(place.x(time), place.y(value)) for time, value in reversed(floor.points) if isinstance(value, float)]


def _stepped(at: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    for (x, y), (next_x, _) in pairwise(at):
        yield x, y
        yield next_x, y
    yield at[-1]


def _runs(each: Series, place: Place) -> Iterator[list[tuple[float, float]]]:
    """Points that a line connects: broken where a value is missing, or for longer than `spanNulls` allows."""
    spans = each.config.get("custom.spanNulls", False)
    run: list[tuple[float, float]] = []
    for time, value in each.points:
        inside = place.start_ms <= time <= place.end_ms
        is_far = run and not isinstance(spans, bool) and time - run[-1][0] > max(spans, 1) and len(each.points) > 1
        is_break = (not isinstance(value, float) and spans is False) or not inside
        if run and (is_break or (is_far and not isinstance(value, float))):
            yield run
            run = []
        if isinstance(value, float) and inside:
            run.append((time, value))
    if run:
        yield run


def _limits(panel: Json, place: Place) -> Iterator[str]:
    if not panel["fieldConfig"]["defaults"].get("custom", {}).get("thresholdsStyle"):
        return
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is not None and place.low <= step["value"] <= place.high:
            y = place.y(step["value"])
            yield f'<line x1="{place.left}" x2="{place.width - RIGHT_PIXELS}" y1="{y:.1f}" y2="{y:.1f}" '
            yield f'stroke="{escape(step["color"])}"/>'
