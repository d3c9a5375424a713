"""`python -m grafana.asked`: the SQL of every dashboard as ClickHouse gets it, as JSON by name, for
`andon bench queries --also`: of the bench's update, six hours after its halt, and of all, at the end of its events."""

import json
import sys
import time
from collections.abc import Iterator, Mapping

from grafana.catalogue import DASHBOARDS
from grafana.model.dashboard import Dashboard
from grafana.model.queries import Query, sql
from grafana.preview.asking import SPANS_MS
from grafana.preview.macros import ALL, expand
from pipeline.bench.queries_load import DAYS, FLEET, HOST, PRODUCT, VENDOR, VERSION, halted_ms_before_end

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
POINTS = 1_000  # across a picture
CHOSEN = {"fleet": FLEET, "vendor": VENDOR, "product": PRODUCT, "version": VERSION, "host": HOST}


def _queries(dashboard: Dashboard) -> Iterator[tuple[str, Query]]:
    for panel in dashboard.panels():
        for at, query in enumerate(panel.queries):
            yield panel.title + (f" {at + 1}" if at else ""), query
    for annotation in dashboard.annotations:
        yield f"annotation {annotation.name}", annotation.query
    for variable in dashboard.variables:
        if variable.kind == "clickhouse":
            yield f"choices of {variable.name}", sql(variable.query)


def asked(end_ms: int, days: int = DAYS) -> Mapping[str, str]:
    """SQL by dashboard, panel and what is chosen, over events of so many days until `end_ms`."""
    found = {}
    of_halt_ms = end_ms - halted_ms_before_end(days) + 6 * HOUR_MS
    for dashboard in DASHBOARDS:
        span_ms = SPANS_MS[dashboard.since]
        of_all = {each.name: ALL if each.has_all else CHOSEN.get(each.name, "") for each in dashboard.variables}
        for what, values, until_ms in (("one update", of_all | CHOSEN, of_halt_ms), ("all", of_all, end_ms)):
            for name, query in _queries(dashboard):
                if query.source == "clickhouse":
                    found[f"{dashboard.name}: {name} ({what})"] = expand(
                        query.text,
                        start_ms=until_ms - span_ms,
                        end_ms=until_ms,
                        interval_ms=span_ms // POINTS,
                        variables=values,
                    )
    return found


if __name__ == "__main__":
    json.dump(asked(int(time.time() * 1000) // DAY_MS * DAY_MS), sys.stdout, indent=1, ensure_ascii=False)
