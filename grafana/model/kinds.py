"""The kinds of panel that the dashboards have, each with the options that all of its kind share."""

from collections.abc import Mapping
from typing import Any

from grafana.model.panels import Panel
from grafana.model.queries import Query


def big(title: str, description: str, *queries: Query, **more: Any) -> Panel:
    """A number that is read from three metres: its ground is its colour. Of now, for the newest point of a series over
    hours is minutes old."""
    options = {
        "colorMode": "background",
        "graphMode": "none",
        "textMode": more.pop("text_mode", "auto"),
        "justifyMode": "center",
        "orientation": "auto",
        "wideLayout": True,
        "reduceOptions": {
            "calcs": ["lastNotNull"],
            "fields": more.pop("fields", ""),
            "values": more.pop("values", False),
        },
    }
    now = [each._replace(shape="now") if each.source == "prometheus" else each for each in queries]
    return Panel("stat", title, description, now, options=options, **({"width": 6, "height": 5} | more))


def lines(title: str, description: str, *queries: Query, **more: Any) -> Panel:
    """Series over time."""
    custom = {"lineWidth": 2, "fillOpacity": 8, "showPoints": "auto", "spanNulls": 60_000}
    is_limit_shown = more.pop("limit", False)
    shown: Mapping[str, Any] = {"thresholdsStyle": {"mode": "line"}} if is_limit_shown else {}
    options = {
        "legend": {
            "displayMode": "list",
            "placement": more.pop("placement", "bottom"),
            "showLegend": more.pop("legend", True),
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    mine = {**custom, **shown, **more.pop("custom", {})}
    return Panel("timeseries", title, description, queries, options=options, custom=mine, **more)


def columns(title: str, description: str, *queries: Query, **more: Any) -> Panel:
    """Amounts over time, one beside the other's height."""
    custom = {"drawStyle": "bars", "fillOpacity": 80, "lineWidth": 0, "stacking": {"mode": "normal", "group": "A"}}
    return lines(title, description, *queries, custom=custom, **more)


def table(title: str, description: str, query: Query, **more: Any) -> Panel:
    """Rows. Text is shown as text, whatever it holds: no cell is HTML or Markdown."""
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": [], "fields": ""}}
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False, "inspect": False}
    return Panel("table", title, description, [query], options=options, custom=custom, **more)


def bars(title: str, description: str, *queries: Query, **more: Any) -> Panel:
    """Amounts side by side, the longest first as the query orders them."""
    options = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "valueMode": "color",
        "showUnfilled": True,
        "minVizHeight": 24,
        "namePlacement": "left",
        "sizing": "auto",
        "reduceOptions": {
            "calcs": ["lastNotNull"],
            "fields": more.pop("fields", ""),
            "values": more.pop("values", False),
        },
    }
    return Panel("bargauge", title, description, queries, options=options, **more)


def alerts(title: str, description: str, **more: Any) -> Panel:
    """What fires and what is about to, by Grafana's rules and by Prometheus': of every data source that has rules."""
    options = {
        "viewMode": "list",
        "groupMode": "default",
        "groupBy": [],
        "maxItems": 20,
        "sortOrder": 3,  # by importance
        "dashboardAlerts": False,
        "alertName": more.pop("name", "Andon"),
        "alertInstanceLabelFilter": more.pop("labels", ""),
        "datasource": "",
        "showInstances": True,
        "showInactiveAlerts": False,
        "stateFilter": {
            "firing": True, "pending": True, "recovering": True, "noData": True, "normal": False, "error": True,
        },
    }  # fmt: skip
    return Panel("alertlist", title, description, options=options, **more)
