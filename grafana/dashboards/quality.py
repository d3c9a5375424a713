"""Fleet quality, for analysts: is the fleet well, what makes it ill, and do we hear of it?"""

from grafana.dashboards import common
from grafana.dashboards.common import NAME, OF_UPDATE, PARTS, UPDATE
from grafana.model.colours import BLUE, GREY, ORANGE, RED
from grafana.model.dashboard import Dashboard, Row
from grafana.model.kinds import big, columns, lines, table
from grafana.model.panels import Column
from grafana.model.queries import only, sql

PLACE = only("fleet", "ring")
IN_TIME = "day >= toDate($__fromTime) AND day <= toDate($__toTime)"
LAST_WEEK = "day > toDate($__toTime) - 7 AND day <= toDate($__toTime)"

CRASH_FREE = big(
    "How many hosts did not crash?",
    "Of those that reported within the last seven days of this time.",
    sql(f"""
SELECT 1 - uniqExactMerge(stratum_days.crashed_hosts) / uniqCombinedMerge(stratum_days.hosts) AS `crash-free`
FROM stratum_days WHERE {PLACE} AND {LAST_WEEK} HAVING uniqCombinedMerge(stratum_days.hosts) > 0"""),
    unit="percentunit",
    decimals=2,
    steps=((None, GREY), (0, RED), (0.98, ORANGE), (0.995, BLUE)),
    no_value="no host reported",
)
COVERAGE = big(
    "Do we hear of all hosts?",
    "Hosts that reported on the last day of this time, of those that did within its last seven days. Who is silent "
    "may be switched off, or dead.",
    sql(f"""
SELECT uniqCombinedMergeIf(stratum_days.hosts, day = toDate($__toTime)) / uniqCombinedMerge(stratum_days.hosts) AS heard
FROM stratum_days WHERE {PLACE} AND {LAST_WEEK} HAVING uniqCombinedMerge(stratum_days.hosts) > 0"""),
    unit="percentunit",
    decimals=1,
    steps=((None, GREY), (0, RED), (0.7, ORANGE), (0.9, BLUE)),
    no_value="no host reported",
)
HEARD = big(
    "How many hosts reported?",
    "Within the last seven days of this time.",
    sql(f"""
SELECT uniqCombinedMerge(stratum_days.hosts) AS hosts
FROM stratum_days WHERE {PLACE} AND {LAST_WEEK} HAVING hosts > 0"""),
    unit="none",
    steps=((None, GREY),),
    no_value="no host reported",
)
NEW = big(
    "How many new signatures?",
    "Crash signatures that nobody had seen before the last seven days of this time.",
    sql(f"""
SELECT countIf(first_seen > $__toTime - INTERVAL 7 DAY AND first_seen <= $__toTime) AS new
FROM new_signatures WHERE {only("fleet")} HAVING count() > 0"""),
    unit="none",
    steps=((None, GREY), (0, BLUE), (1, ORANGE)),
    no_value="no crash was ever reported",
)
BY_WEEK = lines(
    "Do fewer hosts crash than the week before?",
    "Share of the hosts that reported in a week and did not crash in it, by ring. The first and the last week are "
    "not whole.",
    sql(
        f"""
SELECT toDateTime(toStartOfWeek(day, 1), 'UTC') AS time, ring,
       1 - uniqExactMerge(stratum_days.crashed_hosts) / uniqCombinedMerge(stratum_days.hosts) AS `crash-free`
FROM stratum_days
WHERE {PLACE} AND {IN_TIME}
GROUP BY time, ring
ORDER BY time, ring LIMIT 10000""",
        "series",
    ),
    unit="percentunit",
    width=12,
    limits={"max": 1},
    custom={"showPoints": "always", "spanNulls": True, "pointSize": 8},
    display_name="${__field.labels.ring}",
    no_value="no host reported in this time",
)
REPORTING = columns(
    "How many hosts report, day by day?",
    "Distinct hosts that reported on each day, by ring. A day that sinks is hosts that are off, or that cannot tell.",
    sql(
        f"""
SELECT toDateTime(day, 'UTC') AS time, ring, uniqCombinedMerge(stratum_days.hosts) AS hosts
FROM stratum_days
WHERE {PLACE} AND {IN_TIME}
GROUP BY time, ring
ORDER BY time, ring LIMIT 10000""",
        "series",
    ),
    unit="none",
    width=12,
    display_name="${__field.labels.ring}",
    no_value="no host reported in this time",
)
SHARE = Column(unit="percentunit", decimals=2, width=80)
LIMITS = {
    "hosts": Column(unit="none", width=80),
    "crashed": Column(unit="none", width=80),
    "rate": SHARE,
    "at least": SHARE,
    "at most": SHARE,
    "compared": Column(width=120),
}
_COMPARED = """multiIf(low > fleet_rate, 'above the fleet', high < fleet_rate, 'below the fleet', 'as the fleet')"""
_WILSON = """
       crashed / hosts AS rate,
       1.959964 * sqrt(crashed * (hosts - crashed) / hosts + 0.9603647) AS margin,
       greatest(0, (crashed + 1.9207294 - margin) / (hosts + 3.8414588)) AS low,
       least(1, (crashed + 1.9207294 + margin) / (hosts + 3.8414588)) AS high"""
