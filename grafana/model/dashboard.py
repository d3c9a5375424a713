"""Dashboards: rows of panels, what can be chosen at the top, and moments in every panel."""

import zlib
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from grafana.model.panels import Panel
from grafana.model.queries import CLICKHOUSE, PROMETHEUS, Json, Query

SCHEMA_VERSION = 41
COLUMNS = 24  # of Grafana's grid
ALL = ".+"  # what "all" is in PromQL; SQL leaves its condition out


class Row(NamedTuple):
    """Panels side by side, from left to right; those that find no room go below. Without a title there is no line above
    them; what is collapsed is asked for only when somebody opens it."""

    title: str
    panels: Sequence[Panel]
    is_collapsed: bool = False


class Variable(NamedTuple):
    """A choice at the top. Of kind `datasource` the query is the plugin's type."""

    name: str
    label: str
    kind: Literal["datasource", "prometheus", "clickhouse", "text"]
    query: str = ""
    has_all: bool = False
    is_many: bool = False
    description: str = ""

    def json(self) -> Json:
        """As Grafana has it."""
        found: Json = {"name": self.name, "label": self.label, "description": self.description, "hide": 0}
        if self.kind == "text":
            return found | {"type": "textbox", "query": "", "current": {"text": "", "value": ""}}
        if self.kind == "datasource":
            return found | {
                "type": "datasource", "query": self.query, "regex": "", "refresh": 1, "multi": False,
                    "includeAll": False
            }  # fmt: skip
        source = PROMETHEUS if self.kind == "prometheus" else CLICKHOUSE
        found |= {
            "type": "query",
            "datasource": dict(source),
            "query": self.query,
            "definition": self.query,
            "refresh": 2,
            "sort": 1 if self.kind == "prometheus" else 0,  # SQL sorts by itself
            "multi": self.is_many,
            "includeAll": self.has_all,
        }
        if self.has_all:
            found |= {"allValue": ALL, "current": {"text": "All", "value": "$__all"}}
            if self.is_many:
                found["current"] = {"text": ["All"], "value": ["$__all"]}
        return found


class Annotation(NamedTuple):
    """Moments in every panel over time: a query that gives `time` and `text`, and perhaps `tags`."""

    name: str
    colour: str
    query: Query

    def json(self) -> Json:
        """As Grafana has it."""
        return {
            "name": self.name,
            "datasource": dict(PROMETHEUS if self.query.source == "prometheus" else CLICKHOUSE),
            "enable": True,
            "hide": False,
            "iconColor": self.colour,
            "target": self.query.json("Anno"),
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
            "links": [_link(title, url) for title, url in self.links],
            "panels": list(_placed(self.rows)),
        }


def _link(title: str, url: str) -> Json:
    is_ours = url.startswith("/d/")
    return {
        "title": title,
        "url": url,
        "type": "link",
        "icon": "dashboard" if is_ours else "doc",
        "tooltip": "",
        "tags": [],
        "asDropdown": False,
        "targetBlank": not is_ours,
        "keepTime": is_ours,
        "includeVars": is_ours,
    }


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    """From the top: a row's title if it has one, its panels from left to right."""
    top = 0
    for row in rows:
        line: Json = {"id": number_of(f"row {row.title}"), "type": "row", "title": row.title, "panels": [],
                      "collapsed": row.is_collapsed, "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1}}  # fmt: skip
        top += bool(row.title)
        placed, height = _side_by_side(row.panels, top)
        if row.is_collapsed:
            yield line | {"panels": placed}
            continue
        if row.title:
            yield line
        yield from placed
        top += height


def _side_by_side(panels: Sequence[Panel], top: int) -> tuple[list[Json], int]:
    placed, left, tallest, first_top = [], 0, 0, top
    for panel in panels:
        if left + panel.width > COLUMNS:
            top, left, tallest = top + tallest, 0, 0
        place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
        placed.append(panel.json(number_of(panel.title), place))
        left, tallest = left + panel.width, max(tallest, panel.height)
    return placed, top + tallest - first_top


def number_of(title: str) -> int:
    """A panel's id, which links to it name: the same wherever it stands."""
    return zlib.crc32(title.encode()) % 1_000_000 + 1
