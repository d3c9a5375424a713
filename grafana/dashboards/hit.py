"""Who is hit: a table of rings and models, each cell the hosts that crashed."""

from grafana.dashboards.common import UPDATE
from grafana.dashboards.evidence import worst
from grafana.model.colours import ORANGE, RED
from grafana.model.kinds import table
from grafana.model.panels import Panel
from grafana.model.queries import only, sql


def hit() -> Panel:
    """Of the update that is chosen, or else of the one with the most evidence against it."""
    matrix = {"columnField": "model", "rowField": "ring", "valueField": "crashed hosts", "emptyValue": "zero"}
    made = table(
        "Who is hit: rings and models",
        "Hosts that crashed with the update in this time, by ring and model. Of one that is chosen, or else of the "
        "one with the most evidence against it.",
        sql(f"""
WITH {worst(only(*UPDATE))}
SELECT ring, model, uniqExactMerge(update_minutes.crashed_hosts) AS `crashed hosts`
FROM update_minutes
WHERE (fleet, vendor, product, version) = worst AND {only("ring")} AND $__timeFilter(minute)
GROUP BY ring, model
ORDER BY ring, model LIMIT 200"""),
        width=12,
        unit="none",
        steps=((None, "transparent"), (1, ORANGE), (10, RED)),
        transformations=[{"id": "groupingToMatrix", "options": matrix}],
        no_value="nobody: no host crashed with it in this time",
    )
    return made._replace(custom={"align": "center", "cellOptions": {"type": "color-background"}, "filterable": False})
