"""An answer for people: a table while it fits the terminal, else one row below the other; hostile text escaped."""

import re
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from consumers.clickhouse.ask.answer import Answer, Pairs
from pipeline.runtime.console import SafeConsole, stdout_console
from pipeline.runtime.logging import printable

SENTENCE = "reason"  # a column whose text has a line of its own
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d)(:\d\d)(\.\d+)?")
_AROUND = re.compile(r"^((LowCardinality|Nullable|SimpleAggregateFunction)\((\w+, )?)+")  # what a type is wrapped in
_BETWEEN = 2  # columns of the screen, between two of the table


class Shown:
    """Names and cells as they are to be read. `is_short`: times to the second, or the minute where no second says
    more."""

    def __init__(self, answer: Answer, is_short: bool) -> None:
        kinds = [_AROUND.sub("", kind) for kind in answer.types]
        self.names = list(map(_text, answer.names))
        self.is_figure = [kind.startswith(("Int", "UInt", "Float", "BFloat", "Decimal")) for kind in kinds]
        self._is_time = [kind.startswith("DateTime") for kind in kinds]
        self.columns = [[_cell(row[at], kind) for row in answer.rows] for at, kind in enumerate(kinds)]
        if is_short:
            times = zip(self.columns, self._is_time, strict=True)
            self.columns = [shortened(column) if is_time else column for column, is_time in times]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """By row, in the order of the names."""
        return list(zip(*self.columns, strict=True))

    def lift_days(self) -> None:
        """A day that all times of a column are on goes into its name."""
        for at, is_time in enumerate(self._is_time):
            days = {each.partition(" ")[0] for each in self.columns[at] if each}
            if is_time and len(days) == 1:
                self.names[at] += f"\n{days.pop()}"
                self.columns[at] = [each.partition(" ")[2] for each in self.columns[at]]

    def width(self, leave_out: str = "") -> int:
        """Of a table in which nothing is folded."""
        wanted = [self.width_of(at) for at, name in enumerate(self.names) if name != leave_out]
        return sum(wanted) + _BETWEEN * len(wanted)

    def width_of(self, at: int) -> int:
        """Of a column in which nothing is folded."""
        return max(map(cell_len, [*self.names[at].split("\n"), *self.columns[at]]))


def shortened(times: Sequence[str]) -> list[str]:
    """Moments of one column, without what none of them needs."""
    found = [_MOMENT.fullmatch(each) for each in times]
    seconds = 3 if any(moment and moment[3] != ":00" for moment in found) else 2
    return [
        each if moment is None else f"{moment[1]} " + "".join(moment.group(*range(2, seconds + 1)))
        for each, moment in zip(times, found, strict=True)
    ]


def show(answer: Answer) -> None:
    """On standard output: folded to the terminal's width, if it is one; in a pipe one line a row, as it came."""
    out = stdout_console()
    out.print(laid_out(answer, out))
    more = f", the first {len(answer.rows):,} shown" if answer.total > len(answer.rows) else ""
    out.print(f"{answer.total:,} row{'' if answer.total == 1 else 's'}{more}")


def laid_out(answer: Answer, out: SafeConsole) -> RenderableType:
    """For this console."""
    if not out.is_terminal:
        return _table(Shown(answer, is_short=False), "")
    shown = Shown(answer, is_short=True)
    if shown.width(SENTENCE) > out.width:
        shown.lift_days()
    if shown.width(SENTENCE) > out.width:
        return _upright(Shown(answer, is_short=True))
    return _table(shown, SENTENCE if shown.width() > out.width else "")


def _table(shown: Shown, below: str) -> RenderableType:
    """`below`: the column that stands below its row, from edge to edge."""
    if below:
        return _with_sentences(shown, below)
    table = Table(box=box.SIMPLE_HEAD)
    for name, is_figure in zip(shown.names, shown.is_figure, strict=True):
        table.add_column(Text(name), justify="right" if is_figure else "left", overflow="fold")
    for row in shown.rows:
        table.add_row(*map(Text, row))
    return table


def _with_sentences(shown: Shown, below: str) -> RenderableType:
    kept = [at for at, name in enumerate(shown.names) if name != below]
    words = shown.names.index(below)
    parts: list[RenderableType] = []
    for number, row in enumerate([tuple(shown.names), *shown.rows]):
        grid = Table.grid(padding=(0, _BETWEEN, 0, 0))
        for at in kept:
            justify: Any = "right" if shown.is_figure[at] else "left"
            grid.add_column(justify=justify, overflow="fold", width=shown.width_of(at))
        grid.add_row(*(Text(row[at], style="" if number else "bold") for at in kept))
        parts.append(grid)
        if number and row[words]:
            parts.append(Padding(Text(row[words]), (0, 0, 0, 2)))
    return Group(*parts)


def _upright(shown: Shown) -> RenderableType:
    """One row below the other, a name and its value a line."""
    names = max(map(cell_len, shown.names))
    parts: list[RenderableType] = []
    for number, row in enumerate(shown.rows, 1):
        grid = Table.grid(padding=(0, _BETWEEN, 0, 0))
        grid.add_column(width=names, style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in zip(shown.names, row, strict=True):
            grid.add_row(Text(name), Text(value))
        parts += [Rule(str(number), align="left", style="dim"), grid]
    return Group(*parts)


def _cell(value: Any, kind: str = "") -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.4g}"
        case Pairs():
            return "{" + ", ".join(f"{_text(key)}: {_cell(of)}" for key, of in value.pairs) + "}"
        case list():
            left, right = "()" if kind.startswith("Tuple(") else "[]"
            return left + ", ".join(map(_cell, value)) + right
    if "Float" in kind[:6]:  # JSON writes a whole float as an integer, and what is no number as text
        return f"{float(value):.4g}"
    return _text(str(value))


def _text(text: str) -> str:
    return printable(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
