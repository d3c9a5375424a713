"""Do hosts with an update crash more than hosts without it? As the detector reckons it."""

from grafana.dashboards.common import UPDATE
from grafana.model.colours import BLUE, RED
from grafana.model.kinds import lines
from grafana.model.panels import Column, Panel
from grafana.model.queries import only, sql

UNNAMED = {"legend": True, "tooltip": False, "viz": False}


def worst(where: str) -> str:
    """SQL of a WITH: `worst`, the update (fleet, vendor, product, version) that has the most evidence against it in
    this time."""
    return f"""(
    SELECT (fleet, vendor, product, version) FROM verdicts
    WHERE {where} AND $__timeFilter(at)
    ORDER BY log10_evidence DESC LIMIT 1
) AS worst"""


def rates(*chosen: str) -> Panel:
    """Wilson's 95 % limits around the rate of hosts that have it."""
    return lines(
        "Do hosts that have it crash more?",
        "Crashes for each report of hosts that have the update, and what hosts like them without it led to expect; "
        "each time that the detector told it anew. The band is Wilson's 95 % interval: how far chance alone reaches. "
        "Of the update that is chosen, or else of the one with the most evidence.",
        sql(
            f"""
WITH {worst(only(*chosen))},
    3.8414588 AS z
SELECT at AS time, crashes / n AS `with it`, expected / n AS `without it, expected`,
       greatest(0, (crashes + z / 2 - sqrt(z * (crashes * (n - crashes) / n + z / 4))) / (n + z)) AS `at least`,
       least(1, (crashes + z / 2 + sqrt(z * (crashes * (n - crashes) / n + z / 4))) / (n + z)) AS `at most`
FROM
(
    SELECT at, max(observed) AS crashes, max(verdicts.expected) AS expected, greatest(sum(exposed_trials), crashes,
        1) AS n
    FROM verdicts
    WHERE (fleet, vendor, product, version) = worst AND $__timeFilter(at)
    GROUP BY at
)
ORDER BY time LIMIT 5000""",
            "series",
        ),
        unit="percentunit",
        width=12,
        height=9,
        limits={"min": 0},
        custom={"spanNulls": True, "lineInterpolation": "stepAfter", "fillOpacity": 0},
        columns={
            "with it": Column(colour=RED),
            "without it, expected": Column(colour=BLUE),
            "at least": Column(colour=RED, custom={"lineWidth": 0, "hideFrom": UNNAMED}),
            "at most": Column(
                colour=RED, custom={"lineWidth": 0, "fillBelowTo": "at least", "fillOpacity": 20, "hideFrom": UNNAMED}
            ),
        },
        no_value="the detector has said nothing about it in this time",
    )


RATES = rates(*UPDATE)
