"""Which topic goes into which table, and how its records become rows. Pure.

Events have a path of their own (`rows.event_batch`): they are many. Everything else is few, and plain.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from consumers.clickhouse.archive.rows import MILLIS, event_batch
from pipeline.wire.events import MAX_SKEW_MS, AnyEvent, check_not_future
from pipeline.wire.halts import Evidence, HaltAck, decode_halt
from pipeline.wire.learned import LearnedDecoder
from pipeline.wire.reasons import MalformedMessage
from pipeline.wire.topics import DEADLETTER, EVENTS, HALT_ACKS, HALTS, VERDICTS
from pipeline.wire.verdicts import Verdict, decode_heartbeat, decode_verdict

Fields = dict[str, Any]


class Record(NamedTuple):
    """A Kafka record, without its client's type. `at_ms` is its Kafka timestamp: the time of ingestion."""

    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Batch(NamedTuple):
    """Rows by table, and the reasons of those that were refused."""

    tables: dict[str, pa.RecordBatch]
    refused: list[str]

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(batch.num_rows for batch in self.tables.values())


class EventRows:
    """Turns messages of `fleet.events` into rows; keeps the words that its decoder has learned."""

    def __init__(self) -> None:
        self._decoder = LearnedDecoder()

    def __call__(self, values: Sequence[bytes], ingested_at_ms: Sequence[int]) -> Batch:
        """What the combiner refuses is dead-lettered there; here it is left out, by the same rules."""
        refused: dict[int, str] = {}
        events = self._decoder.decode_all(values, lambda index, error: refused.__setitem__(index, error.reason))
        times = ingested_at_ms
        if refused:
            times = [at for index, at in enumerate(ingested_at_ms) if index not in refused]
        reasons = list(refused.values())
        events, times = _without_future(events, times, reasons)
        tables = {"events": event_batch(events, times)} if events else {}
        return Batch(tables, reasons)


def _without_future(
    events: list[AnyEvent], times: Sequence[int], reasons: list[str]
) -> tuple[list[AnyEvent], Sequence[int]]:
    ts = np.fromiter((event.ts for event in events), np.int64, len(events))
    suspects = np.flatnonzero(ts > np.asarray(times, np.int64) + MAX_SKEW_MS)
    if not len(suspects):
        return events, times
    dropped = set()
    for index in suspects.tolist():
        try:
            check_not_future(events[index], times[index])
        except MalformedMessage as error:
            dropped.add(index)
            reasons.append(error.reason)
    kept = [index for index in range(len(events)) if index not in dropped]
    return [events[index] for index in kept], [times[index] for index in kept]


def _verdict(record: Record, raw: bytes) -> tuple[str, Fields]:
    if record.key is not None and record.key.endswith(b"/-/heartbeat"):
        beat = decode_heartbeat(raw)
        names = ("fleet", "at", "stream_time", "live_updates", "events", "offset")
        return "heartbeats", {name: getattr(beat, name) for name in names}
    verdict = decode_verdict(raw)
    fields: Fields = {name: getattr(verdict, name) for name in _VERDICT}
    fields["relative_risk_low"], fields["relative_risk_high"] = verdict.relative_risk
    explanation = verdict.explanation
    fields |= {f"explanation_{name}": getattr(explanation, name) for name in ("kind", "code", "module", "strata")}
    return "verdicts", fields | {"record": raw}


_VERDICT = set(Verdict.__struct_fields__) - {"v", "relative_risk", "explanation", "conditional"}
_HALT = ("fleet", "vendor", "product", "version", "epoch", "action", "rings", "issued_at", "expires_at")
_HALT_ALSO = ("decided_by", "policy", "reason", "kid")
_EVIDENCE = ("stream_time", "log10_evidence", "observed", "expected", "crashed_hosts", "exposed_trials")


def _halt(_: Record, raw: bytes) -> tuple[str, Fields]:
    halt = decode_halt(raw)
    evidence: Evidence | None = halt.evidence
    fields: Fields = {name: getattr(halt, name) for name in (*_HALT, *_HALT_ALSO)}
    fields |= {name: getattr(evidence, name, None) for name in _EVIDENCE}
    return "halts", fields | {"basis": evidence.basis if evidence else "", "record": raw}


_ack_decoder = msgspec.json.Decoder(HaltAck)


