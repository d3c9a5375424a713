"""Rollout watch: the SOC's wall. What goes out now, what does it do to machines, and does it stop when it is halted?"""

from grafana.dashboards import common
from grafana.dashboards.common import NAME, NAMED, OF_UPDATE, PARTS, UPDATE
from grafana.dashboards.evidence import RATES, worst
from grafana.dashboards.hit import hit
from grafana.model.colours import BLUE, GREY, ORANGE, RED
from grafana.model.dashboard import Dashboard, Row
from grafana.model.kinds import alerts, bars, big, lines, table
from grafana.model.panels import Column
from grafana.model.queries import chosen, metric, most, only, prom, sql

FLEET = chosen("fleet")
THIS = chosen(*UPDATE)
STANDING, PENDING_STATE = 'state=~"standing|expired|unknown"', 'state="pending"'
BIG = {"width": 5, "height": 5}

HALTED = big(
    "Is anything halted?",
    "Updates that stand halted, an expired or disturbed halt among them: none of these may go on. Who says it: "
    "`andon notify`, which verifies every record.",
    prom(f"sum({most('andon_standing_halts', ('fleet', 'state'), FLEET, STANDING)}) or {common.heard(FLEET)}"),
    unit="none",
    says={"0": "NOTHING HALTED"},
    steps=((None, GREY), (0, BLUE), (1, RED)),
    no_value="UNKNOWN: NOBODY TELLS",
    links=[("What to do: AndonHaltIssued", f"{common.RUNBOOKS}/AndonHaltIssued")],
    **BIG,
)
PENDING = big(
    "Does a halt wait for a person?",
    "Halts that are decided and wait for an approval.",
    prom(f"sum({most('andon_standing_halts', ('fleet', 'state'), FLEET, PENDING_STATE)}) or {common.heard(FLEET)}"),
    unit="none",
    says={"0": "NONE WAITS"},
    steps=((None, GREY), (0, BLUE), (1, ORANGE)),
    no_value="UNKNOWN: NOBODY TELLS",
    links=[("What to do: AndonHaltWaiting", f"{common.RUNBOOKS}/AndonHaltWaiting")],
    **BIG,
)
OBEYED = big(
    "Who has not stopped?",
    "Halts that a rollout system has not confirmed, counted for each of them.",
    prom(f"sum({most('andon_unconfirmed_halts', ('fleet', 'subscriber'), FLEET)}) or {common.heard(FLEET)}"),
    unit="none",
    says={"0": "ALL HAVE STOPPED"},
    steps=((None, GREY), (0, BLUE), (1, RED)),
    no_value="UNKNOWN: NOBODY TELLS",
    links=[("What to do: AndonHaltUnconfirmed", f"{common.RUNBOOKS}/AndonHaltUnconfirmed")],
    **BIG,
)
LISTENS = big(
    "Does the detector listen?",
    "Age of the oldest of the newest verified heartbeats, a fleet each. Past 30 s nothing is permitted; past 60 s "
    "AndonDetectorSilent fires: then nothing would be halted.",
    prom(f"max(time() - max by (fleet) ({metric('andon_detector_heartbeat_timestamp_seconds', FLEET)}))"),
    unit="s",
    decimals=0,
    steps=((None, GREY), (0, BLUE), (30, ORANGE), (60, RED)),
    no_value="UNKNOWN: NOBODY TELLS",
    links=[("What to do: AndonDetectorSilent", f"{common.RUNBOOKS}/AndonDetectorSilent")],
    **BIG,
)
ALARM = big(
    "Crashes for no reason?",
    "Fleets whose unattributed alarm sounds: they crash far more than they ever did, and no update can be named. "
    "Nothing is halted by it; `andon status` says what the crashed hosts have in common.",
    prom(f"sum({most('andon_fleet_alarm', ('fleet',), FLEET)}) or {common.heard(FLEET)}"),
    unit="none",
    says={"0": "NONE"},
    steps=((None, GREY), (0, BLUE), (1, RED)),
    no_value="UNKNOWN: NOBODY TELLS",
    links=[("What to do: AndonFleetAlarm", f"{common.RUNBOOKS}/AndonFleetAlarm")],
    **BIG | {"width": 4},
)
RISE = lines(
    "How much more do they crash than usual?",
    "Crashed hosts that nobody can be named for, times as many as in the worst usual hour; while the alarm sounds.",
    prom(most("andon_fleet_alarm_rise_ratio", ("fleet",), FLEET), "{{fleet}}"),
    unit="none",
    width=12,
    no_value="no alarm sounds, or nobody tells",
)
DOUBTFUL = table(
    "Which halts are in doubt?",
    "Updates that stand halted while later evidence speaks for another one, on hosts that have only one of the "
    "two. They stand until people lift them.",
    sql(f"""
SELECT fleet, {NAME}, arrayStringConcat(doubted_for, ', ') AS `rather`, at AS said, {PARTS}
FROM doubtful_halts
WHERE {only(*UPDATE)}
ORDER BY said DESC LIMIT 5"""),
    width=12,
    columns=OF_UPDATE | {"fleet": Column(width=90)},
    no_value="no halt is in doubt",
    links=[("What to do: AndonHaltDoubtful", f"{common.RUNBOOKS}/AndonHaltDoubtful")],
)
EVIDENCE = bars(
    "How near is each update to a halt?",
    "Evidence against it as a share of what halts it, both as powers of ten: at 100 % it is halted. The eight with "
    "most; others are counted in andon_updates_not_shown.",
    prom(
        f"sort_desc(topk(8, clamp_min({most('andon_update_evidence_log10', UPDATE, THIS)} / "
        f"{most('andon_update_threshold_log10', UPDATE, THIS)}, 0)))",
        NAMED,
        "now",
    ),
    unit="percentunit",
    width=12,
    height=9,
    limits={"min": 0, "max": 1},
    decimals=0,
    steps=((None, GREY), (0.5, ORANGE), (1, RED)),
    no_value="no update is under watch, or nobody tells",
)
GOING_OUT = table(
    "What is going out now?",
    "Updates that hosts installed within three days, by what hosts report: how far each has come, and how many in "
    "this hour and the one before.",
    sql(f"""
SELECT fleet, {NAME}, arrayStringConcat(arraySort(groupUniqArray(ring)), ' ') AS rings,
       uniqCombinedMerge(update_installs.hosts) AS `hosts so far`,
       uniqCombinedMergeIf(update_installs.hosts,
           hour >= toStartOfHour($__toTime) - INTERVAL 1 HOUR) AS `last hour`, {PARTS}
FROM update_installs
WHERE {only(*UPDATE, "ring")} AND day >= toDate($__toTime) - 4 AND hour >= $__toTime - INTERVAL 3 DAY
      AND hour <= $__toTime
GROUP BY fleet, vendor, product, version
ORDER BY `last hour` DESC, `hosts so far` DESC LIMIT 7"""),
    width=12,
    height=9,
    columns=OF_UPDATE
    | {
        "fleet": Column(width=88),
        "rings": Column(width=110),
        "hosts so far": Column(width=100),
        "last hour": Column(width=80),
    },
    no_value="nobody has installed anything within three days",
)
BOARD = table(
    "How does each update stand?",
    "The newest verdict of each update, the worst of its rings: crashed hosts and reports of hosts that have it, and "
    "evidence as a power of ten. What was halted stands first.",
    sql(f"""
SELECT fleet, {NAME},
       argMax(state, indexOf(['cleared', 'watching', 'shadow_halted', 'resumed', 'pending', 'halted'], state)) AS state,
       round(max(log10_evidence), 1) + 0 AS evidence, any(threshold) AS limit, sum(crashed_hosts) AS crashed, {PARTS}
FROM verdicts_now
WHERE {only(*UPDATE)} AND at >= $__toTime - INTERVAL 3 DAY
GROUP BY fleet, vendor, product, version
ORDER BY state IN ('halted', 'pending') DESC, evidence DESC LIMIT 7"""),
    width=12,
    height=9,
    columns=OF_UPDATE
    | {
        "state": Column(states=True, width=120),
        "evidence": Column(unit="none", decimals=1, width=85),
        "limit": Column(unit="none", width=50),
        "crashed": Column(unit="none", width=70),
        "fleet": Column(width=88),
    },
    no_value="no update is under watch",
)
WHO_OBEYED = table(
    "Who has obeyed?",
    "The newest orders and what each subscriber said to them, by its own signature. Unanswered is one that has been "
    "heard of within 30 days and says nothing to this.",
    sql(f"""
SELECT fleet, {NAME}, action AS ordered, if(subscriber = '', '(no subscriber)', subscriber) AS subscriber, status,
       seconds_to_confirmed AS after, {PARTS}
FROM obedience
WHERE {only(*UPDATE)}
ORDER BY issued_at DESC, subscriber LIMIT 6"""),
    width=12,
    columns=OF_UPDATE
    | {
        "status": Column(states=True, width=120),
        "after": Column(unit="s", width=75),
        "ordered": Column(width=70),
        "subscriber": Column(width=110),
        "fleet": Column(width=88),
    },
    no_value="nothing was ordered",
)
SIGNATURES = table(
    "Who is hit: signatures",
    "Crash signatures of hosts that have the update, in this time, and of how many hosts.",
    sql(f"""
WITH {worst(only(*UPDATE))}
SELECT signature_code AS code, signature_module AS module, uniqExact(host) AS hosts, count() AS crashes
FROM crashes FINAL
WHERE fleet = worst.1 AND {only("ring")} AND $__timeFilter(ts) AND kind = 'crash'
      AND arrayExists((v, p, n) -> (v, p, n) = (worst.2, worst.3, worst.4), `updates.vendor`, `updates.product`,
          `updates.version`)
GROUP BY code, module
ORDER BY hosts DESC, crashes DESC LIMIT 8"""),
    width=6,
    columns={
        "hosts": Column(unit="none", width=70),
        "crashes": Column(unit="none", width=80),
        "code": Column(width=90),
    },
    no_value="no crash report with it",
)
ALERTS = alerts(
    "What rings?",
    "Alerts that fire or are about to: of Grafana's own rules and of Prometheus'. Each has a runbook.",
    width=6,
    links=[("Runbooks", f"{common.RUNBOOKS}/")],
)

DASHBOARD = Dashboard(
    "rollout-watch",
    "Andon: rollout watch",
    "What goes out now, what does it do to machines, and does it stop when it is halted?",
    rows=[
        Row("", [HALTED, PENDING, OBEYED, LISTENS, ALARM]),
        Row("What goes out, and how near to a halt", [EVIDENCE, GOING_OUT, BOARD, RATES]),
        Row("Halts, and who is hit", [WHO_OBEYED, hit(), SIGNATURES._replace(width=12), ALERTS._replace(width=12)]),
        Row("Alarms and doubt", [RISE, DOUBTFUL]),
    ],
    variables=[
        common.PROMETHEUS, common.CLICKHOUSE, common.JOB, common.fleets(has_all=True), *common.updates(has_all=True),
        common.RING,
    ],
    annotations=common.moments(*UPDATE),
    links=common.links("rollout-watch"),
    since="now-6h",
)  # fmt: skip
