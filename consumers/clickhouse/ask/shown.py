"""An answer as it is to be read, and what makes it narrower: each step leaves less to stand side by side."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from rich.cells import cell_len

from consumers.clickhouse.ask.answer import Answer, Pairs
from pipeline.runtime.logging import printable

SENTENCE = "reason"  # a column whose text has a line of its own
UPDATE = ("vendor", "product", "version")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d)(:\d\d)(\.\d+)?")
_AROUND = re.compile(r"^((LowCardinality|Nullable|SimpleAggregateFunction)\((\w+, )?)+")  # what a type is wrapped in


class Column:
    """Its name may have several lines. `is_figure`: to the right."""

    def __init__(self, name: str, kind: str, cells: list[str]) -> None:
        self.name, self.cells = name, cells
        self.is_figure = kind.startswith(("Int", "UInt", "Float", "BFloat", "Decimal"))
        self.is_float, self.is_time = kind.startswith(("Float", "BFloat")), kind.startswith("DateTime")

    @property
    def width(self) -> int:
        """Where nothing is folded."""
        return max(map(cell_len, [*self.name.split("\n"), *self.cells]))


class Shown:
    """Names and cells as they are to be read. `is_short`: times to the second, or the minute where no second says
    more. `same` is what every row has, `above` and `below` what stands on a line of its own before and after each row;
    `gap` are the columns of the screen between two of the table."""

    def __init__(self, answer: Answer, is_short: bool) -> None:
        kinds = [_AROUND.sub("", kind) for kind in answer.types]
        cells = [[_cell(row[at], kind) for row in answer.rows] for at, kind in enumerate(kinds)]
        self.columns = [Column(_text(n), k, c) for n, k, c in zip(answer.names, kinds, cells, strict=True)]
        self.rows, self.gap = len(answer.rows), 2
        self.same: list[str] = []
        self.above: Column | None = None
        self.below: Column | None = None
        for column in self.columns if is_short else ():
            if column.is_time:
                column.cells = shortened(column.cells)

    @property
    def width(self) -> int:
        """Of a table in which nothing is folded."""
        return sum(column.width + self.gap for column in self.columns)

    def _take(self, name: str) -> Column | None:
        found = next((column for column in self.columns if column.name == name), None)
        if found is not None and len(self.columns) > 1:
            self.columns.remove(found)
            return found
        return None

    # -- the steps

    def sentences_below(self) -> None:
        """A long text stands below its row, from edge to edge."""
        self.below = self._take(SENTENCE)

    def lift_days(self) -> None:
        """A day that all times of a column are on goes into its name."""
        for column in self.columns:
            days = {each.partition(" ")[0] for each in column.cells if each}
            if column.is_time and len(days) == 1:
                column.name += f"\n{days.pop()}"
                column.cells = [each.partition(" ")[2] for each in column.cells]

    def fold_names(self) -> None:
        """At their underscores, where a name is wider than what stands below it."""
        for column in self.columns:
            inside = max(map(cell_len, column.cells), default=0)
            column.name = "\n".join(_folded(line, inside) for line in column.name.split("\n"))

    def lift_same(self) -> None:
        """What every row has is told once; an update in one piece."""
        alike = [column for column in self.columns if self.rows > 1 and len(set(column.cells)) == 1]
        if not set(UPDATE) <= {column.name for column in alike}:
            alike = [column for column in alike if column.name not in UPDATE]
        for column in alike:
            if len(self.columns) > 1:
                self.columns.remove(column)
                self.same.append(f"{column.name.partition(chr(10))[0]} {column.cells[0]}".strip())

    def updates_above(self) -> None:
        """Vendor, product and version stand together, on a line above the rows that they are about."""
        names = [column.name for column in self.columns]
        if not set(UPDATE) < set(names):
            return
        parts = [self.columns.pop([c.name for c in self.columns].index(name)) for name in UPDATE]
        cells = ["/".join(row) for row in zip(*(part.cells for part in parts), strict=True)]
        self.above = Column("update", "String", cells)

    def fewer_digits(self) -> None:
        """Two significant ones, and less room between columns."""
        self.gap = 1
        for column in self.columns:
            if column.is_float:
                column.cells = [_two_digits(each) for each in column.cells]


STEPS: Sequence[Callable[[Shown], None]] = (
    Shown.sentences_below,
    Shown.lift_days,
    Shown.lift_same,
    Shown.fold_names,
    Shown.updates_above,
    Shown.fewer_digits,
)


def fitted(answer: Answer, width: int) -> Shown | None:
    """With as few steps as make it fit; None when none do."""
    shown = Shown(answer, is_short=True)
    if shown.width <= width:
        return shown
    for step in STEPS:
        step(shown)
        if shown.width <= width:
            return shown
    return None


def shortened(times: Sequence[str]) -> list[str]:
    """Moments of one column, without what none of them needs."""
    found = [_MOMENT.fullmatch(each) for each in times]
    seconds = 3 if any(moment and moment[3] != ":00" for moment in found) else 2
    return [
        each if moment is None else f"{moment[1]} " + "".join(moment.group(*range(2, seconds + 1)))
        for each, moment in zip(times, found, strict=True)
    ]


def _folded(name: str, width: int) -> str:
    """In lines that are no wider than this, or than its longest word."""
    words = re.findall(r"[^_]*_|[^_]+$", name)
    room = max([width, *map(cell_len, words)])
    lines = [""]
    for word in words:
        if lines[-1] and cell_len(lines[-1] + word) > room:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def _two_digits(cell: str) -> str:
    try:
        figure = float(cell)
    except ValueError:
        return cell
    return f"{figure:.0f}" if 10 <= abs(figure) < 1e15 else f"{figure:.2g}"


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
