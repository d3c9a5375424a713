"""Every metric, declared before use. Base units in the names; never a host, and never free text, as a label."""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from socketserver import ThreadingMixIn
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipeline.runtime.errors import ConfigError

Doc = msgspec.Meta

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

PLACES = 16  # for those who scrape, at once
SCRAPE_SECONDS = 10.0  # for the whole of it
YOUNG_SECONDS = 0.1  # whose first bytes may be read in a moment makes no room

_LATENCY = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

EVENTS = Counter("andon_events", "Valid events folded", ["stage"])
REJECTED = Counter("andon_rejected", "Messages refused", ["stage", "reason"])
BATCHES = Counter("andon_batches", "Micro-batches committed", ["stage"])
ABORTS = Counter("andon_aborts", "Transactions aborted", ["stage"])
BATCH_SECONDS = Histogram("andon_batch_seconds", "Time to process and commit a batch", ["stage"], buckets=_LATENCY)
LOST = Counter("andon_lost_messages", "Messages deleted before they were read, at most", ["stage", "topic"])
READ_AGAIN = Counter(
    "andon_read_again", "Messages that the client handed over again, and that were left out", ["stage"]
)
LAG = Gauge("andon_lag_messages", "Messages not yet read", ["stage", "topic", "partition"])
STREAM_TIME = Gauge("andon_stream_time_seconds", "Event time reached, unix seconds", ["stage"])
STEP_SECONDS = Histogram("andon_decide_step_seconds", "Time to decide on one partial", buckets=_LATENCY)
LIVE_UPDATES = Gauge("andon_live_updates", "Updates under watch")
UNWATCHED_UPDATES = Gauge("andon_unwatched_updates", "Times that there was no place for an update")
UNDERSTOOD = Counter("andon_understood", "Bodies that came in another form and were understood", ["stage", "form"])
NOTED = Gauge("andon_noted", "Input that became no evidence, or was mended, by its word (docs/design.md)", ["what"])
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
    "Hosts that still install a halted update",
    UPDATE,
)
PENDING_SINCE = Family("andon_halt_pending_timestamp_seconds", "Since when it waits for a person, unix seconds", UPDATE)
RESUME_ENDS = Family("andon_resume_expires_timestamp_seconds", "When a resume that stands ends, unix seconds", UPDATE)
EVIDENCE = Family("andon_update_evidence_log10", "Evidence against it, of the ring with the most", UPDATE)
THRESHOLD = Family("andon_update_threshold_log10", "Evidence that halts it", UPDATE)
CRASHES_PER_TRIAL = Family(
    "andon_update_crashes_per_trial", "Of hosts that have it, and expected of them without it", (*UPDATE, "arm")
)
UPDATES_NOT_SHOWN = Family("andon_updates_not_shown", "Live updates beyond those that gauges name", ("fleet",))
VERDICT_STATES = Family("andon_verdicts", "Newest believed verdicts, one for each update and ring", ("fleet", "state"))
ROWS = Counter("andon_archive_rows", "Rows acknowledged by ClickHouse", ["table"])
INSERT_FAILURES = Counter("andon_archive_insert_failures", "Inserts that failed, and are tried again", ["table"])
INSERT_SECONDS = Histogram("andon_archive_insert_seconds", "Time of one ClickHouse insert", buckets=_LATENCY)


class MetricsConfig(msgspec.Struct, frozen=True):
    """Where metrics are served."""

    metrics_host: Annotated[str, Doc(description="address to serve metrics on")] = "127.0.0.1"
    metrics_port: Annotated[int, Doc(ge=0, le=65535, description="port to serve metrics on, 0 for none")] = 0


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *_: Any) -> None:
        """Nothing: scrapes are no news."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a scrape, and no more than a few. Whoever has not sent his request, or taken the answer, in time is
    closed, however busily he trickles; and when there is no place left, the oldest makes room."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._lock = threading.Lock()
        self._ends: dict[socket.socket, float] = {}  # when each connection's time is up (monotonic), the oldest first

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            now = time.monotonic()
            if len(self._ends) >= PLACES and not self._close(now + SCRAPE_SECONDS - YOUNG_SECONDS):
                self.shutdown_request(request)
                return
            self._ends[request] = now + SCRAPE_SECONDS
        super().process_request(request, client_address)

    def _close(self, until_seconds: float) -> bool:
        """The oldest, if its time is up by then: its thread finds the connection ended."""
        request = next(iter(self._ends), None)
        if request is None or self._ends[request] > until_seconds:
            return False
        del self._ends[request]
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)
        return True

    def service_actions(self) -> None:
        """Twice a second."""
        with self._lock:
            while self._close(time.monotonic()):
                pass

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._ends.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing, where the standard library prints a traceback: the peer went, or was silent for too long."""


class _ServerV6(_Server):
    address_family = socket.AF_INET6


Page = Callable[[], tuple[bool, Mapping[str, Any]]]  # whether all is well, and what is said


def _app(pages: Mapping[str, Page]) -> Callable[[Any, Any], Iterable[bytes]]:
    """These pages by their paths, as JSON; 503 where not all is well. The metrics under every other path."""
    metrics_app = make_wsgi_app()

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        page = pages.get(environ["PATH_INFO"])
        if page is None:
            scraped: Iterable[bytes] = metrics_app(environ, start_response)
            return scraped
        is_well, said = page()
        headers = [("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff")]
        start_response("200 OK" if is_well else "503 Service Unavailable", headers)
        return [msgspec.json.encode(said)]

    return app


def serve(config: MetricsConfig, pages: Mapping[str, Page] = MappingProxyType({})) -> None:
    """Serve the metrics in a daemon thread, if a port is set, and these pages by their paths. Raises ConfigError when
    it cannot be listened on."""
    host, port = config.metrics_host, config.metrics_port
    if not port:
        return
    try:
        server = make_server(host, port, _app(pages), _ServerV6 if ":" in host else _Server, _Handler)
    except OSError as error:
        raise ConfigError(
            f"metrics.metrics_host, metrics.metrics_port: cannot listen on {host}:{port}: {error}"
        ) from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
