"""What Grafana makes of a query's text before a server sees it: variables, as `templateSrv` and the two data sources
put them in, then the macros of grafana/clickhouse-datasource (`pkg/macros/macros.go`). Faithful where Grafana is
careless, too: of the formats only `percentencode` lets no value out of its quotes
(`decodeURLComponent('${name:percentencode}')`); `singlequote` and `sqlstring` leave a backslash as it is, and the data
source looks for macros in values as well."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

ALL = "$__all"  # the value of a variable whose choice is "All"
Value = str | Sequence[str]
_VARIABLE = re.compile(r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?::([^}]+))?\}", re.ASCII)
_CONDITIONAL = "$__conditionalAll"
_PLAIN = re.compile(r"\$(\w+)|\$\{(\w+)\}", re.ASCII)


class MacroError(ValueError):
    """A query that Grafana would not send as it is meant: it names what."""


class Span(NamedTuple):
    """What the dashboard shows, and how far apart its points are."""

    start_ms: int
    end_ms: int
    interval_ms: int


def expand(sql: str, *, start_ms: int, end_ms: int, interval_ms: int, variables: Mapping[str, Value]) -> str:
    """The SQL that ClickHouse gets. A variable of several values is a sequence; ALL is one that only
    `$__conditionalAll` takes. Raises MacroError on an unknown macro, variable or format."""
    span = Span(start_ms, end_ms, interval_ms)
    known = {"__from": str(start_ms), "__to": str(end_ms), **_intervals(interval_ms)}
    text = _without_conditions(sql, variables)
    for name in re.findall(r"\$__(\w+)", text, re.ASCII):
        if name not in _MACROS and f"__{name}" not in known:
            raise MacroError(f"no macro $__{name}")
    text = _interpolated(text, {**variables, **known}, _listed, {f"__{name}" for name in _MACROS})
    for name, macro in _MACROS.items():
        text = _applied(text, name, macro, span)
    return text


def expand_promql(
    expression: str,
    *,
    start_ms: int,
    end_ms: int,
    interval_ms: int,
    variables: Mapping[str, Value],
    scrape_ms: int = 5_000,
) -> str:
    """The PromQL that Prometheus gets; `scrape_ms` is the data source's `timeInterval`. Values of variables that allow
    several (sequences) are escaped for a regular expression. Raises MacroError as `expand`."""
    range_ms = end_ms - start_ms
    rate_ms = max(interval_ms + scrape_ms, 4 * scrape_ms)
    known = {
        **_intervals(interval_ms),
        "__rate_interval": f"{rate_ms // 1000}s",
        "__range": f"{round(range_ms / 1000)}s",
        "__range_s": str(round(range_ms / 1000)),
        "__range_ms": str(range_ms),
    }
    return _interpolated(expression, {**variables, **known}, _in_promql, set())


def _intervals(interval_ms: int) -> dict[str, str]:
    return {"__interval": _duration(interval_ms), "__interval_ms": str(interval_ms)}


def _duration(length_ms: int) -> str:
    """In the largest unit of which it has one, without what is left: as Grafana writes an interval."""
    units = (("y", 31_536_000_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))
    return next(f"{length_ms // size}{unit}" for unit, size in units if length_ms >= size)


def _interpolated(text: str, variables: Mapping[str, Value], plain: Callable[[Value], str], macros: set[str]) -> str:
    def put(found: re.Match[str]) -> str:
        name = found[1] or found[2] or found[4]
        if name in macros and found[1]:
            return found[0]
        if name not in variables:
            raise MacroError(f"no variable {name}: {found[0]}")
        value = variables[name]
        if value == ALL or (not isinstance(value, str) and ALL in value):
            raise MacroError(f"variable {name} is {ALL}: only {_CONDITIONAL} takes that; give the values it stands for")
        form = found[3] or found[5]
        if form and form not in _FORMATS:
            raise MacroError(f"no format {form}: {found[0]}")
        return _FORMATS[form](value) if form else plain(value)

    return _VARIABLE.sub(put, text)


def _each(escape: Callable[[str], str], between: str = ",") -> Callable[[Value], str]:
    return lambda value: escape(value) if isinstance(value, str) else between.join(map(escape, value))


def _percent_encoded(value: Value) -> str:
    text = value if isinstance(value, str) else "{" + ",".join(value) + "}"
    return quote(text, safe="")


def _sql_string(value: str) -> str:
    return "'" + value.replace("'", "''").replace('"', '\\"') + "'"


_FORMATS: Mapping[str, Callable[[Value], str]] = {
    "csv": _each(str),
    "json": lambda value: (
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    ),
    "percentencode": _percent_encoded,
    "raw": _each(str),
    "singlequote": _each(lambda each: "'" + each.replace("'", "\\'") + "'"),
    "sqlstring": _each(_sql_string),
}


def _listed(value: Value) -> str:
    """As the ClickHouse data source puts a variable in that names no format: nothing is escaped."""
    return value if isinstance(value, str) else "'" + "','".join(value) + "'"


def _in_promql(value: Value) -> str:
    """As the Prometheus data source does: for a string in double quotes, of a regular expression if there may be
    several; neither escapes a double quote."""
    if isinstance(value, str):
        return value.replace("\\", "\\\\").replace("'", "\\\\'")
    escaped = [re.sub(r"[$^*{}\[\]+?.()|]", r"\\\\\g<0>", each.replace("\\", "\\\\\\\\")) for each in value]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _arguments(text: str, start: int) -> tuple[list[str], int]:
    """What stands between the parentheses that open at `start`, split at their own commas, and where they end; nothing
    where none open. Quotes do not count, as in Grafana."""
    if not text.startswith("(", start):
        return [], start
    found, depth = [""], 0
    for at in range(start, len(text)):
        char = text[at]
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return [argument.strip() for argument in found], at + 1
        if char == "," and depth == 1:
            found.append("")
        elif at > start:
            found[-1] += char
    raise MacroError(f"a parenthesis is not closed: {text[start:][:60]}")


def _without_conditions(sql: str, variables: Mapping[str, Value]) -> str:
    """`$__conditionalAll(condition, $name)`, which the browser expands, from the last to the first."""
    while (at := sql.rfind(_CONDITIONAL)) >= 0:
        arguments, end = _arguments(sql, at + len(_CONDITIONAL))
        plain = _PLAIN.fullmatch(arguments[1]) if len(arguments) == 2 else None
        if plain is None:
            raise MacroError(f"{_CONDITIONAL} takes a condition and a plain variable: {sql[at:end]}")
        name = plain[1] or plain[2]
        if name not in variables:
            raise MacroError(f"no variable {name}: {sql[at:end]}")
        if re.search(r"\$[$&`']", arguments[0]):  # which JavaScript's replace takes for its own
            raise MacroError(f"{_CONDITIONAL} cannot hold $$, $&, $` or $': {arguments[0]}")
        value = variables[name]
        is_all = (value if isinstance(value, str) else ",".join(value)) in ("", ALL)
        sql = sql[:at] + ("1=1" if is_all else arguments[0]) + sql[end:]
    return sql


Macro = Callable[[Span, Sequence[str]], str]


def _applied(text: str, name: str, macro: Macro, span: Span) -> str:
    at = 0
    while (found := re.compile(rf"\$__{name}\b", re.ASCII).search(text, at)) is not None:
        arguments, end = _arguments(text, found.end())
        put = macro(span, arguments)
        text, at = text[: found.start()] + put + text[end:], found.start() + len(put)
    return text


def _seconds(time_ms: int) -> str:
    return f"toDateTime({time_ms // 1000})"


def _milliseconds(time_ms: int) -> str:
    return f"fromUnixTimestamp64Milli({time_ms})"


def _day(time_ms: int) -> str:
    return f"toDate('{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d}')"


def _own(arguments: Sequence[str], count: int) -> Sequence[str]:
    if len(arguments) != count or not all(arguments):
        raise MacroError(f"a macro takes {count} arguments, not {list(arguments)}")
    return arguments


def _between(time: Callable[[int], str]) -> Macro:
    def macro(span: Span, arguments: Sequence[str]) -> str:
        (column,) = _own(arguments, 1)
        return f"{column} >= {time(span.start_ms)} AND {column} <= {time(span.end_ms)}"

    return macro


def _day_and_time(span: Span, arguments: Sequence[str]) -> str:
    days, times = _own(arguments, 2)
    return f"({_between(_day)(span, [days])}) AND ({_between(_seconds)(span, [times])})"


def _interval_seconds(span: Span) -> int:
    return max(1, span.interval_ms // 1000)


_MACROS: Mapping[str, Macro] = {
    "dateFilter": _between(_day),
    "dateTimeFilter": _day_and_time,
    "dt": _day_and_time,
    "fromTime": lambda span, _: _seconds(span.start_ms),
    "fromTime_ms": lambda span, _: _milliseconds(span.start_ms),
    "interval_s": lambda span, _: str(_interval_seconds(span)),
    "timeFilter": _between(_seconds),
    "timeFilter_ms": _between(_milliseconds),
    "timeInterval": lambda span, arguments: (
        f"toStartOfInterval(toDateTime({_own(arguments, 1)[0]}), INTERVAL {_interval_seconds(span)} second)"
    ),
    "timeInterval_ms": lambda span, arguments: (
        f"toStartOfInterval(toDateTime64({_own(arguments, 1)[0]}, 3), INTERVAL {max(1, span.interval_ms)} millisecond)"
    ),
    "toTime": lambda span, _: _seconds(span.end_ms),
    "toTime_ms": lambda span, _: _milliseconds(span.end_ms),
}
