"""What a dashboard is made of, typed; and the classic JSON that Grafana provisions from files (its newer schema it
refuses there). Written here rather than with grafana-foundation-sdk: that has no ClickHouse query, and of what it has
this needs a twentieth."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

SCHEMA_VERSION = 39
COLUMNS = 24  # of Grafana's grid
PROMETHEUS: Mapping[str, str] = {"type": "prometheus", "uid": "${prometheus}"}
CLICKHOUSE: Mapping[str, str] = {"type": "grafana-clickhouse-datasource", "uid": "${clickhouse}"}
CLICKHOUSE_VERSION = "4.20.0"  # an empty one is taken for version 3, and made a table of

# Told apart by people who see colours differently (Okabe and Ito, 2008); red and green never mean one another.
BLUE, ORANGE, RED, GREEN, SKY, PURPLE, GREY = (
    "#0072B2",
    "#E69F00",
    "#D55E00",
    "#009E73",
    "#56B4E9",
    "#CC79A7",
    "#8C8C8C",
)
STATE_COLOURS = {
    "halted": RED, "standing": RED, "unknown": RED, "expired": RED, "pending": ORANGE, "resumed": PURPLE,
    "shadow_halted": SKY, "shadow": SKY, "watching": GREY, "cleared": BLUE,
}  # fmt: skip

Kind = Literal["timeseries", "stat", "table", "bargauge", "state-timeline", "heatmap", "alertlist", "text", "barchart"]
Json = dict[str, Any]


class Query(NamedTuple):
    """One target of a panel. `text` is PromQL or SQL."""

    text: str
    source: Literal["prometheus", "clickhouse"]
    legend: str = ""
    shape: Literal["series", "table"] = "series"

    def json(self, ref: str) -> Json:
        """As Grafana has it."""
        if self.source == "prometheus":
            is_table = self.shape == "table"
            found: Json = {"refId": ref, "datasource": dict(PROMETHEUS), "expr": self.text, "legendFormat": self.legend}
            return found | {
                "instant": is_table,
                "range": not is_table,
                "format": "table" if is_table else "time_series",
            }
        return {
            "refId": ref,
            "datasource": dict(CLICKHOUSE),
            "editorType": "sql",
            "format": 1 if self.shape == "table" else 0,
            "queryType": "table" if self.shape == "table" else "timeseries",
            "pluginVersion": CLICKHOUSE_VERSION,
            "meta": {},
            "rawSql": self.text,
        }


def prom(expression: str, legend: str = "", shape: Literal["series", "table"] = "series") -> Query:
    """PromQL."""
    return Query(" ".join(expression.split()), "prometheus", legend, shape)


def sql(text: str, shape: Literal["series", "table"] = "table") -> Query:
    """SQL of ClickHouse, with the data source's macros."""
    return Query(text.strip(), "clickhouse", "", shape)


class Panel(NamedTuple):
    """One picture, for one question: its title. `width` is of COLUMNS, `steps` are where the colour changes: from which
    value on which."""

    kind: Kind
    title: str
    description: str
    queries: Sequence[Query] = ()
    unit: str = "short"
    width: int = 8
    height: int = 8
    steps: Sequence[tuple[float | None, str]] = ((None, BLUE),)
    no_value: str = "nothing in this time"
    decimals: int | None = None
    options: Mapping[str, Any] = {}
    custom: Mapping[str, Any] = {}
    states: bool = False  # values are states, coloured as STATE_COLOURS says
    overrides: Sequence[Json] = ()
    links: Sequence[tuple[str, str]] = ()  # title and address
    transformations: Sequence[Json] = ()

    def json(self, number: int, place: Json) -> Json:
        """As Grafana has it."""
        defaults: Json = {
            "unit": self.unit,
            "noValue": self.no_value,
            "color": {"mode": "thresholds" if self.kind in ("stat", "bargauge", "table") else "palette-classic"},
            "thresholds": {"mode": "absolute", "steps": [{"value": at, "color": colour} for at, colour in self.steps]},
            "custom": dict(self.custom),
            "mappings": [_state_mapping()] if self.states else [],
        }
        if self.decimals is not None:
            defaults["decimals"] = self.decimals
        sources = {query.source for query in self.queries}
        source = {"prometheus": PROMETHEUS, "clickhouse": CLICKHOUSE}[sources.pop()] if len(sources) == 1 else None
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "gridPos": place,
            **({"datasource": dict(source)} if source else {}),
            "targets": [query.json(chr(ord("A") + at)) for at, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": defaults, "overrides": list(self.overrides)},
            "options": dict(self.options) | _options(self.kind),
            "links": [{"title": title, "url": url} for title, url in self.links],
            "transformations": list(self.transformations),
        }


