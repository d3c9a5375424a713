"""Incident: one update. What happened, when, to whom, and what stopped it?"""

from grafana.dashboards import common, reports
from grafana.dashboards.common import UPDATE
from grafana.dashboards.evidence import rates
from grafana.dashboards.hit import hit
from grafana.model.colours import BLUE, GREY, RED
from grafana.model.dashboard import Dashboard, Row, Variable
from grafana.model.kinds import big, columns, lines, table
from grafana.model.panels import Column
from grafana.model.queries import exactly, only, sql, value

THIS = exactly(*UPDATE)
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
DOUBT = big(
    "Is the halt in doubt?",
    "What later evidence speaks for instead, on hosts that have only one of the two. It stands until people lift it.",
    sql(f"""
SELECT if(empty(found), 'nothing speaks against it', arrayStringConcat(found, ', ')) AS rather
FROM (SELECT groupUniqArrayArray(doubted_for) AS found FROM doubtful_halts WHERE {THIS})"""),
    unit="none",
    width=5,
    steps=((None, GREY),),
    no_value="nobody tells",
    links=[("What to do: AndonHaltDoubtful", f"{common.RUNBOOKS}/AndonHaltDoubtful")],
    **TEXTS,
)
HOSTS = big(
    "How many have it, and how many crashed?",
    "Hosts that reported with it installed, and of these such that reported a crash, whatever crashed them. Over all "
    "time.",
    sql(f"SELECT hosts AS `have it`, crashed_hosts AS `of these crashed` FROM crash_rate_by_update WHERE {THIS}"),
    unit="none",
    width=5,
    columns={"of these crashed": Column(colour=RED)},
    steps=((None, GREY), (0, BLUE)),
    no_value="nobody has reported it",
)
# Without the LIMIT ClickHouse moves the condition through the whole view: a tenth of the query's time, for few halts.
SPARED = big(
    "How many machines were spared?",
    "Hosts of the halted rings that never had it, times the share that it crashed: a range; at least is 0 while "
    "unproven. Acknowledged: a rollout system confirmed that it has stopped. Installations ended: nearly none "
    "followed, though hosts went on reporting. Who fell silent may have had it, and be dead.",
    sql(f"""
SELECT spared_low AS `at least`, spared_high AS `at most`, proof, silent_hosts AS `fell silent`
FROM (SELECT * FROM machines_spared LIMIT 1000000000) WHERE {THIS}"""),
    unit="none",
    width=10,
    columns={"proof": Column(colour=GREY), "fell silent": Column(colour=GREY)},
    steps=((None, GREY), (0, BLUE)),
    no_value="it was never halted",
    **TEXTS,
)
ACCOUNT = table(
    "Why was it halted?",
    "The newest order about it and who gave it; and what Andon decided last, with the evidence and the bar of that "
    "record. All of it: andon halts why.",
    sql(f"""
WITH orders AS
(
    SELECT
        epoch, action, min(halts.issued_at) AS at, argMin(tuple(halts.stream_time), halts.issued_at).1 AS crash_at,
        argMax(halts.expires_at, halts.issued_at) AS ends, argMin(halts.rings, halts.issued_at) AS rings,
        argMin(halts.decided_by, halts.issued_at) AS who, argMin(halts.policy, halts.issued_at) AS policy,
        argMin(halts.reason, halts.issued_at) AS why, argMin(halts.record, halts.issued_at) AS signed
    FROM halts WHERE {THIS}
    GROUP BY epoch, action
)
SELECT row.1 AS what, row.2 AS says
FROM
(
    SELECT 1 AS part, n, row
    FROM
    (
        SELECT [
            (if(action = 'halt', 'Halted', 'Lifted'), concat(formatDateTime(at, '%F %T'), ' UTC by ', who, ', epoch ',
                toString(epoch), ', rings ', arrayStringConcat(rings, ' '))),
            ('Why', why),
            (if(action = 'halt', 'Stands until', 'Lifted until'), concat(formatDateTime(ends, '%F %T'), ' UTC'))
        ] AS rows
        FROM (SELECT * FROM orders ORDER BY epoch DESC, action = 'halt' DESC LIMIT 1)
    )
    ARRAY JOIN rows AS row, arrayEnumerate(rows) AS n
    UNION ALL
    SELECT 2 AS part, n, row
    FROM
    (
        SELECT [
            ('Andon decided', concat(ifNull(formatDateTime(crash_at, '%F %T'), ''), ' UTC by the events, epoch ',
                toString(epoch), ', policy ', policy)),
            ('Andon said', why),
            ('Crashes', concat(JSONExtractRaw(signed, 'evidence', 'observed'), ', where ',
                toString(round(JSONExtractFloat(signed, 'evidence', 'expected'), 4)), ' were expected')),
            ('Evidence', concat('10^', toString(round(JSONExtractFloat(signed, 'evidence', 'log10_evidence'), 1)),
                ' of 10^', toString(round(JSONExtractFloat(signed, 'evidence', 'threshold'), 1)), ', basis ',
                JSONExtractString(signed, 'evidence', 'basis'))),
            ('Weighs most', arrayStringConcat(arrayConcat([JSONExtractString(signed, 'evidence', 'explanation', 'code'),
                JSONExtractString(signed, 'evidence', 'explanation', 'module')],
                JSONExtract(signed, 'evidence', 'explanation', 'strata', 'Array(String)')), ' '))
        ] AS rows
        FROM (SELECT * FROM orders WHERE who = 'andon' AND crash_at IS NOT NULL ORDER BY epoch DESC LIMIT 1)
    )
    ARRAY JOIN rows AS row, arrayEnumerate(rows) AS n
)
WHERE trim(row.2) != ''
ORDER BY part, n LIMIT 20"""),
    width=12,
    height=10,
    columns={"what": Column(width=120), "says": Column(custom={"cellOptions": {"type": "auto", "wrapText": True}})},
    no_value="it was never halted",
    links=[("What to do: AndonHaltIssued", f"{common.RUNBOOKS}/AndonHaltIssued")],
)
TIMELINE = table(
    "What happened when?",
    "From the first host that installed it to the last. `events` is the time of the events, `clock` the clock on the "
    "wall: after a replay the two have nothing to do with each other.",
    sql(f"""
SELECT at, what, who, by
FROM
(
    SELECT min(installed) AS at, 1 AS step, 'first installed' AS what, '' AS who, 'events' AS by
    FROM update_days WHERE {THIS} HAVING count() > 0
    UNION ALL
    SELECT min(crashed_at), 2, 'first crash with it', '', 'events'
    FROM crashes WHERE fleet = {value("fleet")} AND {reports.LISTED} HAVING count() > 0
    UNION ALL
    SELECT assumeNotNull(stream_time), 3, 'halt decided', arrayStringConcat(argMin(rings, epoch), ' '), 'events'
    FROM halts WHERE {THIS} AND action = 'halt' AND stream_time IS NOT NULL GROUP BY stream_time
    UNION ALL
    SELECT min(issued_at), 4, if(action = 'halt', 'halt ordered', 'resumed'), any(decided_by), 'clock'
    FROM halts WHERE {THIS} GROUP BY epoch, action
    UNION ALL
    SELECT issued_at + toIntervalMillisecond(toInt64(1000 * assumeNotNull(seconds_to_confirmed))), 5, concat(action,
        ' confirmed'), subscriber, 'clock'
    FROM obedience WHERE {THIS} AND seconds_to_confirmed IS NOT NULL
    UNION ALL
    SELECT assumeNotNull(max(last_install)), 6, 'last new installation', '', 'events'
    FROM verdicts WHERE {THIS} AND last_install IS NOT NULL HAVING count() > 0
)
ORDER BY by DESC, at, step LIMIT 100"""),
    width=12,
    height=10,
    columns={"at": Column(unit="dateTimeAsIso", width=180), "by": Column(width=70)},
    no_value="nobody has reported it",
)
PER_MINUTE = lines(
    "How fast does it spread, and crash?",
    "Hosts a minute that installed it, by what each last said (a week back at most), and hosts a minute that crashed "
    "with it. A host that died before it could report an installation is in neither.",
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
    WHERE fleet = {value("fleet")} AND {only("ring")} AND has(`updates.version`, {value("version")})
          AND {reports.LISTED}
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
DASHBOARD = Dashboard(
    "incident",
    "Andon: incident",
    "One update: what happened, when, to whom, and what stopped it?",
    rows=[
        Row("", [STATE, DOUBT, HOSTS, SPARED]),
        Row("The account", [ACCOUNT, TIMELINE]),
        Row("How it went", [PER_MINUTE, rates(*UPDATE), SPREADS, SO_FAR]),
        Row("Who, and what else", [hit(), reports.SIGNATURES, reports.RIVALS]),
        Row("The reports themselves", [reports.CRASHES, reports.EVENTS]),
    ],
    variables=[
        common.CLICKHOUSE, common.fleets(has_all=False), *common.updates(has_all=False), common.RING,
        Variable("host", "Host", "text", description="shows everything that it reported"),
    ],
    annotations=common.moments(*UPDATE),
    links=common.links("incident"),
    since="now-6h",
    refresh="1m",
)  # fmt: skip
