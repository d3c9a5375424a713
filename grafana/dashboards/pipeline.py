"""Pipeline health: does every stage read, and how far behind is it? From the event's path left to right: each stage is
a column, each question a row."""

from collections.abc import Callable

from grafana.dashboards import common, counted
from grafana.dashboards.counted import HERE, P99, SMALL
from grafana.model.colours import BLUE, GREY, ORANGE, RED
from grafana.model.dashboard import Dashboard, Row, Variable
from grafana.model.kinds import big, lines
from grafana.model.panels import Panel
from grafana.model.queries import metric, prom

# The path of an event: whoever takes it, folds it, judges it; and stores it, beside.
PATH = {"collect": "gateway", "combine": "combiner", "correlate": "detector", "archive": "archive"}


def of(name: str, stage: str, *matchers: str) -> str:
    """A selector of a metric of one stage."""
    return metric(name, HERE, f'stage="{stage}"', *matchers)


def rate(name: str, stage: str, *matchers: str) -> str:
    """How much of a counter a second."""
    return f"rate({of(name, stage, *matchers)}[$__rate_interval])"


def _each(make: Callable[[str, str], Panel]) -> list[Panel]:
    return [make(stage, word) for stage, word in PATH.items()]


_LATELY = "min by (stage) (max_over_time({}[30s]))"  # one scrape that was missed is no news
UP = big(
    "Which processes answer?",
    "Ready: it answers scrapes, and says on /readyz that it reads on. A process that is not here is not scraped: see "
    "deploy/prometheus/targets.",
    prom(
        f"{_LATELY.format(metric('up', HERE))} + {_LATELY.format(metric('andon_ready', HERE))} "
        f"or {_LATELY.format(metric('up', HERE))}",
        "{{stage}}",
    ),
    unit="none",
    width=12,
    says={"0": "DOWN", "1": "NOT READY", "2": "READY"},
    steps=((None, GREY), (0, RED), (1, ORANGE), (2, BLUE)),
    no_value="nothing is scraped",
    text_mode="value_and_name",
    links=[("What to do: AndonStageDown", f"{common.RUNBOOKS}/AndonStageDown")],
)
BEAT = big(
    "How old is the newest heartbeat?",
    "Of each fleet, verified by `andon notify`. Past 30 s nothing is permitted; past 60 s AndonDetectorSilent fires.",
    prom(f"time() - max by (fleet) ({metric('andon_detector_heartbeat_timestamp_seconds')})", "{{fleet}}"),
    unit="s",
    decimals=0,
    width=6,
    steps=((None, GREY), (0, BLUE), (30, ORANGE), (60, RED)),
    no_value="UNKNOWN: NOBODY TELLS",
    text_mode="value_and_name",
    links=[("What to do: AndonDetectorSilent", f"{common.RUNBOOKS}/AndonDetectorSilent")],
)
LOST = big(
    "Was anything deleted unread?",
    "Messages that were gone before a stage had read them, at most, within this time. Any is an incident.",
    prom(f"sum(increase({metric('andon_lost_messages_total', HERE)}[$__range])) or 0 * count({metric('up', HERE)})"),
    unit="none",
    decimals=0,
    width=6,
    says={"0": "NOTHING"},
    steps=((None, GREY), (0, BLUE), (0.5, RED)),
    no_value="UNKNOWN: NOTHING IS SCRAPED",
    links=[("What to do: AndonLogGap", f"{common.RUNBOOKS}/AndonLogGap")],
)


def _rate(stage: str, word: str) -> Panel:
    if stage == "collect":
        return lines(
            "Rate: gateway",
            "Requests a second, by HTTP status.",
            prom(f"sum by (status) ({rate('andon_http_requests_total', stage)})", "{{status}}"),
            unit="reqps",
            no_value="no requests, or it is not scraped",
            **SMALL,
        )
    return lines(
        f"Rate: {word}",
        "Events a second that it has taken in.",
        prom(f"sum({rate('andon_events_total', stage)})", "events"),
        unit="cps",
        no_value="it takes in nothing, or is not scraped",
        **SMALL,
    )


def _lag(stage: str, word: str) -> Panel:
    if stage == "collect":
        return lines(
            "Lag: gateway",
            "Events that it has accepted and the broker has not yet acknowledged.",
            prom(f"sum({of('andon_buffered_events', stage)})", "buffered"),
            unit="none",
            no_value="it is not scraped",
            **SMALL,
        )
    return lines(
        f"Lag: {word}",
        "Messages that it has not yet read, by topic. Beyond the line and growing, AndonLagGrowing fires.",
        prom(f"sum by (topic) ({of('andon_lag_messages', stage)})", "{{topic}}"),
        placement="right" if stage == "archive" else "bottom",
        unit="none",
        steps=((None, BLUE), (10_000, ORANGE)),
        limit=True,
        no_value="it has no partition, or is not scraped",
        links=[("What to do: AndonLagGrowing", f"{common.RUNBOOKS}/AndonLagGrowing")],
        **SMALL,
    )


