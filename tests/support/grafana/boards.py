"""The dashboards as Grafana has them: their JSON, taken apart."""

import re
from collections.abc import Iterator
from typing import Any

from grafana.catalogue import DASHBOARDS

Json = dict[str, Any]
BOARDS = {each.uid: each.json() for each in DASHBOARDS}
# Variables that Grafana has of itself; data links know more, by what they are about.
OWN = {"__rate_interval", "__range", "__interval", "__interval_s", "__url_time_range"}
_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
_MACRO = re.compile(r"\$__(?:timeFilter|timeFilter_ms|fromTime|toTime|interval_s|conditionalAll)\b")


def panels(board: Json, rows: bool = False) -> Iterator[Json]:
    """All of a dashboard, those in collapsed rows too."""
    for panel in board["panels"]:
        if panel["type"] != "row":
            yield panel
        else:
            if rows:
                yield panel
            yield from panel["panels"]


def targets(board: Json) -> Iterator[tuple[str, Json]]:
    """Every query, with what asks it."""
    for panel in panels(board):
        for target in panel.get("targets", ()):
            yield panel["title"], target
    for annotation in board["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["target"]


def texts(value: Any) -> Iterator[str]:
    """Every string in it."""
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(each)


def variables(board: Json) -> dict[str, Json]:
    """By name."""
    return {each["name"]: each for each in board["templating"]["list"]}


def used(text: str) -> set[str]:
    """Variables in a text, without macros."""
    return {a or b for a, b in _VARIABLE.findall(_MACRO.sub("", text))}


def overrides(panel: Json) -> Iterator[tuple[str, str, Any]]:
    """Field, property and value of each that is of a field by its name."""
    for each in panel["fieldConfig"]["overrides"]:
        if each["matcher"]["id"] != "byName":
            continue
        for found in each["properties"]:
            yield each["matcher"]["options"], found["id"], found["value"]


def links(panel: Json) -> Iterator[str]:
    """Addresses of a panel's links and its fields'."""
    for link in panel["links"]:
        yield link["url"]
    for _, name, value in overrides(panel):
        if name == "links":
            yield from (link["url"] for link in value)
