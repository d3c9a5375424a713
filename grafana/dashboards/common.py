"""What several dashboards have: choices, moments, links."""

from collections.abc import Sequence

from grafana.model.colours import PURPLE, RED, SKY
from grafana.model.dashboard import Annotation, Variable
from grafana.model.panels import Column
from grafana.model.queries import CLICKHOUSE_VARIABLE, PROMETHEUS_VARIABLE, metric, only, sql

UPDATE = ("fleet", "vendor", "product", "version")
NAMED = "{{fleet}}: {{vendor}}/{{product}}/{{version}}"
RUNBOOKS = "https://andon.example/runbooks"  # stands for where they are served, as in deploy/prometheus/rules.yml
DASHBOARDS = {
    "rollout-watch": "Rollout watch",
    "incident": "Incident",
    "response": "Response",
    "quality": "Fleet quality",
    "pipeline": "Pipeline health",
}

# The update of a row of a table, on its dashboard. Values come from endpoints.
_PARTS = "&".join(
    f"var-{part}=${{__data.fields.{part}:percentencode}}" for part in ("fleet", "vendor", "product", "version")
)
_SOURCE = f"${{{CLICKHOUSE_VARIABLE}:queryparam}}"
TO_INCIDENT = ("This update's incident", f"/d/andon-incident?{_PARTS}&{_SOURCE}&${{__url_time_range}}")

# An update in a table: one column, which leads to its incident; the parts, which the link takes, are not shown.
NAME = "concat(vendor, '/', product, '/', version) AS update"
PARTS = "vendor, product, version"
OF_UPDATE = {"update": Column(link=TO_INCIDENT)} | {
    name: Column(hidden=True) for name in ("vendor", "product", "version")
}

PROMETHEUS = Variable(PROMETHEUS_VARIABLE, "Prometheus data source", "datasource", "prometheus")
CLICKHOUSE = Variable(CLICKHOUSE_VARIABLE, "ClickHouse data source", "datasource", "grafana-clickhouse-datasource")
JOB = Variable(
    "job", "Job", "prometheus", "label_values(andon_build_info, job)", has_all=True, is_many=True,
    description="Prometheus' jobs that scrape Andon",
)  # fmt: skip

_KNOWN = "SELECT {column} FROM update_days WHERE {where} GROUP BY {column} ORDER BY {order} LIMIT 1000"


def fleets(has_all: bool) -> Variable:
    """Fleets that reported within 30 days: such that were ever halted first, then the one that reported last."""
    query = """
SELECT fleet FROM stratum_days WHERE day >= today() - 30
GROUP BY fleet ORDER BY fleet IN (SELECT fleet FROM halts) DESC, max(stored_at) DESC, fleet LIMIT 1000""".strip()
    return Variable("fleet", "Fleet", "clickhouse", query, has_all, description="as its events say")


def updates(has_all: bool) -> list[Variable]:
    """Vendor, product, version, each of what was chosen before it; what was halted stands first, then the newest."""
    found: list[Variable] = []
    before = ["fleet"]
    for column in ("vendor", "product", "version"):
        halted = f"{column} IN (SELECT {column} FROM halts WHERE {only(*before)}) DESC"
        query = _KNOWN.format(
            column=column,
            where=f"{only(*before)} AND day >= today() - 30",
            order=f"{halted}, min(installed) DESC, {column}",
        )
        found.append(Variable(column, column.capitalize(), "clickhouse", query, has_all, description="of the update"))
        before.append(column)
    return found


RING = Variable(
    "ring", "Ring", "clickhouse",
    f"SELECT DISTINCT ring FROM stratum_days WHERE {only('fleet')} AND day >= today() - 30 ORDER BY ring LIMIT 1000",
    has_all=True, description="rollout ring, as hosts say",
)  # fmt: skip


def links(of: str) -> list[tuple[str, str]]:
    """To the other dashboards and to the runbooks."""
    others = [(title, f"/d/andon-{name}") for name, title in DASHBOARDS.items() if name != of]
    return [*others, ("Runbooks", f"{RUNBOOKS}/")]


def moments(*chosen: str, wall: bool = False) -> Sequence[Annotation]:
    """Releases, halts and resumes of what is chosen: in the time of the events, or by the clock on the wall. Their text
    is shown as HTML, so that none may come from endpoints."""
    when = "issued_at" if wall else "ifNull(stream_time, issued_at)"
    update = "encodeXMLComponent(concat(vendor, '/', product, '/', version))"
    released = f"""
SELECT min(installed) AS time, concat('released: ', {update}) AS text, 'release' AS tags
FROM update_days WHERE {only(*chosen)}
GROUP BY vendor, product, version HAVING $__timeFilter(time) ORDER BY time LIMIT 100"""
    ordered = """
SELECT min({when}) AS time, concat('{word}: ', {update}, ' ', encodeXMLComponent(any(reason))) AS text,
    '{action}' AS tags
FROM halts WHERE {where} AND action = '{action}'
GROUP BY fleet, vendor, product, version, epoch HAVING $__timeFilter(time) ORDER BY time LIMIT 100"""
    halted, resumed = (
        ordered.format(when=when, word=word, update=update, where=only(*chosen), action=action)
        for word, action in (("halted", "halt"), ("resumed", "resume"))
    )
    return (
        Annotation("Releases", SKY, sql(released)),
        Annotation("Halts", RED, sql(halted)),
        Annotation("Resumes", PURPLE, sql(resumed)),
    )


def heard(*matchers: str) -> str:
    """PromQL: 0 while somebody tells how halts stand; nothing while nobody does, so that no panel takes silence for
    peace."""
    return f"0 * count({metric('andon_detector_heartbeat_timestamp_seconds', *matchers)})"
