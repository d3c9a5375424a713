"""What Faust is told."""

from typing import Any

from pipeline.correlate.checkpoint import MAX_CHUNK_BYTES
from pipeline.correlate.config import GROUP, CorrelateConfig, instance_of, working_dir
from pipeline.correlate.layout import Layout
from pipeline.runtime.kafka import HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS, KafkaConfig

TIMEOUT_SECONDS = 75.0  # for every acknowledgement: one that waits out a cut goes on sooner than a new process would
BUFFERED_PARTIALS = 128  # read ahead; each may have half a megabyte
POLLED_PARTIALS = 16
FETCH_BYTES = 8 << 20  # holds a whole transaction of the combiner, with its marker (see fetching.py)
TABLE = {  # of the state
    "key_type": bytes,
    "value_type": bytes,
    "extra_topic_configs": {"min.cleanable.dirty.ratio": "0.1", "segment.ms": "600000"},
}


def faust_settings(config: CorrelateConfig, kafka: KafkaConfig, layout: Layout) -> dict[str, Any]:
    """All of them, but for credentials."""
    off = {f"web_{name}_enabled": False for name in ("stats", "graph", "router", "tables", "metrics")}
    return off | {
        "id": kafka.topic_prefix + GROUP,
        "broker": [f"kafka://{server.strip()}" for server in kafka.bootstrap_servers.split(",")],
        "autodiscover": False,
        "datadir": str(working_dir(config)),
        "store": "memory://",
        "processing_guarantee": "at_least_once",
        "consumer_group_instance_id": instance_of(config.slot),
        "consumer_auto_offset_reset": "earliest",
        "broker_session_timeout": SESSION_TIMEOUT_MS / 1000,
        "broker_heartbeat_interval": HEARTBEAT_INTERVAL_MS / 1000,
        "broker_max_poll_records": POLLED_PARTIALS,
        "consumer_max_fetch_size": FETCH_BYTES,
        "stream_buffer_maxsize": BUFFERED_PARTIALS,
        "stream_wait_empty": False,  # nothing is ever acknowledged to Faust
        "stream_recovery_delay": 0.0,
        "producer_acks": -1,
        "producer_max_request_size": 2 * MAX_CHUNK_BYTES,
        "producer_request_timeout": TIMEOUT_SECONDS,
        "topic_partitions": layout.partitions,
        "topic_replication_factor": layout.replicas,
        "topic_disable_leader": True,
        "web_bind": config.web_host,
        "web_host": config.web_host,
        "web_port": config.web_port,
    }
