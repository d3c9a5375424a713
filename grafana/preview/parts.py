"""What stands in a panel, as HTML: a stat, a table, bars, a list of alerts. Pure; all text is escaped."""

from collections.abc import Sequence
from html import escape

from grafana.preview import chart
from grafana.preview.frames import Field, Frame, Json
from grafana.preview.values import Config, Look, config_of, look, name_of

CELL_PIXELS = 36  # of a table with small cells
_LEGEND_SHARE = 0.35  # of a panel, at most: more is scrolled in Grafana
_SEVERITY = {"critical": "#D55E00", "warning": "#E69F00"}


def inside(panel: Json, frames: Sequence[Frame], answer: Json, width: int, height: int) -> str:
    """Raises ValueError for a kind that the preview does not know."""
    kind = panel["type"]
    if kind == "alertlist":
        return _alerts(answer["alerts"], height)
    if not any(frame.length for frame in frames):
        return f'<div class="empty">{escape(panel["fieldConfig"]["defaults"].get("noValue", "No data"))}</div>'
    if kind == "timeseries":
        return _over_time(panel, frames, answer, width, height)
    if kind == "stat":
        return _stat(panel, frames, width, height)
    if kind == "table":
        return _table(panel, frames, width, height)
    if kind == "bargauge":
        return _bars(panel, frames, width, height)
    raise ValueError(f"the preview knows no panel of kind {kind}")


def _over_time(panel: Json, frames: Sequence[Frame], answer: Json, width: int, height: int) -> str:
    series = chart.series_of(panel, frames)
    if not panel["options"]["legend"]["showLegend"]:
        return chart.drawn(panel, series, answer, width, height)
    lines, at = 1, 0
    for each in series:
        wide = 7 * len(each.name) + 34
        lines, at = (lines + 1, wide) if at + wide > width and at else (lines, at + wide)
    room = min(lines * 20 + 4, int(height * _LEGEND_SHARE))
    is_cut = lines * 20 + 4 > room
    entries = "".join(
        f'<span class="key"><i style="background:{escape(each.colour)}"></i>{escape(each.name)}</span>'
        for each in series
        if not (each.config.get("custom.hideFrom") or {}).get("legend")
    )
    cut = '<b class="cut">legend is longer than its room</b>' if is_cut else ""
    legend = f'<div class="legend" style="height:{room}px">{entries}</div>{cut}'
    return chart.drawn(panel, series, answer, width, height - room) + legend


def _reduced(panel: Json, frames: Sequence[Frame]) -> list[tuple[str, Look]]:
    """What a stat or a bar gauge shows: the last of each field that is a number, or of all fields, or every row."""
    options = panel["options"]["reduceOptions"]
    found = []
    for frame in frames:
        for field in frame.fields:
            if field.kind == "time" and len(frame.fields) > 1 and options["fields"] == "":
                continue
            if field.kind == "string" and options["fields"] == "":
                continue
            name = name_of(panel, field, frames)
            values = field.values if options["values"] else [_last(field)]
            found += [(name, look(value, config_of(panel, name, field.kind))) for value in values]
    return found


def _last(field: Field) -> float | str | None:
    return next((value for value in reversed(field.values) if value is not None), None)


