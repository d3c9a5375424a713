"""An answer as it is to be read, and what makes it narrower: each step leaves less to stand side by side."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from rich.cells import cell_len

from consumers.clickhouse.ask.answer import Answer, Pairs
from pipeline.runtime.logging import printable

READABLE = 30  # columns of the screen, of text that is folded
SENTENCE = "reason"  # a column whose text has a line of its own
UPDATE = ("vendor", "product", "version")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d)(:\d\d)(\.\d+)?")
_AROUND = re.compile(r"^((LowCardinality|Nullable|SimpleAggregateFunction)\((\w+, )?)+")  # what a type is wrapped in


class Column:
    """Its name may have several lines. `is_figure`: to the right. `most`: of the screen's columns; text is folded."""

    most = 0

    def __init__(self, name: str, kind: str, cells: list[str]) -> None:
        self.name, self.cells = name, cells
        self._whole, self._day = name, ""
        self.is_figure = kind.startswith(("Int", "UInt", "Float", "BFloat", "Decimal"))
        self.is_float, self.is_time = kind.startswith(("Float", "BFloat")), kind.startswith("DateTime")

    def lift(self, day: str) -> None:
        """It stands below the name, and in no cell."""
        self._day = f"\n{day}"
        self.name += self._day
        self.cells = [each.partition(" ")[2] for each in self.cells]

    def fold_name(self) -> None:
        """At its underscores, where it is wider than what stands below it."""
        inside = max(map(cell_len, [self._day.strip(), *self.cells]))
        self.name = _folded(self._whole, inside) + self._day

    @property
    def width(self) -> int:
        """As wide as its widest cell, unless its text is folded."""
        return self.most or max(map(cell_len, [*self.name.split("\n"), *self.cells]))


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
        """Of the table; a framed one has room at both its ends."""
        return sum(column.width + self.gap for column in self.columns) - (self.gap if self.has_lines else 0)

    @property
    def has_lines(self) -> bool:
        """Whether it is more than columns, or closer: then it has no frame."""
        return bool(self.same or self.above or self.below or self.gap < 2)

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
                column.lift(days.pop())

    def fold_names(self) -> None:
        """At their underscores, where a name is wider than what stands below it."""
        for column in self.columns:
            column.fold_name()

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
            column.fold_name()

    def fold_text(self, width: int) -> bool:
        """The widest text takes what room the others leave; whether that is enough to read."""
        widest = max((column for column in self.columns if not column.is_figure), key=lambda c: c.width, default=None)
        if widest is not None and widest.width - (self.width - width) >= READABLE:
            widest.most = widest.width - (self.width - width)
        return self.width <= width


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
    return shown if shown.fold_text(width) else None


def shortened(times: Sequence[str]) -> list[str]:
    """Moments of one column, without what none of them needs."""
    found = [_MOMENT.fullmatch(each) for each in times]
    seconds = 3 if any(moment and moment[3] != ":00" for moment in found) else 2
    return [
        each if moment is None else f"{moment[1]} " + "".join(moment.group(*range(2, seconds + 1)))
        for each, moment in zip(times, found, strict=True)
    ]


def _folded(name: str, width: int) -> str:
    """In lines that are no wider than this, or than its longest word; between two lines stood an underscore."""
    first, *words = name.split("_")
    room = max(width, *map(cell_len, (first, *words)))
    lines = [first]
    for word in words:
        if cell_len(lines[-1]) + 1 + cell_len(word) <= room:
            lines[-1] += f"_{word}"
        else:
            lines.append(word)
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