def _state_mapping() -> Json:
    return {
        "type": "value",
        "options": {
            state: {"text": state.replace("_", " ").upper(), "color": colour, "index": at}
            for at, (state, colour) in enumerate(STATE_COLOURS.items())
        },
    }


def _options(kind: Kind) -> Json:
    """What every panel of a kind has."""
    if kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    if kind in ("stat", "bargauge"):
        return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    return {}


class Row(NamedTuple):
    """Panels side by side under a title, from left to right; those that find no room go below."""

    title: str
    panels: Sequence[Panel]


class Variable(NamedTuple):
    """A choice at the top. Of kind `datasource` the query is the plugin's type."""

    name: str
    label: str
    kind: Literal["datasource", "prometheus", "clickhouse"]
    query: str
    is_many: bool = False

    def json(self) -> Json:
        """As Grafana has it."""
        found: Json = {"name": self.name, "label": self.label, "hide": 0, "query": self.query}
        if self.kind == "datasource":
            return found | {"type": "datasource", "regex": "", "refresh": 1, "multi": False, "includeAll": False}
        source = PROMETHEUS if self.kind == "prometheus" else CLICKHOUSE
        many: Json = {"multi": self.is_many, "includeAll": self.is_many}
        if self.is_many:
            many |= {"current": {"text": ["All"], "value": ["$__all"]}}
        return found | many | {"type": "query", "datasource": dict(source), "refresh": 2, "sort": 1}


class Annotation(NamedTuple):
    """Moments in every panel: a query that gives `time`, `text` and perhaps `tags`."""

    name: str
    colour: str
    query: Query

    def json(self) -> Json:
        """As Grafana has it."""
        source = PROMETHEUS if self.query.source == "prometheus" else CLICKHOUSE
        target = self.query.json("Anno")
        return {
            "name": self.name,
            "datasource": dict(source),
            "enable": True,
            "iconColor": self.colour,
            "target": target,
        }


class Dashboard(NamedTuple):
    """One question of one kind of person. `name` is the end of its uid, and its file's name."""

    name: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable]
    annotations: Sequence[Annotation] = ()
    links: Sequence[tuple[str, str]] = ()
    since: str = "now-1h"
    refresh: str = "10s"

    @property
    def uid(self) -> str:
        """Stable: links and alerts name it."""
        return f"andon-{self.name}"

    def panels(self) -> Iterator[Panel]:
        """All of them."""
        for row in self.rows:
            yield from row.panels

    def json(self) -> Json:
        """As Grafana provisions it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["andon"],
            "timezone": "utc",
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": self.refresh,
            "time": {"from": self.since, "to": "now"},
            "templating": {"list": [variable.json() for variable in self.variables]},
            "annotations": {"list": [annotation.json() for annotation in self.annotations]},
            "links": [
                {"title": title, "url": url, "type": "link", "keepTime": True, "includeVars": True}
                for title, url in self.links
            ],
            "panels": list(_placed(self.rows)),
        }


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    """From the top: a row's title, its panels from left to right."""
    number, top = 1, 0
    for row in rows:
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [],
               "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1}}  # fmt: skip
        number, top, left, tallest = number + 1, top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            yield panel.json(number, {"x": left, "y": top, "w": panel.width, "h": panel.height})
            number, left, tallest = number + 1, left + panel.width, max(tallest, panel.height)
        top += tallest
