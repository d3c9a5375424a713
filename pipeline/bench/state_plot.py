"""How large a fleet's state is by updates times strata, as a picture. Both axes are logarithmic: linear is a line."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, RIGHT, FOOT = 640, 360, 72, 16, 60, 44
COLOURS = ("#0f6cbd", "#b35900", "#4b7a47")
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1c2733}.grid{stroke:#d8dde3}.goal{stroke:#8a94a3;stroke-dasharray:4 4}"
)
GOAL_BYTES = 50_000  # of each live update, at most


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """SVG of the rows of `andon bench decide` that say `updates`, `strata` and `bytes`; dashed: GOAL_BYTES an update,
    with the most strata."""
    return "".join(_parts(rows)) + "\n"


def _parts(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    cells = [row["updates"] * row["strata"] for row in rows]
    strata = sorted({row["strata"] for row in rows})
    goal = [(row["updates"] * strata[-1], row["updates"] * GOAL_BYTES) for row in rows if row["strata"] == strata[-1]]
    across = range(math.floor(math.log10(min(cells))), math.ceil(math.log10(max(cells))) + 1)
    sizes = [row["bytes"] for row in rows] + [size for _, size in goal]
    up = range(math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes))) + 1)

    def x(count: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(count) - across[0]) / (across[-1] - across[0])

    def y(size: float) -> float:
        return HEIGHT - FOOT - (HEIGHT - TOP - FOOT) * (math.log10(size) - up[0]) / (up[-1] - up[0])

    def line(points: Sequence[tuple[float, float]], look: str) -> str:
        return f'<polyline fill="none" {look} points="{" ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)}"/>'

    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><style>{STYLE}</style>'
    yield f'<title>Bytes of state by updates times strata</title><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    for power in across:
        yield f'<line class="grid" x1="{x(10**power):.1f}" x2="{x(10**power):.1f}" y1="{TOP}" y2="{HEIGHT - FOOT}"/>'
        yield _text(x(10**power), HEIGHT - FOOT + 16, f"{10**power:,}", "middle")
    for power in up:
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(10**power):.1f}" y2="{y(10**power):.1f}"/>'
        yield _text(LEFT - 6, y(10**power) + 4, _size(10**power), "end")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "live updates × strata", "middle")
    yield line(goal, 'class="goal"')
    yield _text(x(goal[-1][0]) + 6, y(goal[-1][1]) + 4, f"{_size(GOAL_BYTES)} an update", "start")
    for colour, many in zip(COLOURS, strata, strict=True):
        points = [(row["updates"] * many, row["bytes"]) for row in rows if row["strata"] == many]
        yield line(points, f'stroke="{colour}" stroke-width="2"')
        yield from (f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="{colour}"/>' for a, b in points)
    for place, (colour, many) in enumerate(zip(COLOURS, strata, strict=True)):
        yield f'<rect x="{LEFT + 12}" y="{TOP + 8 + 18 * place}" width="14" height="4" fill="{colour}"/>'
        yield _text(LEFT + 32, TOP + 14 + 18 * place, f"{many} strata", "start")
    yield "</svg>"


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _size(size: int) -> str:
    return f"{size // 10**6:,} MB" if size >= 10**6 else f"{size // 10**3:,} kB"
