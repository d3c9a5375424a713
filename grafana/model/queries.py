"""What panels ask: PromQL, and SQL of ClickHouse with the macros of its data source."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

Json = dict[str, Any]

PROMETHEUS_VARIABLE, CLICKHOUSE_VARIABLE = "prometheus_datasource", "clickhouse_datasource"
PROMETHEUS: Mapping[str, str] = {"type": "prometheus", "uid": f"${{{PROMETHEUS_VARIABLE}}}"}
CLICKHOUSE: Mapping[str, str] = {"type": "grafana-clickhouse-datasource", "uid": f"${{{CLICKHOUSE_VARIABLE}}}"}
CLICKHOUSE_VERSION = "4.20.0"  # an empty one is taken for version 3, and every answer for a table

Shape = Literal["series", "now", "table"]


class Query(NamedTuple):
    """One target of a panel. `text` is PromQL or SQL; `shape` what is made of the answer: series over time, series with
    the value of now (PromQL only), or a table of now."""

    text: str
    source: Literal["prometheus", "clickhouse"]
    legend: str = ""
    shape: Shape = "series"

    def json(self, ref: str) -> Json:
        """As Grafana has it."""
        is_table, is_now = self.shape == "table", self.shape != "series"
        if self.source == "prometheus":
            return {
                "refId": ref,
                "datasource": dict(PROMETHEUS),
                "expr": self.text,
                "legendFormat": self.legend,
                "instant": is_now,
                "range": not is_now,
                "format": "table" if is_table else "time_series",
            }
        return {
            "refId": ref,
            "datasource": dict(CLICKHOUSE),
            "editorType": "sql",
            "format": 1 if is_table else 0,
            "queryType": "table" if is_table else "timeseries",
            "pluginVersion": CLICKHOUSE_VERSION,
            "meta": {},
            "rawSql": self.text,
        }


def prom(expression: str, legend: str = "", shape: Shape = "series") -> Query:
    """PromQL."""
    return Query(" ".join(expression.split()), "prometheus", legend, shape)


def sql(text: str, shape: Shape = "table") -> Query:
    """SQL. Of series the first column is `time`, the rest numbers and, for names, text."""
    return Query(text.strip(), "clickhouse", "", shape)


def metric(name: str, *matchers: str) -> str:
    """A selector of the jobs that are chosen."""
    return name + "{" + ", ".join(('job=~"$job"', *matchers)) + "}"


def most(name: str, by: Sequence[str], *matchers: str) -> str:
    """PromQL: the greatest of what several processes say of one thing."""
    return f"max by ({', '.join(by)}) ({metric(name, *matchers)})"


def chosen(*variables: str) -> str:
    """PromQL matchers of what is chosen in these variables."""
    return ", ".join(f'{name}=~"${name}"' for name in variables)


def value(variable: str) -> str:
    """What is chosen in a variable, as SQL: whatever it holds it stays one string. Grafana's `singlequote` leaves a
    backslash as it is, so that a name that ends in one would end the quotes elsewhere; names come from endpoints."""
    return f"decodeURLComponent('${{{variable}:percentencode}}')"


def only(*variables: str) -> str:
    """SQL: columns of these names are what is chosen, each if one is."""
    return " AND ".join(f"$__conditionalAll({name} = {value(name)}, ${name})" for name in variables)


def exactly(*variables: str) -> str:
    """SQL: columns of these names are what is chosen, of variables that know no "all"."""
    return " AND ".join(f"{name} = {value(name)}" for name in variables)
