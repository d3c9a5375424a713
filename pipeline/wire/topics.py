"""Every topic in one place: name, key, partitions, cleanup, retention. `andon topics apply` makes a cluster match."""

from typing import NamedTuple

from pipeline.wire.spans import DAY_MS, HOUR_MS

GIB = 1 << 30


class Topic(NamedTuple):
    """A topic as it should be; `config` holds Kafka topic settings as text, the way Kafka reports them."""

    name: str
    key: str
    partitions: int
    config: dict[str, str]
    purpose: str


def _delete(retention_ms: int, retention_bytes: int, **more: str) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "retention.bytes": str(retention_bytes),
        # The record timestamp is the time of ingestion; event time lives in the payload, so a late report is kept.
        "message.timestamp.type": "LogAppendTime",
        **more,
    }


_LARGE = {"max.message.bytes": str(16 << 20)}  # a refused message may be as large as any topic lets it be
_AUDIT = {"max.message.bytes": str(4 << 20)}  # an entry carries a command and a halt, and quotes them
_COMPACT = {"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"}

EVENTS = Topic("fleet.events", "host", 4, _delete(2 * DAY_MS, 64 * GIB), "what endpoints report")
PARTIALS = Topic("fleet.partials", "fleet", 1, _delete(6 * HOUR_MS, 4 * GIB), "the combiner's folds")
VERDICTS = Topic("fleet.verdicts", "fleet/vendor/product/version/ring", 1, dict(_COMPACT), "evidence, and heartbeats")
HALTS = Topic("fleet.halts", "fleet/vendor/product/version", 1, dict(_COMPACT), "signed halts and resumes")
HALT_ACKS = Topic("fleet.halt-acks", "halt key", 1, _delete(30 * DAY_MS, GIB), "what subscribers did with a halt")
COMMANDS = Topic("fleet.commands", "fleet/vendor/product/version", 1, _delete(30 * DAY_MS, GIB), "operators' orders")
AUDIT = Topic("fleet.audit", "fleet", 1, _delete(-1, -1, **_AUDIT), "commands, answers and halts, chained, for ever")
DEADLETTER = Topic(
    "fleet.deadletter", "as received", 1, _delete(7 * DAY_MS, 8 * GIB, **_LARGE), "refused messages, untouched"
)

ALL = (EVENTS, PARTIALS, VERDICTS, HALTS, HALT_ACKS, COMMANDS, AUDIT, DEADLETTER)
