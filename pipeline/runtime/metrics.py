"""Every metric, declared before use. Base units in the names; never a host, and never free text, as a label."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, product
from typing import NamedTuple

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

MAX_SERIES = 1_000

Series = tuple[Sequence[str], float]  # values of the labels, in their order; and the gauge's


class Family(NamedTuple):
    """A gauge whose series come and go: all of them are replaced at once, so that no scrape sees half of them."""

    name: str
    help: str
    labels: tuple[str, ...]


class _Families(Collector):
    """All that this process has put."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[Family, list[Series]] = {}

    def put(self, family: Family, series: Iterable[Series]) -> None:
        """In place of those before; what is beyond MAX_SERIES is left out, so give first what matters most."""
        found = list(islice(series, MAX_SERIES))
        with self._lock:
            self._series[family] = found

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As a scrape has them."""
        with self._lock:
            held = list(self._series.items())
        for family, series in held:
            gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels)
            for values, value in series:
                gauge.add_metric(values, value)
            yield gauge


_families = _Families()
REGISTRY.register(_families)
put = _families.put

_LATENCY = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SIZES = (1, 10, 100, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)

BUILD = Gauge("andon_build_info", "Always 1: which version this is, and which Python runs it", ["version", "python"])
READY = Gauge("andon_ready", "Whether /readyz says so: 1 or 0")
DISK_FREE = Gauge("andon_disk_free_bytes", "Left on the disk of a directory that this process writes to", ["directory"])
DISK_SIZE = Gauge("andon_disk_size_bytes", "Of the disk of a directory that this process writes to", ["directory"])
PROCESS_UP = Gauge("andon_process_up", "Whether a process that `andon up` keeps is up and ready: 1 or 0", ["process"])
RESTARTS = Counter("andon_process_restarts", "Times that `andon up` has started a process anew", ["process"])

EVENTS = Counter("andon_events", "Valid events folded", ["stage"])
REJECTED = Counter("andon_rejected", "Messages refused", ["stage", "reason"])
BATCHES = Counter("andon_batches", "Micro-batches committed", ["stage"])
ABORTS = Counter("andon_aborts", "Transactions aborted", ["stage"])
BATCH_SECONDS = Histogram("andon_batch_seconds", "Time to process and commit a batch", ["stage"], buckets=_LATENCY)
BATCH_MESSAGES = Histogram("andon_batch_messages", "Messages in a batch", ["stage"], buckets=_SIZES)
DEADLETTERS = Counter("andon_deadletters", "Refused messages written to fleet.deadletter", ["stage"])
LOST = Counter("andon_lost_messages", "Messages deleted before they were read, at most", ["stage", "topic"])
READ_AGAIN = Counter(
    "andon_read_again", "Messages that the client handed over again, and that were left out", ["stage"]
)
LAG = Gauge("andon_lag_messages", "Messages not yet read", ["stage", "topic", "partition"])
LAG_SECONDS = Gauge(
    "andon_lag_seconds",
    "For how long the oldest message not yet read may have waited; 0 when none waits, or a transaction's marker",
    ["stage", "topic", "partition"],
)
STREAM_TIME = Gauge("andon_stream_time_seconds", "Event time reached, unix seconds", ["stage"])
STEP_SECONDS = Histogram("andon_decide_step_seconds", "Time to decide on one partial", buckets=_LATENCY)
LIVE_UPDATES = Gauge("andon_live_updates", "Updates under watch")
UNWATCHED_UPDATES = Gauge("andon_unwatched_updates", "Times that there was no place for an update")
UNDERSTOOD = Counter("andon_understood", "Bodies that came in another form and were understood", ["stage", "form"])
NOTED = Gauge("andon_noted", "Input that became no evidence, or was mended, by its word (docs/design.md)", ["what"])
HALF_BLIND = Gauge(
    "andon_half_blind_updates", "Updates of which telemetry shows less than it seems to (docs/design.md)", ["reason"]
)
CLOCKS_AHEAD = Gauge("andon_clocks_ahead_hosts", "Hosts whose clocks were ahead within the last day")
COMMANDS = Counter("andon_commands", "Operators' commands answered", ["status", "reason"])
AUDIT_FAULTS = Counter("andon_audit_faults", "Entries of fleet.audit found changed, missing or moved", ["what"])
HALTS = Counter("andon_halts", "Halts published", ["mode"])
HOOK_RUNS = Counter("andon_hook_runs", "Commands run for a halt or a resume, by what came of them", ["status"])
NOTIFICATIONS = Counter("andon_notifications", "Alerts sent to an Alertmanager, by what came of them", ["status"])
NOTIFY_FIRING = Gauge("andon_notify_firing_alerts", "Alerts that fire by now")
HALT_RECORDS_DISTURBED = Counter(
    "andon_halt_records_disturbed", "Records of fleet.halts found lost, erased, overwritten or not Andon's", ["what"]
)
HALTS_READ_AGE = Gauge("andon_halts_read_timestamp_seconds", "When fleet.halts was last read to its end, unix seconds")
CHANGELOG_BYTES = Counter("andon_changelog_bytes", "State written to the changelog")
CHECKPOINT_AGE = Gauge(
    "andon_checkpoint_age_seconds",
    "For how long state has waited for a checkpoint, of the fleet that waits longest; 0 when all is saved",
)
CHECKPOINT_SECONDS = Histogram("andon_checkpoint_seconds", "Time to write one fleet's checkpoint", buckets=_LATENCY)
RECOVERIES = Counter("andon_recoveries", "Times that state was recovered, the first at the start", ["stage"])
RECOVERY_SECONDS = Gauge("andon_recovery_seconds", "How long the newest recovery of state took", ["stage"])
BUFFERED = Gauge("andon_buffered_events", "Events accepted and not yet acknowledged by the broker")
REQUESTS = Counter("andon_http_requests", "Gateway requests", ["status"])
REQUEST_SECONDS = Histogram("andon_http_request_seconds", "Time to answer a gateway request", buckets=_LATENCY)
CONNECTIONS = Gauge("andon_http_connections", "Connections of the stage's HTTP server")
CLOSED = Counter("andon_http_connections_closed", "HTTP connections that the stage closed, by why", ["reason"])
NOT_KEPT = Counter("andon_deadletters_not_kept", "Refused messages beyond a token's quota of dead letters", ["stage"])
TOKENS_UNUSABLE = Gauge(
    "andon_tokens_file_unusable", "1 while the tokens read before stay in force instead of the file"
)
UPDATE = ("fleet", "vendor", "product", "version")
HEARTBEAT = Family(
    "andon_detector_heartbeat_timestamp_seconds", "The newest believed heartbeat, unix seconds", ("fleet",)
)
FLEET_EVENTS = Family("andon_fleet_events", "Events that the detector has taken in, by its heartbeat", ("fleet",))
FLEET_REPORTS = Family(
    "andon_fleet_reports",
    "Since this process started: boots and heartbeats (trials) and crashes taken in",
    ("fleet", "kind"),
)
STATE_BYTES = Family("andon_state_bytes", "Of the newest checkpoint of a fleet, compressed", ("fleet",))
BASELINE = Family(
    "andon_baseline_crashes_per_trial",
    "Usual crashed hosts per trial in a ring, of the last day and without halted updates",
    ("fleet", "ring"),
)
HALT_STATES = Family(
    "andon_standing_halts", "Updates by how they stand, as `andon halts list` has it", ("fleet", "state")
)
UNANSWERED = Family(
    "andon_unacknowledged_halts", "Standing halts to which a subscriber has said nothing", ("fleet", "subscriber")
)
UNCONFIRMED = Family(
    "andon_unconfirmed_halts", "Standing halts that a subscriber has not confirmed", ("fleet", "subscriber")
)
CONFIRM_SECONDS = Family(
    "andon_halt_confirm_seconds", "From decision to confirmed, of the newest confirmed halt", ("fleet", "subscriber")
)
STANDS_SINCE = Family("andon_halt_issued_timestamp_seconds", "Since when it stands halted, unix seconds", UPDATE)
SPREADING = Family(
    "andon_halt_spreading_hosts_per_minute",
    "Hosts that still install a halted update; none while nobody knows",
    UPDATE,
)
PENDING_SINCE = Family("andon_halt_pending_timestamp_seconds", "Since when it waits for a person, unix seconds", UPDATE)
DOUBTFUL = Family(
    "andon_halt_doubtful", "1 while it stands halted and later evidence speaks for another update instead", UPDATE
)
FLEET_ALARM = Family("andon_fleet_alarm", "Whether its unattributed alarm sounds, by its heartbeat: 1 or 0", ("fleet",))
FLEET_ALARM_RISE = Family(
    "andon_fleet_alarm_rise_ratio",
    "Crashed hosts that nobody can be named for, as against its worst usual hour; while its alarm sounds",
    ("fleet",),
)
RESUME_ENDS = Family("andon_resume_expires_timestamp_seconds", "When a resume that stands ends, unix seconds", UPDATE)
EVIDENCE = Family("andon_update_evidence_log10", "Evidence against it, of the ring with the most", UPDATE)
THRESHOLD = Family("andon_update_threshold_log10", "Evidence that halts it", UPDATE)
CRASHES_PER_TRIAL = Family(
    "andon_update_crashes_per_trial", "Of hosts that have it, and expected of them without it", (*UPDATE, "arm")
)
UPDATE_STATE = Family(
    "andon_update_state", "Always 1: how it stands, in the ring where that is worst", (*UPDATE, "state")
)
UPDATES_NOT_SHOWN = Family("andon_updates_not_shown", "Live updates beyond those that gauges name", ("fleet",))
EVIDENCE_NOT_SHOWN = Family(
    "andon_updates_not_shown_evidence_log10", "The most evidence against any update that gauges do not name", ("fleet",)
)
VERDICT_STATES = Family("andon_verdicts", "Newest believed verdicts, one for each update and ring", ("fleet", "state"))
ROWS = Counter("andon_archive_rows", "Rows acknowledged by ClickHouse", ["table"])
INSERT_FAILURES = Counter(
    "andon_archive_insert_failures", "Inserts that failed, and are tried again", ["table", "reason"]
)
INSERT_SECONDS = Histogram("andon_archive_insert_seconds", "Time of one ClickHouse insert", buckets=_LATENCY)


def from_zero(counter: Counter, *values: Iterable[str]) -> None:
    """Have every series of these labels' values there, at zero: that a counter rises can be seen of one that was there
    before it did."""
    for labels in product(*values):
        counter.labels(*labels)
