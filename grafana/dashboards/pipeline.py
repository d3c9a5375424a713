"""Pipeline health: does every stage read, and how far behind is it? From the event's path left to right."""

from grafana.model import BLUE, ORANGE, RED, Dashboard, Panel, Row, Variable, prom

STAGES = 'job="andon", stage=~"$stage"'
OF_STAGE = 'stage=~"$stage"'
BATCH, STEPS = f"andon_batch_seconds_bucket{{{OF_STAGE}}}", "andon_decide_step_seconds_bucket"

UP = Panel(
    "stat",
    "Which processes answer?",
    "1: it answered the last scrape. A process that is not here is not scraped: see deploy/prometheus/targets.",
    [prom(f"min by (stage, instance) (max_over_time(up{{{STAGES}}}[30s]))", "{{stage}} {{instance}}")],
    width=12,
    height=5,
    steps=((None, RED), (1, BLUE)),
    no_value="nothing is scraped",
    options={"colorMode": "background", "graphMode": "none", "textMode": "value_and_name"},
)
BEAT = Panel(
    "stat",
    "How old is each detector's newest heartbeat?",
    "Verified by `andon notify`. Past 30 s it permits nothing; past 60 s AndonDetectorSilent fires.",
    [prom("time() - max by (fleet) (andon_detector_heartbeat_timestamp_seconds)", "{{fleet}}")],
    unit="s",
    width=12,
    height=5,
    steps=((None, BLUE), (30, ORANGE), (60, RED)),
    no_value="no heartbeat is known: is andon notify scraped?",
    options={"colorMode": "background", "graphMode": "none", "textMode": "value_and_name"},
)
EVENTS = Panel(
    "timeseries",
    "How many events pass?",
    "Valid events a second, by stage: the gateway takes them, the combiner folds them, the archive stores them.",
    [prom(f"sum by (stage) (rate(andon_events_total{{{OF_STAGE}}}[$__rate_interval]))", "{{stage}}")],
    unit="cps",
)
LAG = Panel(
    "timeseries",
    "How many messages wait?",
    "Not yet read, by stage and topic. A stage that falls behind and does not catch up: AndonLagGrowing.",
    [prom(f"sum by (stage, topic) (andon_lag_messages{{{OF_STAGE}}})", "{{stage}} {{topic}}")],
    steps=((None, BLUE), (10_000, ORANGE)),
)
BEHIND = Panel(
    "timeseries",
    "How far behind is stream time?",
    "Now less the event time that a stage has reached. In a fleet that sends little it grows between two events.",
    [prom(f"time() - max by (stage) (andon_stream_time_seconds{{{OF_STAGE}}} > 0)", "{{stage}}")],
    unit="s",
    steps=((None, BLUE), (300, ORANGE)),
)
REFUSED = Panel(
    "timeseries",
    "What is refused, and why?",
    "Messages a second by stage and reason; they stand on fleet.deadletter with their original bytes.",
    [
        prom(
            f"sum by (stage, reason) (rate(andon_rejected_total{{{OF_STAGE}}}[$__rate_interval]))",
            "{{stage}}: {{reason}}",
        )
    ],
    unit="cps",
    no_value="nothing is refused",
)
LOST = Panel(
    "stat",
    "Was anything deleted unread?",
    "Messages that were gone before a stage had read them, at most, in this time. Any is an incident: AndonLogGap.",
    [
        prom(
            f"sum by (stage, topic) (increase(andon_lost_messages_total{{{OF_STAGE}}}[$__range]))",
            "{{stage}} {{topic}}",
        )
    ],
    steps=((None, BLUE), (1, RED)),
    no_value="none",
    options={"colorMode": "background", "graphMode": "none", "textMode": "value_and_name"},
)
HTTP = Panel(
    "timeseries",
    "What does the gateway answer?",
    "Requests a second by HTTP status.",
    [prom("sum by (status) (rate(andon_http_requests_total[$__rate_interval]))", "{{status}}")],
    unit="reqps",
    no_value="no requests",
)
BATCHES = Panel(
    "timeseries",
    "How long does a batch take?",
    "From reading to the commit, by stage: 99 of 100 are faster.",
    [prom(f"histogram_quantile(0.99, sum by (stage, le) (rate({BATCH}[$__rate_interval])))", "{{stage}}")],
    unit="s",
)
STEP = Panel(
    "timeseries",
    "How long does the detector think?",
    "Of one partial: 99 of 100 are faster.",
    [
        prom(
            "histogram_quantile(0.99, sum by (le) (rate(andon_decide_step_seconds_bucket[$__rate_interval])))", "a step"
        )
    ],
    unit="s",
)
ABORTS = Panel(
    "timeseries",
    "Are transactions aborted?",
    "A second, by stage. Some at a kill or a rebalance are nothing; what was in them is read again.",
    [prom(f"sum by (stage) (rate(andon_aborts_total{{{OF_STAGE}}}[$__rate_interval]))", "{{stage}}")],
    unit="ops",
    no_value="none",
)
INSERTS = Panel(
    "timeseries",
    "How long does an insert take?",
    "Into ClickHouse: 99 of 100 are faster. Beside it what failed, a second; it is tried again.",
    [
        prom(
            "histogram_quantile(0.99, sum by (le) (rate(andon_archive_insert_seconds_bucket[$__rate_interval])))",
            "99 % of inserts",
        ),
        prom("sum by (table) (rate(andon_archive_insert_failures_total[$__rate_interval]))", "failed: {{table}}"),
    ],
    unit="s",
)
STATE = Panel(
    "timeseries",
    "How fast does the state's changelog grow?",
    "Bytes a second that the correlator writes to it.",
    [prom("sum(rate(andon_changelog_bytes_total[$__rate_interval]))", "written")],
    unit="Bps",
)
NOTED = Panel(
    "timeseries",
    "What became no evidence, or was mended?",
    "Late, undated, cut, ahead of the clock: by its word in docs/design.md.",
    [prom("max by (what) (andon_noted)", "{{what}}")],
    no_value="nothing",
)

DASHBOARD = Dashboard(
    "pipeline",
    "Andon: pipeline health",
    "Does every stage read, and how far behind is it? From the event's path left to right.",
    rows=[
        Row("Is it alive?", [UP, BEAT]),
        Row("The event's path: taken, folded, stored", [EVENTS, LAG, BEHIND]),
        Row("What is lost or refused", [REFUSED, LOST, HTTP]),
        Row("How long it takes", [BATCHES, STEP, INSERTS]),
        Row("State and input", [STATE, NOTED, ABORTS]),
    ],
    variables=[
        Variable("prometheus", "Prometheus", "datasource", "prometheus"),
        Variable("stage", "Stage", "prometheus", 'label_values(up{job="andon"}, stage)', is_many=True),
    ],
)