_FLEET_RATE = f"""(
    SELECT uniqExactMerge(stratum_days.crashed_hosts) / greatest(1, uniqCombinedMerge(stratum_days.hosts))
    FROM stratum_days WHERE {PLACE} AND {IN_TIME}
) AS fleet_rate"""


def _compared(by: str, shown: str = "", parts: str = "") -> str:
    """SQL: updates by these columns, with Wilson's limits, those first that crash more than the fleet for certain."""
    return f"""
WITH {_FLEET_RATE}
SELECT {shown or by}, hosts, crashed, rate, low AS `at least`, high AS `at most`, {_COMPARED} AS compared{parts}
FROM
(
    SELECT *,{_WILSON}
    FROM
    (
        SELECT {by}, uniqExactMerge(update_days.crashed_hosts) AS crashed,
               greatest(uniqCombinedMerge(update_days.hosts), crashed) AS hosts
        FROM update_days
        WHERE {only(*UPDATE, "ring")} AND {IN_TIME}
        GROUP BY {by}
        HAVING hosts > 0
    )
)
ORDER BY low DESC, hosts DESC LIMIT 10"""


ABOVE = "A host crashed if it reported a crash with it, whatever crashed it; the limits are Wilson's 95 % interval."
VENDORS = table(
    "Which vendors' updates stand on hosts that crash?",
    f"Hosts of each fleet and vendor in this time. {ABOVE}",
    sql(_compared("fleet, vendor")),
    width=24,
    height=12,
    columns=LIMITS,
    no_value="no update was reported in this time",
)
VERSIONS = table(
    "Which versions do?",
    f"Hosts of each version in this time. {ABOVE} An innocent update shares its hosts with a guilty one: `andon "
    "query rates` takes that apart.",
    sql(_compared("fleet, vendor, product, version", f"fleet, {NAME}", f", {PARTS}")),
    width=24,
    height=12,
    columns=LIMITS | OF_UPDATE | {"fleet": Column(width=120)},
    no_value="no update was reported in this time",
)
TOP = table(
    "What crashes most?",
    "Crash signatures in this time, by hosts and days.",
    sql(f"""
SELECT signature_code AS code, signature_module AS module, sum(hosts) AS `host days`,
    sum(top_signatures.crashes) AS crashes,
       max(models) AS models
FROM top_signatures
WHERE {only("fleet")} AND {IN_TIME}
GROUP BY code, module
ORDER BY `host days` DESC LIMIT 10"""),
    width=24,
    height=12,
    unit="none",
    columns={"host days": Column(unit="none", width=100), "crashes": Column(unit="none", width=100),
             "models": Column(unit="none", width=100)},
    no_value="nothing crashed in this time",
)  # fmt: skip
FIRST = table(
    "What had nobody seen before?",
    "The newest crash signatures, and what had been installed last on the host that had each first.",
    sql(f"""
SELECT first_seen AS `first seen`, signature_code AS code, signature_module AS module,
       newest_update_there AS `installed there last`, hosts, crashes
FROM new_signatures
WHERE {only("fleet")} AND $__timeFilter(first_seen)
ORDER BY first_seen DESC LIMIT 10"""),
    width=24,
    height=12,
    columns={"first seen": Column(unit="dateTimeAsIso", width=170), "hosts": Column(unit="none", width=70),
             "crashes": Column(unit="none", width=80), "code": Column(width=190), "module": Column(width=140)},
    no_value="no new signature in this time",
)  # fmt: skip
MODELS = table(
    "Which models are fragile?",
    "Hosts of each model that crashed on some day of this time, whatever they had installed.",
    sql(f"""
SELECT model, hosts, crashed, crashed / hosts AS rate
FROM
(
    SELECT model, uniqExactMerge(stratum_days.crashed_hosts) AS crashed,
           greatest(uniqCombinedMerge(stratum_days.hosts), crashed) AS hosts
    FROM stratum_days WHERE {PLACE} AND {IN_TIME} GROUP BY model HAVING hosts > 0
)
ORDER BY rate DESC, hosts DESC LIMIT 10"""),
    width=12,
    columns={name: LIMITS[name] for name in ("hosts", "crashed", "rate")},
    no_value="no host reported in this time",
)
REFUSED = table(
    "What could not be read?",
    "Messages that were refused in this time, by reason: what is refused is no evidence, of hosts that may be ill.",
    sql("""
SELECT reason, stage, count() AS messages, max(at) AS newest
FROM dead_letters
WHERE $__timeFilter(at) AND reason != 'retried'
GROUP BY reason, stage
ORDER BY messages DESC LIMIT 10"""),
    width=12,
    columns={"messages": Column(unit="none", width=90), "newest": Column(unit="dateTimeAsIso", width=180)},
    no_value="nothing was refused in this time",
)

DASHBOARD = Dashboard(
    "quality",
    "Andon: fleet quality",
    "Is the fleet well, what makes it ill, and do we hear of it?",
    rows=[
        Row("", [CRASH_FREE, COVERAGE, HEARD, NEW]),
        Row("Week by week", [BY_WEEK, REPORTING]),
        Row("Updates", [VERSIONS, VENDORS]),
        Row("Signatures", [TOP, FIRST]),
        Row("Models, and what is not counted", [MODELS, REFUSED]),
    ],
    variables=[common.CLICKHOUSE, common.fleets(has_all=True), *common.updates(has_all=True), common.RING],
    annotations=common.moments(*UPDATE),
    links=common.links("quality"),
    since="now-30d",
    refresh="5m",
)
