"""A dashboard as a page: its panels where its JSON puts them, at the width of a screen. Pure."""

from collections.abc import Iterator
from html import escape

from grafana.preview.frames import Json, of_json, transformed
from grafana.preview.parts import inside

COLUMNS, UNIT_PIXELS, GAP_PIXELS = 24, 30, 8  # as Grafana's grid has them
EDGE_PIXELS, TOP_PIXELS, HEAD_PIXELS, FRAME_PIXELS = 16, 92, 34, 8

NOTE = "A preview for review, drawn from the dashboard's JSON and what real servers answered. It is not Grafana."


def page(board: Json, answer: Json, width: int, style: str) -> str:
    """HTML of the whole dashboard, for a window of that width, in the style of page.css."""
    parts = [*_placed(board, answer, width)]
    chosen = "".join(
        f"<span>{escape(name)}: {escape('All' if value == '$__all' else value or '-')}</span>"
        for name, value in answer["values"].items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(board["title"])} (preview)</title>'
        f'<style>{style}</style><body style="position:relative;width:{width}px;height:{height_of(board)}px">'
        f'<div class="note">{NOTE}</div>'
        f'<div class="top"><b>{escape(board["title"])}</b> {escape(board["time"]["from"])} to now'
        f"<div>{chosen}</div></div>{''.join(parts)}</body></html>"
    )


def height_of(board: Json) -> int:
    """Of its page, in pixels."""
    lowest: int = max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in board["panels"])
    return TOP_PIXELS + lowest * (UNIT_PIXELS + GAP_PIXELS) + EDGE_PIXELS


def _placed(board: Json, answer: Json, width: int) -> Iterator[str]:
    column = (width - 2 * EDGE_PIXELS - GAP_PIXELS * (COLUMNS - 1)) / COLUMNS
    for panel in board["panels"]:
        at = panel["gridPos"]
        left = EDGE_PIXELS + at["x"] * (column + GAP_PIXELS)
        top = TOP_PIXELS + at["y"] * (UNIT_PIXELS + GAP_PIXELS)
        wide = at["w"] * column + (at["w"] - 1) * GAP_PIXELS
        tall = at["h"] * UNIT_PIXELS + (at["h"] - 1) * GAP_PIXELS
        if panel["type"] == "row":
            mark = "▸" if panel.get("collapsed") else "▾"
            yield f'<div class="row" style="left:{left:.0f}px;top:{top}px">{mark} {escape(panel["title"])}</div>'
            continue
        where = f"left:{left:.1f}px;top:{top}px;width:{wide:.1f}px;height:{tall}px"
        yield f'<section class="panel" style="{where}"><h2 title="{escape(panel["description"])}">'
        yield f'{escape(panel["title"])}</h2><div class="in">{_inside(panel, answer, wide, tall)}</div></section>'


def _inside(panel: Json, answer: Json, wide: float, tall: float) -> str:
    found = answer["panels"][str(panel["id"])]
    if found["error"]:
        return f'<div class="empty error">{escape(found["error"])}</div>'
    frames = transformed(of_json(found["frames"]), panel.get("transformations", ()))
    room = int(wide) - 2 * FRAME_PIXELS - 2, int(tall) - HEAD_PIXELS - FRAME_PIXELS - 2
    return inside(panel, frames, answer, *room)
