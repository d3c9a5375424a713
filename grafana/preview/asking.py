"""Asks a Prometheus and a ClickHouse what a dashboard's panels ask, and keeps the answers: drawing needs no server."""

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from grafana.preview.frames import Frame, Json, from_prometheus, from_rows, series_of, to_json
from grafana.preview.macros import ALL, expand, expand_promql

TIMEOUT_SECONDS = 15
POINTS = 400  # of a series, about as many as a panel has pixels for
SPANS_MS = {"now-5m": 300_000, "now-1h": 3_600_000, "now-6h": 21_600_000, "now-24h": 86_400_000,
            "now-30d": 2_592_000_000}  # fmt: skip


class Rows(Protocol):
    """What a ClickHouse client answers."""

    column_names: Any
    result_rows: Any


class ClickHouse(Protocol):
    """A client of ClickHouse: Grafana's account."""

    def query(self, query: str) -> Rows:
        """Raises for an error of the server's."""


class Asked(NamedTuple):
    """Where, of which moment and span, and what is chosen where there is no "all": as a dashboard opens."""

    prometheus: str
    clickhouse: ClickHouse
    end_ms: int
    span_ms: int
    choices: Mapping[str, str]

    @property
    def interval_ms(self) -> int:
        """Between points: five seconds, as Prometheus scrapes, or more."""
        return max(5_000, self.span_ms // POINTS // 5_000 * 5_000)


def answers(board: Json, asked: Asked) -> Json:
    """By panel its frames, or the error instead; annotations, and what fires. As JSON."""
    values = _values(board, asked.choices)
    found: Json = {
        "start_ms": asked.end_ms - asked.span_ms,
        "end_ms": asked.end_ms,
        "values": values,
        "panels": {str(panel["id"]): _panel(panel, asked, values) for panel in panels_of(board)},
        "annotations": [],
        "alerts": _alerts(asked.prometheus),
    }
    for each in board["annotations"]["list"]:
        frames = _frames(each["target"], asked, values)
        for frame in frames:
            by_name = {field.name: field.values for field in frame.fields}
            for time, text in zip(by_name.get("time", ()), by_name.get("text", ()), strict=True):
                found["annotations"].append({"time": time, "text": text, "colour": each["iconColor"]})
    return found


def panels_of(board: Json) -> Iterator[Json]:
    """All but rows, those in collapsed rows too."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def _values(board: Json, choices: Mapping[str, str]) -> dict[str, str]:
    variables = [each for each in board["templating"]["list"] if each["type"] != "datasource"]
    return {each["name"]: ALL if each.get("includeAll") else choices.get(each["name"], "") for each in variables}


def _panel(panel: Json, asked: Asked, values: Mapping[str, str]) -> Json:
    try:
        frames = [frame for target in panel.get("targets", ()) for frame in _frames(target, asked, values)]
    except Exception as error:  # whatever a client raises: the picture shows it where Grafana would
        return {"frames": [], "error": str(error)[:300]}
    return {"frames": to_json(frames), "error": ""}


def _frames(target: Json, asked: Asked, values: Mapping[str, str]) -> list[Frame]:
    if "expr" in target:
        return _from_prometheus(target, asked, values)
    sql = expand(
        target["rawSql"],
        start_ms=asked.end_ms - asked.span_ms,
        end_ms=asked.end_ms,
        interval_ms=asked.interval_ms,
        variables=values,
    )
    answer = asked.clickhouse.query(sql)
    table = from_rows(list(answer.column_names), answer.result_rows)
    return series_of(table) if target["format"] == 0 and table.length else [table]


def _from_prometheus(target: Json, asked: Asked, values: Mapping[str, str]) -> list[Frame]:
    all_is = {name: ".+" if value == ALL else value for name, value in values.items()}
    expression = expand_promql(
        target["expr"],
        start_ms=asked.end_ms - asked.span_ms,
        end_ms=asked.end_ms,
        interval_ms=asked.interval_ms,
        variables=all_is,
    )
    end = asked.end_ms / 1000
    if target["range"]:
        step = asked.interval_ms / 1000
        # A whole number of steps: the last is the end, all that there is where Prometheus runs for minutes.
        span = {"start": end - asked.span_ms // asked.interval_ms * step, "end": end, "step": step}
        found = _asked(asked.prometheus, "query_range", {"query": expression} | span)["result"]
    else:
        found = _asked(asked.prometheus, "query", {"query": expression, "time": end})["result"]
    return from_prometheus(found, target.get("legendFormat", ""))


def _asked(url: str, what: str, words: Mapping[str, Any]) -> Any:
    path = f"{url}/api/v1/{what}?" + urllib.parse.urlencode(words)
    with urllib.request.urlopen(path, timeout=TIMEOUT_SECONDS) as answer:
        return json.load(answer)["data"]


def _alerts(url: str) -> list[Json]:
    """What fires, or is about to, of Prometheus' rules: name, state, severity, summary."""
    found = _asked(url, "alerts", {})["alerts"]
    return [
        {
            "name": each["labels"]["alertname"],
            "severity": each["labels"].get("severity", ""),
            "state": each["state"],
            "text": each["annotations"].get("summary", ""),
        }
        for each in found
    ]
