"""An answer for people: a table while it fits the terminal, else one row below the other; hostile text escaped."""

from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from consumers.clickhouse.ask.answer import Answer
from consumers.clickhouse.ask.shown import Column, Shown, fitted
from pipeline.runtime.console import SafeConsole, stdout_console


def show(answer: Answer, notes: str = "") -> None:
    """On standard output: folded to the terminal's width, if it is one; in a pipe one line a row, as it came. `notes`
    stand below it on a terminal."""
    out = stdout_console()
    out.print(laid_out(answer, out))
    more = f", the first {len(answer.rows):,} shown" if answer.total > len(answer.rows) else ""
    out.print(f"{answer.total:,} row{'' if answer.total == 1 else 's'}{more}")
    if notes and out.is_terminal:
        out.print(Text(notes, style="dim"))


def laid_out(answer: Answer, out: SafeConsole) -> RenderableType:
    """For this console."""
    if not out.is_terminal:
        return _table(Shown(answer, is_short=False))
    shown = fitted(answer, out.width)
    if shown is None:
        return _upright(Shown(answer, is_short=True))
    if shown.has_lines:
        return _with_lines(shown)
    return _table(shown)


def _table(shown: Shown) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD)
    for column in shown.columns:
        table.add_column(Text(column.name), justify="right" if column.is_figure else "left", overflow="fold")
    for row in zip(*(column.cells for column in shown.columns), strict=True):
        table.add_row(*map(Text, row))
    return table


def _with_lines(shown: Shown) -> RenderableType:
    """What every row has first, then rows, with lines of their own above and below them."""
    parts: list[RenderableType] = []
    if shown.same:
        parts.append(Text(f"every row: {', '.join(shown.same)}", style="dim"))
    parts.append(_row(shown, [column.name for column in shown.columns], "bold"))
    told = ""
    for number in range(shown.rows):
        above, below = _of(shown.above, number), _of(shown.below, number)
        if above != told:
            parts.append(Text(above))
        told = above
        parts.append(_row(shown, [column.cells[number] for column in shown.columns]))
        if below:
            parts.append(Padding(Text(below), (0, 0, 0, 2)))
    return Group(*parts)


def _of(column: Column | None, number: int) -> str:
    return column.cells[number] if column is not None else ""


def _row(shown: Shown, cells: list[str], style: str = "") -> Table:
    grid = Table.grid(padding=(0, shown.gap, 0, 0), pad_edge=False)
    for column in shown.columns:
        justify: Any = "right" if column.is_figure else "left"
        grid.add_column(justify=justify, overflow="fold", width=column.width, vertical="bottom" if style else "top")
    grid.add_row(*(Text(cell, style=style) for cell in cells))
    return grid


def _upright(shown: Shown) -> RenderableType:
    """One row below the other, a name and its value a line."""
    names = max(cell_len(column.name) for column in shown.columns)
    parts: list[RenderableType] = []
    for number in range(shown.rows):
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=names, style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for column in shown.columns:
            grid.add_row(Text(column.name), Text(column.cells[number]))
        parts += [Rule(str(number + 1), align="left", style="dim"), grid]
    return Group(*parts)
