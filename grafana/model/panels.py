"""Panels, each a picture for one question: its title."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from grafana.model.colours import BLUE, STATES
from grafana.model.queries import CLICKHOUSE, PROMETHEUS, Json, Query

Kind = Literal["timeseries", "stat", "table", "bargauge", "alertlist", "state-timeline"]
Steps = Sequence[tuple[float | None, str]]  # from which value on which colour; None: from the least on
PLAIN: Steps = ((None, BLUE),)


class Column(NamedTuple):
    """How a column of a table, or a series, is shown; what is left as it is here is as the panel has it."""

    unit: str = ""
    steps: Steps = ()  # colours the cell, or the line
    states: bool = False  # its values are states: a coloured cell with the word
    width: int = 0  # pixels; 0: as it comes
    link: tuple[str, str] = ("", "")  # title and address
    bar: bool = False  # a bar in the cell, from 0 to 1
    colour: str = ""  # fixed
    hidden: bool = False
    decimals: int | None = None
    custom: Mapping[str, Any] = {}

    def json(self, name: str) -> Json:
        """Grafana's override for the field of that name."""
        found: list[tuple[str, Any]] = [(f"custom.{key}", each) for key, each in self.custom.items()]
        if self.unit:
            found.append(("unit", self.unit))
        if self.decimals is not None:
            found.append(("decimals", self.decimals))
        if self.width:
            found.append(("custom.width", self.width))
        if self.steps:
            found += [("thresholds", thresholds(self.steps)), ("custom.cellOptions", {"type": "color-background"})]
        if self.states:
            found += [("mappings", [states()]), ("custom.cellOptions", {"type": "color-background"})]
        if self.bar:
            found += [("custom.cellOptions", {"type": "gauge", "mode": "basic"}), ("min", 0), ("max", 1)]
        if self.colour:
            found.append(("color", {"mode": "fixed", "fixedColor": self.colour}))
        if self.hidden:
            found.append(("custom.hideFrom", {"viz": True, "legend": True, "tooltip": True}))
        if self.link[0]:
            found.append(("links", [{"title": self.link[0], "url": self.link[1]}]))
        properties = [{"id": key, "value": each} for key, each in found]
        return {"matcher": {"id": "byName", "options": name}, "properties": properties}


class Panel(NamedTuple):
    """`width` is of the grid's 24 columns, `height` in its units of 30 pixels. `says` are the words of values that a
    number would not say, `no_value` those of an empty answer. `columns` are by name, of a table or a series."""

    kind: Kind
    title: str
    description: str
    queries: Sequence[Query] = ()
    unit: str = "short"
    width: int = 8
    height: int = 8
    steps: Steps = PLAIN
    no_value: str = "nothing in this time"
    says: Mapping[str, str] = {}
    decimals: int | None = None
    options: Mapping[str, Any] = {}
    custom: Mapping[str, Any] = {}
    limits: Mapping[str, float] = {}  # min, max
    display_name: str = ""
    columns: Mapping[str, Column] = {}
    links: Sequence[tuple[str, str]] = ()  # title and address
    transformations: Sequence[Json] = ()
    colour_mode: str = ""

    def json(self, number: int, place: Json) -> Json:
        """As Grafana has it."""
        found: Json = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "gridPos": place,
        }
        sources = {query.source for query in self.queries}
        if len(sources) == 1:
            found["datasource"] = dict(PROMETHEUS if sources == {"prometheus"} else CLICKHOUSE)
        if self.queries:
            found["targets"] = [query.json(chr(ord("A") + at)) for at, query in enumerate(self.queries)]
        return found | {
            "fieldConfig": {
                "defaults": self._defaults(),
                "overrides": [*self._empty_cells(), *(column.json(name) for name, column in self.columns.items())],
            },
            "options": dict(self.options),
            "links": [{"title": title, "url": url, "targetBlank": False} for title, url in self.links],
            "transformations": list(self.transformations),
        }

    def _empty_cells(self) -> Iterator[Json]:
        """The words of an empty table would stand in each of its empty cells."""
        for kind in ("string", "number", "time") if self.kind == "table" else ():
            properties = [{"id": "noValue", "value": "–"}]
            yield {"matcher": {"id": "byType", "options": kind}, "properties": properties}

    def _defaults(self) -> Json:
        mode = "palette-colorblind" if self.kind == "timeseries" else "thresholds"
        found: Json = {
            "unit": self.unit,
            "noValue": self.no_value,
            "color": {"mode": self.colour_mode or mode},
            "thresholds": thresholds(self.steps),
            "custom": dict(self.custom),
            "mappings": [_words(self.says)] if self.says else [],
            **self.limits,
        }
        if self.decimals is not None:
            found["decimals"] = self.decimals
        if self.display_name:
            found["displayName"] = self.display_name
        return found


def thresholds(steps: Steps) -> Json:
    """Absolute ones."""
    return {"mode": "absolute", "steps": [{"value": at, "color": colour} for at, colour in steps]}


def states() -> Json:
    """Each state as a word in its colour."""
    return {
        "type": "value",
        "options": {
            state: {"text": state.replace("_", " ").upper(), "color": colour, "index": at}
            for at, (state, colour) in enumerate(STATES.items())
        },
    }


def _words(says: Mapping[str, str]) -> Json:
    options = {number: {"text": text, "index": at} for at, (number, text) in enumerate(says.items())}
    return {"type": "value", "options": options}
