"""Tables of `andon status`. Text from endpoints is hostile: each cell is plain text, control characters escaped."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from rich.cells import cell_len
from rich.console import ConsoleOptions, Group, JustifyMethod, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from pipeline.runtime.logging import printable

STACKED_BELOW = 150  # columns of the screen; from there on, words have a column of their own
NARROWEST = 16  # of the first column

Cell = str | Text
Lines = list[list[Segment]]


class Column(NamedTuple):
    """`from_width`: narrower screens leave it out. A "figure" is never cut, "words" (the last column) may be long."""

    name: str
    kind: Literal["name", "figure", "words"] = "name"
    from_width: int = 0

    def fits(self, width: int) -> bool:
        """Whether a screen of this width has it."""
        return width >= self.from_width


def figure(name: str, from_width: int = 0) -> Column:
    """A column of numbers."""
    return Column(name, "figure", from_width)


def table(width: int, title: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> RenderableType:
    """Figures and states are never cut: names are folded, and on a screen that is not wide, words stand below the
    row that they are about, from edge to edge."""
    kept = [(column, cells) for column, *cells in zip(columns, *rows, strict=True) if column.fits(width)]
    words: Sequence[Cell] = ()
    if kept[-1][0].kind == "words" and width < STACKED_BELOW:
        words = kept.pop()[1]
    own = [column for column, _ in kept]
    widths = [max(cell_len(column.name), *(cell_len(str(each)) for each in cells), 0) for column, cells in kept]
    if own[-1].kind != "words":
        widths[0] = max(NARROWEST, min(widths[0], width - sum(widths[1:]) - len(widths)))
    whole = _grid(own, widths if words else None)
    whole.add_row(*(Text(column.name, style="bold") for column in own))
    parts: list[RenderableType] = [Text(title, style="bold"), whole]
    for number, row in enumerate(zip(*(cells for _, cells in kept), strict=True)):
        if words and words[number - 1] and number:  # words are below the row before: a table of its own begins
            whole = _grid(own, widths)
            parts.append(whole)
        whole.add_row(*row)
        if words and words[number]:
            parts.append(Padding(words[number], (0, 0, 0, 2)))
    return Group(*parts)


def _grid(columns: Sequence[Column], widths: Sequence[int] | None) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        justify: JustifyMethod = "right" if column.kind == "figure" else "left"
        fixed = widths[number] if widths else None
        grid.add_column(justify=justify, overflow="fold", no_wrap=column.kind == "figure", width=fixed)
    return grid


def drawn(console: Any, options: ConsoleOptions, part: RenderableType) -> Lines:
    """As lines of the screen."""
    lines: Lines = console.render_lines(part, options.update(height=None), pad=False)
    return lines


def cell(text: str) -> Text:
    """Hostile text as a cell: no markup, no control characters."""
    return Text(printable(text))
