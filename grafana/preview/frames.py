"""What a data source answers, as Grafana has it: frames of fields. Pure; kept as JSON."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

Value = float | str | None  # a time is unix milliseconds
Json = dict[str, Any]


class Field(NamedTuple):
    """A column. `kind` is time, number or string; `labels` tell series of one name apart, `name_as_told` is what a
    query's legend makes of them."""

    name: str
    kind: str
    values: Sequence[Value]
    labels: Mapping[str, str] = {}
    name_as_told: str = ""


class Frame(NamedTuple):
    """A table; of a time series the first field is its time."""

    fields: Sequence[Field]

    @property
    def length(self) -> int:
        """How many rows."""
        return len(self.fields[0].values) if self.fields else 0


def from_rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Frame:
    """A table of ClickHouse's: numbers stay numbers, times become milliseconds, all else text."""
    return Frame([_field(name, [row[at] for row in rows]) for at, name in enumerate(names)])


def _field(name: str, values: Sequence[Any]) -> Field:
    found = [value for value in values if value is not None]
    if found and all(isinstance(value, datetime) for value in found):
        return Field(name, "time", [None if v is None else _milliseconds(v) for v in values])
    if all(isinstance(value, int | float) for value in found):
        return Field(name, "number", [None if v is None else float(v) for v in values])
    return Field(name, "string", [None if v is None else _text(v) for v in values])


def _milliseconds(time: datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def series_of(table: Frame) -> list[Frame]:
    """A long table of a time, text and numbers, as series: one for each number and each combination of the text."""
    times = table.fields[0].values
    named = [field for field in table.fields[1:] if field.kind == "string"]
    keys = [tuple(str(field.values[row]) for field in named) for row in range(table.length)]
    found = []
    for key in dict.fromkeys(keys):
        rows = [row for row, other in enumerate(keys) if other == key]
        labels = dict(zip((field.name for field in named), key, strict=True))
        for field in (field for field in table.fields[1:] if field.kind == "number"):
            value = Field(field.name, "number", [field.values[row] for row in rows], labels)
            found.append(Frame([Field("time", "time", [times[row] for row in rows]), value]))
    return found


def from_prometheus(answer: Sequence[Json], legend: str) -> list[Frame]:
    """Series, or the values of now; what is no number is missing."""
    found = []
    for each in answer:
        points = each.get("values") or [each["value"]]
        labels = {name: value for name, value in each["metric"].items() if name != "__name__"}
        told = re.sub(r"\{\{\s*(\w+)\s*\}\}", partial(_label, labels), legend)
        inside = ", ".join(f'{name}="{value}"' for name, value in labels.items())
        told = told or each["metric"].get("__name__", "") + (f"{{{inside}}}" if inside else "") or "Value"
        numbers = [_number(value) for _, value in points]
        found.append(
            Frame(
                [
                    Field("time", "time", [time * 1000 for time, _ in points]),
                    Field("Value", "number", numbers, labels, told),
                ]
            )
        )
    return found


def _label(labels: Mapping[str, str], found: re.Match[str]) -> str:
    return labels.get(found[1], "")


def _number(text: str) -> float | None:
    value = float(text)
    return value if value - value == 0 else None  # neither infinite nor NaN


def matrix(table: Frame, row_field: str, column_field: str, value_field: str, empty: Value) -> Frame:
    """`groupingToMatrix`: a row for each value of one column, a column for each of another."""
    by_name = {field.name: field for field in table.fields}
    rows = list(dict.fromkeys(by_name[row_field].values))
    columns = list(dict.fromkeys(by_name[column_field].values))
    cells = {
        (by_name[row_field].values[at], by_name[column_field].values[at]): by_name[value_field].values[at]
        for at in range(table.length)
    }
    first = Field(f"{row_field}\\{column_field}", "string", rows)
    kind = by_name[value_field].kind
    others = [Field(str(column), kind, [cells.get((row, column), empty) for row in rows]) for column in columns]
    return Frame([first, *others])


def transformed(frames: Sequence[Frame], transformations: Sequence[Json]) -> list[Frame]:
    """Those that the dashboards use. Raises ValueError for another."""
    found = list(frames)
    for each in transformations:
        if each["id"] != "groupingToMatrix":
            raise ValueError(f"the preview knows no transformation {each['id']}")
        options = each["options"]
        empty: Value = 0.0 if options.get("emptyValue") == "zero" else None
        names = options["rowField"], options["columnField"], options["valueField"]
        found = [matrix(frame, *names, empty) for frame in found if frame.length]
    return found


def to_json(frames: Sequence[Frame]) -> list[Any]:
    """To be kept."""
    return [[field._asdict() for field in frame.fields] for frame in frames]


def of_json(kept: Sequence[Any]) -> list[Frame]:
    """What `to_json` gave."""
    return [Frame([Field(**field) for field in fields]) for fields in kept]
