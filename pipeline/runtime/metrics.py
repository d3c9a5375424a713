"""Every metric, declared before use. Base units in the names; never a host, and never free text, as a label."""

from typing import Annotated

import msgspec
from prometheus_client import Counter, Gauge, Histogram, start_http_server

Doc = msgspec.Meta

_LATENCY = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

EVENTS = Counter("andon_events", "Valid events folded", ["stage"])
REJECTED = Counter("andon_rejected", "Messages refused", ["stage", "reason"])
BATCHES = Counter("andon_batches", "Micro-batches committed", ["stage"])
ABORTS = Counter("andon_aborts", "Transactions aborted", ["stage"])
BATCH_SECONDS = Histogram("andon_batch_seconds", "Time to process and commit a batch", ["stage"], buckets=_LATENCY)
LOST = Counter("andon_lost_messages", "Messages deleted before they were read, at most", ["stage", "topic"])
LAG = Gauge("andon_lag_messages", "Messages not yet read", ["stage", "topic", "partition"])
STREAM_TIME = Gauge("andon_stream_time_seconds", "Event time reached, unix seconds", ["stage"])
STEP_SECONDS = Histogram("andon_decide_step_seconds", "Time to decide on one partial", buckets=_LATENCY)
LIVE_UPDATES = Gauge("andon_live_updates", "Updates under watch")
UNWATCHED_UPDATES = Gauge("andon_unwatched_updates", "Times that there was no place for an update")
HALTS = Counter("andon_halts", "Halts published", ["mode"])
CHANGELOG_BYTES = Counter("andon_changelog_bytes", "State written to the changelog")
BUFFERED = Gauge("andon_buffered_events", "Events accepted and not yet acknowledged by the broker")
REQUESTS = Counter("andon_http_requests", "Gateway requests", ["status"])
REQUEST_SECONDS = Histogram("andon_http_request_seconds", "Time to answer a gateway request", buckets=_LATENCY)
ROWS = Counter("andon_archive_rows", "Rows acknowledged by ClickHouse", ["table"])
INSERT_SECONDS = Histogram("andon_archive_insert_seconds", "Time of one ClickHouse insert", buckets=_LATENCY)


class MetricsConfig(msgspec.Struct, frozen=True):
    """Where metrics are served."""

    metrics_host: Annotated[str, Doc(description="address to serve metrics on")] = "127.0.0.1"
    metrics_port: Annotated[int, Doc(ge=0, le=65535, description="port to serve metrics on, 0 for none")] = 0


def serve(config: MetricsConfig) -> None:
    """Serve the metrics in a daemon thread, if a port is set."""
    if config.metrics_port:
        start_http_server(config.metrics_port, addr=config.metrics_host)
