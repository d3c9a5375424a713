"""Incident: one update. What happened, when, to whom, and what stopped it?"""

from grafana.dashboards import common
from grafana.dashboards.common import UPDATE
from grafana.dashboards.evidence import rates
from grafana.model.colours import BLUE, GREY, ORANGE, RED
from grafana.model.dashboard import Dashboard, Row, Variable
from grafana.model.kinds import big, columns, lines, table
from grafana.model.panels import Column
from grafana.model.queries import exactly, only, sql, value

THIS = exactly(*UPDATE)
LISTED = (
    f"arrayExists((v, p, n) -> v = {value('vendor')} AND p = {value('product')} AND n = {value('version')}, "
    "`updates.vendor`, `updates.product`, `updates.version`)"
)
TEXTS = {"fields": "/.*/", "values": True}

STATE = big(
    "How does it stand?",
    "By the newest verdict of each ring, the worst of them.",
    sql(f"""
SELECT argMax(state, indexOf(['cleared', 'watching', 'shadow_halted', 'resumed', 'pending', 'halted'], state)) AS state
FROM verdicts_now
WHERE {THIS}
HAVING count() > 0"""),
    unit="none",
    width=4,
    columns={"state": Column(states=True)},
    steps=((None, GREY),),
    no_value="the detector has said nothing about it",
    links=[("What to do: AndonHaltIssued", f"{common.RUNBOOKS}/AndonHaltIssued")],
    **TEXTS,
)
HOSTS = big(
    "How many have it, and how many crashed?",
    "Hosts that reported with it installed, and of these such that reported a crash, whatever crashed them. Over all "
    "time.",
    sql(f"SELECT hosts AS `have it`, crashed_hosts AS `of these crashed` FROM crash_rate_by_update WHERE {THIS}"),
    unit="none",
    width=6,
    columns={"of these crashed": Column(colour=RED)},
    steps=((None, BLUE),),
    no_value="nobody has reported it",
)
SPARED = big(
    "How many machines were spared?",
    "Hosts of the halted rings that never had it, times the share that it crashed: a range. At least is 0 while "
    "nothing "
    "proves that somebody obeyed.",
    sql(f"SELECT spared_low AS `at least`, spared_high AS `at most` FROM machines_spared WHERE {THIS}"),
    unit="none",
    width=6,
    steps=((None, BLUE),),
    no_value="it was never halted",
)
PROOF = big(
    "What proves it?",
    "Acknowledged: a rollout system confirmed that it has stopped. Installations ended: nearly none followed, though "
    "hosts "
    "went on reporting. Unproven: neither, or installations went on.",
    sql(f"SELECT proof, silent_hosts AS `fell silent` FROM machines_spared WHERE {THIS}"),
    unit="none",
    width=8,
    columns={"proof": Column(steps=((None, GREY),))},
    steps=((None, GREY),),
    no_value="it was never halted",
    **TEXTS,
)
ACCOUNT = table(
    "Why was it halted?",
    "The first halt of it, in the words of its signed record. All of it: andon halts why.",
    sql(f"""
WITH
    (SELECT max(threshold) FROM verdicts WHERE {THIS}) AS threshold,
    (
        SELECT argMax(if(explanation_kind = 'signature', concat(explanation_code, ' ', explanation_module),
                      concat(explanation_kind, ' ', arrayStringConcat(explanation_strata, ' '))), log10_evidence)
        FROM verdicts WHERE {THIS}
    ) AS weighs_most
SELECT row.1 AS what, row.2 AS says
FROM
(
    SELECT * FROM halts FINAL WHERE {THIS} AND action = 'halt' ORDER BY issued_at LIMIT 1
)
ARRAY JOIN
    [
        ('Why', reason),
        ('Ordered', concat(formatDateTime(issued_at, '%F %T'), ' UTC, rings ', arrayStringConcat(rings, ' '))),
        ('Decided', if(stream_time IS NULL, '', concat(formatDateTime(assumeNotNull(stream_time), '%F %T'), ' UTC,
            by the events'))),
        ('Decided by', concat(decided_by, ', policy ', policy)),
        ('Crashed hosts', concat(toString(ifNull(observed, 0)), ' crashes where ', toString(round(ifNull(expected,
            0), 4)),
            ' were expected')),
        ('Evidence', concat('10^', toString(round(ifNull(log10_evidence, 0), 1)), ' of 10^', toString(threshold), ',
            ', basis)),
        ('Weighs most', weighs_most),
        ('Stands until', concat(formatDateTime(expires_at, '%F %T'), ' UTC'))
    ] AS row
WHERE row.2 != ''"""),
    width=12,
    height=10,
    columns={"what": Column(width=120), "says": Column(custom={"cellOptions": {"type": "auto", "wrapText": True}})},
    no_value="it was never halted",
    links=[("What to do: AndonHaltIssued", f"{common.RUNBOOKS}/AndonHaltIssued")],
)
TIMELINE = table(
    "What happened when?",
    "From the first host that installed it to the last. `events` is the time of the events, `clock` the clock on the "
    "wall: "
    "after a replay the two have nothing to do with each other.",
    sql(f"""
SELECT at, what, who, by
FROM
(
    SELECT min(installed) AS at, 1 AS step, 'first installed' AS what, '' AS who, 'events' AS by
    FROM update_days WHERE {THIS} HAVING count() > 0
    UNION ALL
    SELECT toDateTime64(min(minute), 3, 'UTC'), 2, 'first crash with it', '', 'events'
    FROM update_minutes WHERE {THIS} HAVING count() > 0
    UNION ALL
    SELECT decided_at, 3, 'halt decided', arrayStringConcat(rings, ' '), 'events' FROM halt_moments WHERE {THIS}
    UNION ALL
    SELECT min(issued_at), 4, any(if(action = 'halt', 'halt ordered', 'resumed')), any(decided_by), 'clock'
    FROM halts WHERE {THIS} GROUP BY epoch
    UNION ALL
    SELECT issued_at + toIntervalMillisecond(toInt64(1000 * assumeNotNull(seconds_to_confirmed))), 5, concat(action,
        ' confirmed'), subscriber, 'clock'
    FROM obedience WHERE {THIS} AND seconds_to_confirmed IS NOT NULL
    UNION ALL
    SELECT assumeNotNull(max(last_install)), 6, 'last new installation', '', 'events'
    FROM verdicts WHERE {THIS} AND last_install IS NOT NULL HAVING count() > 0
)
ORDER BY step, at LIMIT 100"""),
    width=12,
    height=10,
    columns={"at": Column(unit="dateTimeAsIso", width=180), "by": Column(width=70)},
    no_value="nobody has reported it",
)
PER_MINUTE = lines(
    "How fast does it spread, and crash?",
    "Hosts a minute that installed it, by what each last said (a week back at most), and hosts a minute that crashed "
    "with "
    "it. A host that died before it could report an installation is in neither.",
    sql(
        f"""
SELECT toStartOfInterval(at, toIntervalSecond(greatest(60, $__interval_s))) AS time,
       count() * 60 / greatest(60, $__interval_s) AS `installed it`
FROM
(
    SELECT arrayMin(arrayFilter((at, v, p, n) -> v = {value("vendor")} AND p = {value("product")}
          AND n = {value("version")},
               `updates.installed_at`, `updates.vendor`, `updates.product`, `updates.version`)) AS at
    FROM hosts FINAL
    WHERE fleet = {value("fleet")} AND {only("ring")} AND has(`updates.version`, {value("version")}) AND {LISTED}
)
WHERE $__timeFilter(at)
GROUP BY time
ORDER BY time LIMIT 10000""",
        "series",
    ),
    sql(
        f"""
SELECT toStartOfInterval(minute, toIntervalSecond(greatest(60, $__interval_s))) AS time,
       uniqExactMerge(update_minutes.crashed_hosts) * 60 / greatest(60, $__interval_s) AS `crashed with it`
FROM update_minutes
WHERE {THIS} AND {only("ring")} AND $__timeFilter(minute)
GROUP BY time
ORDER BY time LIMIT 10000""",
        "series",
    ),
    unit="cpm",
    width=12,
    height=9,
    custom={"drawStyle": "bars", "fillOpacity": 70, "lineWidth": 1},
    columns={"installed it": Column(colour=BLUE), "crashed with it": Column(colour=RED)},
    no_value="nobody installed it, and nobody crashed with it, in this time",
)
SO_FAR = columns(
    "How far has it come?",
    "Hosts that installed it, by the hour: for a year.",
    sql(
        f"""
SELECT hour AS time, ring, uniqCombinedMerge(update_installs.hosts) AS hosts
FROM update_installs
WHERE {THIS} AND {only("ring")} AND $__timeFilter(hour)
GROUP BY time, ring
ORDER BY time, ring LIMIT 10000""",
        "series",
    ),
    unit="none",
    width=12,
    display_name="${__field.labels.ring}",
    no_value="nobody installed it in this time",
)
SPREADS = lines(
    "Does it still spread?",
    "Hosts a minute that still installed it after its halt, as the detector says, and the evidence against it.",
    sql(
        f"""
SELECT at AS time, max(spreading_hosts_per_minute) AS `still install it`
FROM verdicts
WHERE {THIS} AND $__timeFilter(at) AND spreading_hosts_per_minute IS NOT NULL
GROUP BY at
ORDER BY time LIMIT 5000""",
        "series",
    ),
    unit="cpm",
    width=12,
    steps=((None, BLUE), (1, RED)),
    limit=True,
    custom={"spanNulls": True, "lineInterpolation": "stepAfter"},
    no_value="it was not halted in this time",
)
RIVALS = table(
    "What else could it have been?",
    "Other updates of the hosts that crashed with it: how many crashed with both, and how many with the other alone. "
    "Evidence "
    "against the other, and what is left against this one on hosts without the other, as powers of ten.",
    sql(f"""
WITH
    (
        SELECT mapFromArrays(
            arrayMap(c -> JSONExtractString(c, 'on_without'), JSONExtractArrayRaw(argMax(record, at),
                'conditional') AS found),
            arrayMap(c -> JSONExtractFloat(c, 'log10_evidence'), found))
        FROM verdicts WHERE {THIS}
    ) AS without,
    others AS
    (
        SELECT concat(vendor, '/', product, '/', version) AS rival, max(log10_evidence) AS evidence
        FROM verdicts WHERE fleet = {value("fleet")} GROUP BY rival
    )
SELECT c.rival AS rival, c.both AS `crashed with both`, c.alone AS `with the other alone`,
       round(o.evidence, 1) AS `against the other`,
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
WHERE both > 0 AND rival != concat({value("vendor")}, '/', {value("product")}, '/', {value("version")})
ORDER BY both DESC, alone LIMIT 20"""),
    width=12,
    unit="none",
    no_value="hosts that crashed with it have nothing else",
)
HIT = table(
    "Who is hit: rings and models",
    "Hosts that crashed with it in this time, by ring and model.",
    sql(f"""
SELECT ring, model, uniqExactMerge(update_minutes.crashed_hosts) AS `crashed hosts`
FROM update_minutes
WHERE {THIS} AND {only("ring")} AND $__timeFilter(minute)
GROUP BY ring, model
ORDER BY ring, model LIMIT 200"""),
    width=12,
    unit="none",
    steps=((None, "transparent"), (1, ORANGE), (10, RED)),
    transformations=[
        {
            "id": "groupingToMatrix",
            "options": {
                "columnField": "model",
                "rowField": "ring",
                "valueField": "crashed hosts",
                "emptyValue": "zero",
            },
        }
    ],
    no_value="nobody: no host crashed with it in this time",
)._replace(custom={"align": "center", "cellOptions": {"type": "color-background"}, "filterable": False})
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
    "&${version:queryparam}&${prometheus_datasource:queryparam}&${clickhouse_datasource:queryparam}&${__url_time_range}",
)
CRASHES = table(
    "Which crash reports?",
    "The newest hundred of hosts that have it, in this time. A host leads to all that it reported, below.",
    sql(f"""
SELECT ts AS at, host, ring, model, site, kind, signature_code AS code, signature_module AS module,
       arrayStringConcat(arrayMap((v, p, n) -> concat(v, '/', p, '/', n), `updates.vendor`, `updates.product`,
           `updates.version`), ' ')
           AS `has installed`
FROM crashes FINAL
WHERE fleet = {value("fleet")} AND {only("ring")} AND $__timeFilter(ts) AND {LISTED}
ORDER BY ts DESC LIMIT 100"""),
    width=24,
    columns={
        "at": Column(unit="dateTimeAsIso", width=180),
        "host": Column(link=TO_HOST),
        "kind": Column(width=90),
        "code": Column(width=90),
        "has installed": Column(custom={"inspect": True}),
    },
    no_value="no crash report with it in this time",
)
EVENTS = table(
    "What did this host report?",
    "The newest two hundred events of the host that is chosen at the top or in the table above, in this time.",
    sql(f"""
SELECT ts AS at, kind, prior AS `session before`, signature_code AS code, signature_module AS module, ring, os, model,
       arrayStringConcat(arrayMap((v, p, n) -> concat(v, '/', p, '/', n), `updates.vendor`, `updates.product`,
           `updates.version`), ' ')
           AS `has installed`
FROM events_once
WHERE fleet = {value("fleet")} AND host = {value("host")} AND $__timeFilter(ts)
ORDER BY ts DESC LIMIT 200"""),
    width=24,
    columns={"at": Column(unit="dateTimeAsIso", width=180), "has installed": Column(custom={"inspect": True})},
    no_value="choose a host: in the table above, or by its name at the top",
)

DASHBOARD = Dashboard(
    "incident",
    "Andon: incident",
    "One update: what happened, when, to whom, and what stopped it?",
    rows=[
        Row("", [STATE, HOSTS, SPARED, PROOF]),
        Row("The account", [ACCOUNT, TIMELINE]),
        Row("How it went", [PER_MINUTE, rates(*UPDATE), SPREADS, SO_FAR]),
        Row("Who, and what else", [HIT, SIGNATURES, RIVALS._replace(width=24)]),
        Row("The reports themselves", [CRASHES, EVENTS]),
    ],
    variables=[
        common.PROMETHEUS, common.CLICKHOUSE, common.fleets(has_all=False), *common.updates(has_all=False), common.RING,
        Variable("host", "Host", "text", description="shows everything that it reported"),
    ],
    annotations=common.moments(*UPDATE),
    links=common.links("incident"),
    since="now-24h",
    refresh="1m",
)  # fmt: skip