def _errors(stage: str, word: str) -> Panel:
    queries = [prom(f"sum by (reason) ({rate('andon_rejected_total', stage)}) > 0", "refused: {{reason}}")]
    also = {
        "collect": ("reason", "andon_http_connections_closed_total", "closed: {{reason}}"),
        "combine": ("stage", "andon_aborts_total", "transactions aborted"),
        "correlate": ("what", "andon_halt_records_disturbed_total", "halts disturbed: {{what}}"),
        "archive": ("table, reason", "andon_archive_insert_failures_total", "insert failed: {{table}}, {{reason}}"),
    }
    by, name, legend = also[stage]
    queries.append(prom(f"sum by ({by}) ({rate(name, stage)}) > 0", legend))
    return lines(
        f"Errors: {word}",
        "A second. What is refused stands on fleet.deadletter with its original bytes; what failed or was aborted is "
        "tried again.",
        *queries,
        unit="ops",
        no_value="none, or it is not scraped",
        links=[("What to do: AndonRefusalsRising", f"{common.RUNBOOKS}/AndonRefusalsRising")],
        **SMALL,
    )


def _latency(stage: str, word: str) -> Panel:
    asked = {
        "collect": ("andon_http_request_seconds_bucket", "To answer a request"),
        "combine": ("andon_batch_seconds_bucket", "To process and commit a batch"),
        "correlate": ("andon_decide_step_seconds_bucket", "To decide on one partial"),
        "archive": ("andon_archive_insert_seconds_bucket", "One insert into ClickHouse"),
    }
    name, what = asked[stage]
    return lines(
        f"Latency: {word}",
        f"{what}: 99 of 100 are faster.",
        prom(P99.format(of(name, stage)), "99 %"),
        unit="s",
        no_value="nothing was done in this time, or it is not scraped",
        **SMALL,
    )


def _saturation(stage: str, word: str) -> Panel:
    return lines(
        f"Saturation: {word}",
        "Cores that it uses, and its memory in GiB.",
        prom(f"sum({rate('process_cpu_seconds_total', stage)})", "cores"),
        prom(f"sum({of('process_resident_memory_bytes', stage)}) / 1024 ^ 3", "GiB"),
        unit="none",
        decimals=2,
        no_value="it is not scraped",
        **SMALL,
    )


def _behind(stage: str, word: str) -> Panel:
    if stage == "collect":
        return lines(
            "Behind: gateway",
            "Connections that it has open: it keeps nothing that it could be behind with.",
            prom(f"sum({of('andon_http_connections', stage)})", "connections"),
            unit="none",
            no_value="it is not scraped",
            **SMALL,
        )
    return lines(
        f"Behind: {word}",
        "For how long the oldest message that it has not yet read may have waited, by topic: a halt comes later by "
        "as much.",
        prom(f"max by (topic) ({of('andon_lag_seconds', stage)})", "{{topic}}"),
        placement="right" if stage == "archive" else "bottom",
        unit="s",
        steps=((None, BLUE), (30, ORANGE)),
        limit=True,
        no_value="it has no partition, or is not scraped",
        links=[("What to do: AndonLagGrowing", f"{common.RUNBOOKS}/AndonLagGrowing")],
        **SMALL,
    )


def _recovery(stage: str, word: str) -> Panel:
    queries = [prom(f"time() - max by (instance) ({of('process_start_time_seconds', stage)})", "age of {{instance}}")]
    what = "Age of the process: where it falls to nothing, it was started anew."
    if stage == "correlate":
        queries.append(prom(f"max({of('andon_recovery_seconds', stage)})", "newest recovery took"))
        queries.append(prom(f"max({of('andon_checkpoint_age_seconds', stage)})", "unsaved for"))
        what += (
            " Beside it how long the newest recovery of its state took, and for how long state has waited to be saved."
        )
    return lines(f"Recovery: {word}", what, *queries, unit="s", no_value="it is not scraped", **SMALL)


DASHBOARD = Dashboard(
    "pipeline",
    "Andon: pipeline health",
    "Does every stage read, and how far behind is it? From the event's path left to right.",
    rows=[
        Row("", [UP, BEAT, LOST]),
        Row("Rate", _each(_rate)),
        Row("Lag", _each(_lag)),
        Row("Behind, in seconds", _each(_behind)),
        Row("Errors", _each(_errors)),
        Row("Latency", _each(_latency)),
        Row("Saturation", _each(_saturation)),
        Row("Recovery", _each(_recovery)),
        Row("State and input", counted.STATE),
        Row("What else is counted", counted.COUNTED, is_collapsed=True),
    ],
    variables=[
        common.PROMETHEUS, common.JOB,
        Variable(
            "instance", "Instance", "prometheus", 'label_values(up{job=~"$job"}, instance)', has_all=True, is_many=True,
            description="one process of several",
        ),
    ],
    links=common.links("pipeline"),
)  # fmt: skip
