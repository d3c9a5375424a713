"""Of one update: what else it could have been, how hosts crash with it, and the reports themselves."""

from grafana.dashboards.common import UPDATE
from grafana.model.kinds import table
from grafana.model.panels import Column
from grafana.model.queries import exactly, only, sql, value

# SQL: a report's host lists the update that is chosen.
LISTED = (
    f"arrayExists((v, p, n) -> v = {value('vendor')} AND p = {value('product')} AND n = {value('version')}, "
    "`updates.vendor`, `updates.product`, `updates.version`)"
)
THIS = f"{value('vendor')}, '/', {value('product')}, '/', {value('version')}"
RIVALS = table(
    "What else could it have been?",
    "Other updates of the hosts that crashed with it: how many crashed with both, and how many with the other alone. "
    "Evidence against the other, and what is left against this one on hosts without the other, as powers of ten.",
    sql(f"""
WITH
    (
        SELECT mapFromArrays(
            arrayMap(c -> JSONExtractString(c, 'on_without'), JSONExtractArrayRaw(argMax(record, at),
                'conditional') AS found),
            arrayMap(c -> JSONExtractFloat(c, 'log10_evidence'), found))
        FROM verdicts WHERE {exactly(*UPDATE)}
    ) AS without,
    others AS
    (
        SELECT concat(vendor, '/', product, '/', version) AS rival, max(log10_evidence) AS evidence
        FROM verdicts WHERE fleet = {value("fleet")} GROUP BY rival
    )
SELECT c.rival AS rival, c.both AS `crashed with both`, c.alone AS `with the other alone`,
       round(o.evidence, 1) + 0 AS `against the other`,
       if(mapContains(without, c.rival), toString(round(without[c.rival], 1)), '') AS `left without the other`
FROM
(
    SELECT arrayJoin(arrayDistinct(arrayMap((v, p, n) -> concat(v, '/', p, '/', n),
               `updates.vendor`, `updates.product`, `updates.version`))) AS rival,
           uniqExactIf(host, has_it) AS both, uniqExactIf(host, NOT has_it) AS alone
    FROM
    (
        SELECT *, {LISTED} AS has_it FROM crashes FINAL
        WHERE fleet = {value("fleet")} AND $__timeFilter(ts) AND notEmpty(`updates.version`)
    )
    GROUP BY rival
) AS c
LEFT JOIN others AS o USING (rival)
WHERE both > 0 AND rival != concat({THIS})
ORDER BY both DESC, alone LIMIT 20"""),
    width=24,
    unit="none",
    columns={
        "crashed with both": Column(unit="none", width=150),
        "with the other alone": Column(unit="none", width=160),
        "against the other": Column(unit="none", width=150),
        "left without the other": Column(width=180, custom={"align": "right"}),
    },
    no_value="hosts that crashed with it have nothing else",
)
SIGNATURES = table(
    "How do they crash?",
    "Crash signatures of hosts that have it in this time, and on how many hosts without it they are, too.",
    sql(f"""
SELECT signature_code AS code, signature_module AS module, uniqExactIf(host, has_it) AS `hosts with it`,
       uniqExactIf(host, NOT has_it) AS `hosts without it`
FROM
(
    SELECT host, signature_code, signature_module, {LISTED} AS has_it
    FROM crashes FINAL
    WHERE fleet = {value("fleet")} AND {only("ring")} AND kind = 'crash' AND $__timeFilter(ts)
)
GROUP BY code, module
HAVING `hosts with it` > 0
ORDER BY `hosts with it` DESC, code LIMIT 20"""),
    width=12,
    unit="none",
    no_value="no crash report with it in this time",
)
TO_HOST = (
    "Everything that this host reported",
    "/d/andon-incident?var-host=${__value.raw:percentencode}&${fleet:queryparam}&${vendor:queryparam}&${product:queryparam}"
    "&${version:queryparam}&${clickhouse_datasource:queryparam}&${__url_time_range}",
)
CRASHES = table(
    "Which crash reports?",
    "The newest 25 of hosts that have it, in this time. A host leads to all that it reported, below.",
    sql(f"""
SELECT ts AS at, host, ring, model, site, kind, signature_code AS code, signature_module AS module,
       arrayStringConcat(arrayMap((v, p, n) -> concat(v, '/', p, '/', n), `updates.vendor`, `updates.product`,
           `updates.version`), ' ')
           AS `has installed`
FROM crashes FINAL
WHERE fleet = {value("fleet")} AND {only("ring")} AND $__timeFilter(ts) AND {LISTED}
ORDER BY ts DESC LIMIT 25"""),
    width=24,
    height=12,
    columns={
        "at": Column(unit="dateTimeAsIso", width=180),
        "host": Column(link=TO_HOST, width=110),
        "ring": Column(width=80),
        "model": Column(width=140),
        "site": Column(width=140),
        "kind": Column(width=80),
        "code": Column(width=80),
        "module": Column(width=130),
        "has installed": Column(custom={"inspect": True}),
    },
    no_value="no crash report with it in this time",
)
EVENTS = table(
    "What did this host report?",
    "The newest 25 events of the host that is chosen at the top or in the table above, in this time.",
    sql(f"""
SELECT ts AS at, kind, prior AS `session before`, signature_code AS code, signature_module AS module, ring, os, model,
       arrayStringConcat(arrayMap((v, p, n) -> concat(v, '/', p, '/', n), `updates.vendor`, `updates.product`,
           `updates.version`), ' ')
           AS `has installed`
FROM events_once
WHERE fleet = {value("fleet")} AND host = {value("host")} AND $__timeFilter(ts)
ORDER BY ts DESC LIMIT 25"""),
    width=24,
    height=12,
    columns={
        "at": Column(unit="dateTimeAsIso", width=180),
        "kind": Column(width=90),
        "session before": Column(width=120),
        "code": Column(width=80),
        "module": Column(width=130),
        "ring": Column(width=80),
        "os": Column(width=160),
        "model": Column(width=140),
        "has installed": Column(custom={"inspect": True}),
    },
    no_value="choose a host: in the table above, or by its name at the top",
)
