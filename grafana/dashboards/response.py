"""Response: once Andon has decided, who stops, how fast, and who has ordered otherwise?"""

from grafana.dashboards import common
from grafana.dashboards.common import NAME, NAMED, OF_UPDATE, PARTS, UPDATE
from grafana.model.colours import BLUE, GREY, ORANGE, PURPLE, RED
from grafana.model.dashboard import Dashboard, Row
from grafana.model.kinds import alerts, bars, big, lines, table
from grafana.model.panels import Column
from grafana.model.queries import chosen, metric, most, only, prom, sql

FLEET, THIS = chosen("fleet"), chosen(*UPDATE)
SECONDS = Column(unit="s", width=110)


UNANSWERED = big(
    "Who has not answered a halt?",
    "Standing halts to which a rollout system has said nothing, counted for each of them.",
    prom(f"sum({most('andon_unacknowledged_halts', ('fleet', 'subscriber'), FLEET)}) or {common.heard(FLEET)}"),
    unit="none",
    says={"0": "ALL HAVE ANSWERED"},
    steps=((None, GREY), (0, BLUE), (1, RED)),
    no_value="UNKNOWN: NOBODY TELLS",
    links=[("What to do: AndonHaltUnacknowledged", f"{common.RUNBOOKS}/AndonHaltUnacknowledged")],
)
UNCONFIRMED = big(
    "Who has not stopped?",
    "Standing halts that a rollout system has not confirmed, counted for each of them.",
    prom(f"sum({most('andon_unconfirmed_halts', ('fleet', 'subscriber'), FLEET)}) or {common.heard(FLEET)}"),
    unit="none",
    says={"0": "ALL HAVE STOPPED"},
    steps=((None, GREY), (0, BLUE), (1, RED)),
    no_value="UNKNOWN: NOBODY TELLS",
    links=[("What to do: AndonHaltUnconfirmed", f"{common.RUNBOOKS}/AndonHaltUnconfirmed")],
)
# Of a halt that has no sample nobody knows whether it spreads: then only one that does spread says anything.
_RATE = most("andon_halt_spreading_hosts_per_minute", UPDATE, THIS)
_STANDS = most("andon_halt_issued_timestamp_seconds", UPDATE, THIS)
_UNKNOWN = f"count({_STANDS} unless {_RATE})"
SPREADS = f"(max({_RATE}) > 0) or ((max({_RATE}) or {common.heard(FLEET)}) unless {_UNKNOWN})"
SPREADING = big(
    "Does a halted update spread?",
    "Hosts a minute that still install one, as far as reported, of the one that does most. Unknown while "
    "nobody says so of one that stands.",
    prom(SPREADS),
    unit="cpm",
    says={"0": "NO"},
    steps=((None, GREY), (0, BLUE), (0.1, RED)),
    no_value="UNKNOWN: NOBODY TELLS",
    links=[("What to do: AndonHaltSpreading", f"{common.RUNBOOKS}/AndonHaltSpreading")],
)
OVERRIDES = big(
    "Which resume ends first?",
    "Time until the first resume that stands is over; then its halt stands again.",
    prom(f"min({most('andon_resume_expires_timestamp_seconds', UPDATE, THIS)} - time())"),
    unit="dtdurations",
    steps=((None, GREY), (0, ORANGE), (1800, PURPLE)),
    no_value="NONE, OR NOBODY TELLS",
    links=[("What to do: AndonResumeEnding", f"{common.RUNBOOKS}/AndonResumeEnding")],
)
STEPS = table(
    "How long does each step take?",
    "Halt by halt: from the first installation to the decision and from it to the last new installation by the time "
    "of the events, to the order and from it to the last rollout system that confirmed by the clock on the wall. "
    "After a replay the decision and the order have nothing to do with each other: that is left empty, "
    "and so it is of an order that carries on the evidence of one before: no crash decided that.",
    sql(f"""
WITH installs AS
(
    SELECT fleet, vendor, product, version, max(verdicts.last_install) AS last_install
    FROM verdicts WHERE {only(*UPDATE)} GROUP BY fleet, vendor, product, version
)
SELECT t.fleet AS fleet, {NAME}, t.halted_at AS ordered, if(carried, NULL, t.decided_at) AS decided,
       if(carried, NULL, t.seconds_release_to_decision) AS `to decision`,
       if(carried, NULL, t.seconds_decision_to_halt) AS `to order`,
       t.seconds_halt_to_stopped AS `to all stopped`, t.subscribers_stopped AS stopped,
       if(carried OR i.last_install IS NULL, NULL, dateDiff('second', t.decided_at, assumeNotNull(i.last_install)))
           AS `to last install`, t.vendor AS vendor, t.product AS product, t.version AS version
FROM
(
    SELECT *, min(epoch) OVER (PARTITION BY fleet, vendor, product, version, decided_at) < epoch AS carried
    FROM time_to_halt WHERE {only(*UPDATE)}
) AS t
LEFT JOIN installs AS i USING (fleet, vendor, product, version)
ORDER BY t.halted_at DESC LIMIT 7"""),
    width=24,
    columns=OF_UPDATE
    | {
        "fleet": Column(width=120),
        "ordered": Column(unit="dateTimeAsIso", width=170),
        "decided": Column(unit="dateTimeAsIso", width=170),
        "to decision": SECONDS,
        "to order": SECONDS,
        "to all stopped": SECONDS,
        "stopped": Column(unit="none", width=90),
        "to last install": SECONDS,
    },
    no_value="nothing was ever halted",
)
WHO = table(
    "Who obeyed which order?",
    "The newest orders; what each subscriber said, by its own signature and clock, after so many seconds.",
    sql(f"""
SELECT issued_at AS ordered, fleet, {NAME}, action,
       if(subscriber = '', '(no subscriber)', subscriber) AS subscriber, status,
       seconds_to_requested AS `asked to stop`, seconds_to_confirmed AS `has stopped`,
           seconds_to_effective AS `no new host`, detail, {PARTS}
FROM obedience
WHERE {only(*UPDATE)}
ORDER BY issued_at DESC, subscriber LIMIT 10"""),
    width=24,
    height=12,
    columns=OF_UPDATE
    | {
        "ordered": Column(unit="dateTimeAsIso", width=170),
        "fleet": Column(width=90),
        "action": Column(width=75),
        "update": Column(link=common.TO_INCIDENT, width=240),
        "status": Column(states=True, width=120),
        "asked to stop": SECONDS,
        "has stopped": SECONDS,
        "no new host": SECONDS,
    },
    no_value="nothing was ordered",
)
CONFIRM = bars(
    "How fast does each rollout system stop?",
    "Seconds from the order to its confirmation, of the newest halt that it confirmed.",
    prom(
        f"sort_desc({most('andon_halt_confirm_seconds', ('fleet', 'subscriber'), FLEET)})",
        "{{subscriber}} ({{fleet}})",
        "now",
    ),
    unit="s",
    width=8,
    steps=((None, BLUE), (60, ORANGE), (600, RED)),
    no_value="nobody has confirmed anything, or nobody tells",
)
SPREAD = lines(
    "How does it ebb?",
    "Hosts a minute that still install a halted update.",
    prom(f"{most('andon_halt_spreading_hosts_per_minute', UPDATE, THIS)}", NAMED),
    unit="cpm",
    width=8,
    no_value="nothing is halted, or nobody tells",
)
STOOD = lines(
    "How many stand halted?",
    "Updates by how they stand, as andon halts list has it.",
    prom(f"sum by (state) ({most('andon_standing_halts', ('fleet', 'state'), FLEET)})", "{{state}}"),
    unit="none",
    width=8,
    decimals=0,
    limits={"min": 0},
    no_value="nothing was ever halted, or nobody tells",
)
COMMANDS = table(
    "Who has ordered what?",
    "What operators commanded, and what became of it, from the audit: forced halts, resumes, approvals; and when a "
    "resume ended.",
    sql(f"""
SELECT at, if(command = '', kind, command) AS what, operator, outcome, why,
       arrayStringConcat(arrayMap(part -> decodeURLComponent(part), splitByChar('/', halt_key)), '/') AS update, detail
FROM audit
WHERE {only("fleet")} AND $__timeFilter(at)
ORDER BY at DESC LIMIT 30"""),
    width=24,
    columns={
        "at": Column(unit="dateTimeAsIso", width=180),
        "what": Column(width=90),
        "operator": Column(width=110),
        "outcome": Column(width=90),
        "update": Column(width=300),
    },
    no_value="nobody has ordered anything in this time",
)
ENDS = table(
    "Which resumes stand, and until when?",
    "An update whose newest order is a resume. When it ends, its halt stands again.",
    sql(f"""
SELECT fleet, {NAME}, expires_at AS ends, {PARTS}
FROM halts_now
WHERE {only(*UPDATE)} AND action = 'resume' AND expires_at > now64(3)
ORDER BY ends LIMIT 20"""),
    width=24,
    columns=OF_UPDATE | {"ends": Column(unit="dateTimeAsIso", width=170), "fleet": Column(width=120)},
    no_value="no resume stands",
    links=[("What to do: AndonResumeEnding", f"{common.RUNBOOKS}/AndonResumeEnding")],
)
HOOKS = lines(
    "Do hooks run, and alerts arrive?",
    "Runs of the commands of `andon hook`, and alerts that `andon notify` sent, a second, by what came of them.",
    prom(f"sum by (status) (rate({metric('andon_hook_runs_total')}[$__rate_interval]))", "hook: {{status}}"),
    prom(f"sum by (status) (rate({metric('andon_notifications_total')}[$__rate_interval]))", "alert: {{status}}"),
    unit="ops",
    width=12,
    no_value="none runs here, or is scraped",
)
ALERTS = alerts(
    "What rings?",
    "Alerts that fire or are about to: of Grafana's own rules and of Prometheus'. Each has a runbook.",
    width=12,
    links=[("Runbooks", f"{common.RUNBOOKS}/")],
)

DASHBOARD = Dashboard(
    "response",
    "Andon: response",
    "Once Andon has decided: who stops, how fast, and who has ordered otherwise?",
    rows=[
        Row("", [UNANSWERED, UNCONFIRMED, SPREADING, OVERRIDES]),
        Row("From the decision to the last new installation", [STEPS, WHO]),
        Row("How fast", [CONFIRM, SPREAD, STOOD]),
        Row("People", [COMMANDS, ENDS]),
        Row("Alerts", [ALERTS, HOOKS]),
    ],
    variables=[
        common.PROMETHEUS,
        common.CLICKHOUSE,
        common.JOB,
        common.fleets(has_all=True),
        *common.updates(has_all=True),
    ],
    annotations=common.moments(*UPDATE, wall=True),
    links=common.links("response"),
    since="now-24h",
    refresh="30s",
)