def _stat(panel: Json, frames: Sequence[Frame], width: int, height: int) -> str:
    shown = _reduced(panel, frames)
    is_named = len(shown) > 1 or panel["options"]["textMode"] == "value_and_name"
    columns = _across(len(shown), width, height)
    wide = width / columns
    tall = height / -(-len(shown) // columns)
    cells = []
    for name, each in shown:
        room = tall - (26 if is_named else 8)
        size = max(12, min(room * 0.75, wide * 1.35 / max(4, len(each.text)), 90))
        small = max(10, min(14, wide * 1.6 / max(1, len(name))))
        title = f'<div class="name" style="font-size:{small:.0f}px">{escape(name)}</div>' if is_named else ""
        ground = each.colour or "#2c3235"
        cells.append(
            f'<div class="stat" style="width:{wide - 4:.0f}px;height:{tall - 4:.0f}px;background:{escape(ground)}">'
            f'{title}<div style="font-size:{size:.0f}px">{escape(each.text)}</div></div>'
        )
    return f'<div class="stats">{"".join(cells)}</div>'


def _across(count: int, width: int, height: int) -> int:
    """How many stand side by side, so that each is as near to twice as wide as tall as can be."""
    return min(range(1, count + 1), key=lambda n: abs(width / n / (height / -(-count // n)) - 2.2), default=1)


def _table(panel: Json, frames: Sequence[Frame], width: int, height: int) -> str:
    frame = frames[0]
    fields = [(field, config_of(panel, field.name, field.kind)) for field in frame.fields]
    fields = [(field, config) for field, config in fields if not (config.get("custom.hideFrom") or {}).get("viz")]
    asked = [int(config.get("custom.width") or 0) for _, config in fields]
    rest = max(0, width - sum(asked)) / max(1, asked.count(0))
    widths = [each or max(90.0, rest) for each in asked]
    head = "".join(
        f'<th style="width:{wide:.0f}px;text-align:{_side(field, config)}">{escape(field.name)}</th>'
        for (field, config), wide in zip(fields, widths, strict=True)
    )
    rows = []
    for at in range(frame.length):
        cells = []
        for (field, config), wide in zip(fields, widths, strict=True):
            cells.append(_cell(field, at, config, look(field.values[at], config), wide))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    fit = (height - CELL_PIXELS) // CELL_PIXELS
    notes = [f"{frame.length - fit} rows below, scrolls"] if frame.length > fit else []
    notes += ["wider than its panel, scrolls"] if sum(widths) > width + 1 else []
    note = f'<b class="cut">{"; ".join(notes)}</b>' if notes else ""
    table = f'<table style="width:{sum(widths):.0f}px"><tr>{head}</tr>{"".join(rows)}</table>'
    return f'<div class="table" style="height:{height}px">{table}</div>{note}'


def _side(field: Field, config: Config) -> str:
    asked = str(config.get("custom.align") or "auto")
    return asked if asked != "auto" else "right" if field.kind == "number" else "left"


def _cell(field: Field, at: int, config: Config, shown: Look, wide: float) -> str:
    options = config.get("custom.cellOptions") or {}
    kind, value = options.get("type"), field.values[at]
    text = f"<span>{escape(shown.text)}</span>"
    style = f"text-align:{_side(field, config)};width:{wide:.0f}px;max-width:{wide:.0f}px"
    if kind == "color-background" and shown.colour and value is not None:
        style += f";background:{escape(shown.colour)};color:#fff"
    if kind == "gauge" and isinstance(value, float):
        text = f'<i class="gauge" style="width:{max(0.0, min(1.0, value)) * 60:.0f}%"></i>' + text
    wrap = ' class="wrap"' if options.get("wrapText") else ""
    return f'<td{wrap} style="{style}" title="{escape(shown.text)}">{text}</td>'


def _bars(panel: Json, frames: Sequence[Frame], width: int, height: int) -> str:
    shown: list[tuple[str, float, Look, float]] = []
    for frame in frames:
        for field in frame.fields:
            if field.kind != "number":
                continue
            name = name_of(panel, field, frames)
            config = config_of(panel, name, field.kind)
            most = config.get("max") or max((v for v in field.values if isinstance(v, float)), default=1.0)
            values = field.values if panel["options"]["reduceOptions"]["values"] else [_last(field)]
            shown += [(name, v, look(v, config), float(most)) for v in values if isinstance(v, float)]
    highest = max((most for *_, most in shown), default=1.0) or 1.0
    tall = max(24, min(60, height // max(1, len(shown)) - 6))
    named = min(0.45 * width, max((8 * len(name) for name, *_ in shown), default=0) + 10)
    rows = []
    for name, value, each, _ in shown:
        share = max(0.0, min(1.0, value / highest)) * 100
        bar = f'<i style="width:{share:.1f}%;background:{escape(each.colour)}"></i>'
        rows.append(
            f'<div class="bar" style="height:{tall}px">'
            f'<span class="of" style="width:{named:.0f}px">{escape(name)}</span>'
            f'<div>{bar}</div><b style="color:{escape(each.colour)}">{escape(each.text)}</b></div>'
        )
    is_cut = len(rows) * (tall + 6) > height
    return "".join(rows) + ('<b class="cut">more below, scrolls</b>' if is_cut else "")


def _alerts(alerts: Sequence[Json], height: int) -> str:
    if not alerts:
        return '<div class="empty">No alerts matching filters</div>'
    rows = [
        f'<div class="alert"><b style="background:{_SEVERITY.get(each["severity"], "#8C8C8C")}">'
        f"{escape(each['state'])}</b>"
        f"<span>{escape(each['name'])}</span><small>{escape(each['text'])}</small></div>"
        for each in alerts
    ]
    return f'<div class="table" style="height:{height}px">{"".join(rows)}</div>'