def _ack(_: Record, raw: bytes) -> tuple[str, Fields]:
    ack = _ack_decoder.decode(raw)
    names = ("halt_key", "epoch", "subscriber", "status", "at", "detail", "kid")
    return "halt_acks", {name: getattr(ack, name) for name in names} | {"record": raw}


def _dead_letter(record: Record, raw: bytes) -> tuple[str, Fields]:
    headers = {name: (value or b"").decode("utf-8", "backslashreplace") for name, value in record.headers}
    fields: Fields = {name: headers.get(name, "") for name in ("reason", "detail", "topic", "stage")}
    numbers = {name: int(headers.get(name, "-1")) for name in ("partition", "offset")}
    return "dead_letters", fields | numbers | {"at": record.at_ms, "key": record.key, "value": raw}


class Source(NamedTuple):
    """How a topic's records become rows, and of which tables. A compacted topic may have forgotten records that an
    intent counted."""

    convert: Callable[[Record, bytes], tuple[str, Fields]] | None
    compacted: bool
    tables: tuple[str, ...]


SOURCES = {
    EVENTS.name: Source(None, False, ("events",)),
    VERDICTS.name: Source(_verdict, True, ("verdicts", "heartbeats")),
    HALTS.name: Source(_halt, True, ("halts",)),
    HALT_ACKS.name: Source(_ack, False, ("halt_acks",)),
    DEADLETTER.name: Source(_dead_letter, False, ("dead_letters",)),
}
# All that the archive inserts into, and so all that its user may: the rest is fed from these, or is the owner's.
WRITTEN = tuple(table for source in SOURCES.values() for table in source.tables)

_TIMES = {"at", "stream_time", "issued_at", "expires_at"}
_LISTS = {"rings", "flags", "explanation_strata"}
_BYTES = {"record", "key", "value"}


def record_rows(topic: str, records: Sequence[Record]) -> Batch:
    """Rows of the small tables, each with where its record stood. A tombstone gives none; what cannot be read is a dead
    letter. `topic` is one of SOURCES, without a prefix."""
    convert = SOURCES[topic].convert
    assert convert is not None, "only events have no converter"
    rows: dict[str, list[tuple[Fields, Record]]] = {}
    refused: list[tuple[str, Record]] = []
    for record in records:
        if record.value is None:
            continue
        try:
            table, fields = convert(record, record.value)
        except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
            refused.append(("unreadable_record", record))
            continue
        where = {"source_partition": record.partition, "source_offset": record.offset}
        rows.setdefault(table, []).append((fields | where, record))
    tables = {}
    for table, found in rows.items():
        try:
            tables[table] = _columns([row for row, _ in found])
        except (pa.ArrowException, OverflowError):  # a number that no column holds: leave out the rows that have one
            kept = [row for row, _ in found if _fits(row)]
            refused += [("out_of_range", record) for row, record in found if not _fits(row)]
            tables |= {table: _columns(kept)} if kept else {}
    if refused and topic != DEADLETTER.name:
        tables["dead_letters"] = _columns([_letter(topic, reason, record) for reason, record in refused])
    return Batch(tables, [reason for reason, _ in refused])


def _letter(topic: str, reason: str, record: Record) -> Fields:
    """A row of `dead_letters` for a record that is none of this topic's: no other stage would say so."""
    place = (1 + list(SOURCES).index(topic)) << 16 | record.partition  # no letter of the dead-letter topic stands there
    return {
        "at": record.at_ms,
        "reason": reason,
        "detail": "no record of this topic",
        "topic": topic,
        "partition": record.partition,
        "offset": record.offset,
        "stage": "archive",
        "key": record.key,
        "value": record.value,
        "source_partition": place,
        "source_offset": record.offset,
    }


def _fits(row: Fields) -> bool:
    try:
        _columns([row])
    except (pa.ArrowException, OverflowError):
        return False
    return True


def _columns(rows: list[Fields]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({name: _column(name, [row[name] for row in rows]) for name in rows[0]})


def _column(name: str, values: list[Any]) -> pa.Array:
    if name in _TIMES:
        return pa.array(values, pa.int64()).view(MILLIS)
    if name in _LISTS:
        return pa.array(values, pa.list_(pa.string()))
    if name in _BYTES:
        return pa.array(values, pa.binary())
    kinds = {type(value) for value in values} - {type(None)}
    kind = next((t for t, arrow in ((str, pa.string()), (float, pa.float64())) if t in kinds), int)
    return pa.array(values, {str: pa.string(), float: pa.float64(), int: pa.int64()}[kind])
