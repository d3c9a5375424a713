"""Which topic goes into which table, and how records become rows: they are few, and plain. Pure.

Events, which are many, have a way of their own (`events.EventRows`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from consumers.clickhouse.archive.rows import MILLIS, Rows
from pipeline.halt.believe import believed_ack, believed_entry, believed_halt, believed_word
from pipeline.halt.errors import MalformedRecord, UntrustedRecord
from pipeline.halt.signing import TrustedKeys
from pipeline.wire.acks import decode_ack
from pipeline.wire.audit import decode_entry
from pipeline.wire.commands import decode_command
from pipeline.wire.halts import Evidence, decode_halt
from pipeline.wire.record_keys import is_alarm, is_heartbeat
from pipeline.wire.topics import AUDIT, DEADLETTER, EVENTS, HALT_ACKS, HALTS, VERDICTS
from pipeline.wire.verdicts import (
    FleetAlarm,
    FleetHeartbeat,
    Verdict,
    Word,
    decode_alarm,
    decode_heartbeat,
    decode_verdict,
)

Fields = dict[str, Any]
UNREADABLE, ERASED_HALT = "unreadable_record", "erased_halt"
DETAILS = {
    ERASED_HALT: "a tombstone: Andon erases no halt",
    "unknown_key": "signed by a key that is not trusted",
    "bad_signature": "its signature does not match",
    "wrong_key": "it stands under another record's key",
    "unapproved": "a resume that two operators did not sign",
    "wrong_role": "signed by a key that is not believed for this",
}


class Record(NamedTuple):
    """A Kafka record, without its client's type. `at_ms` is its Kafka timestamp: the time of ingestion."""

    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def _word(record: Record, raw: bytes, trusted: TrustedKeys | None) -> tuple[str, Fields]:
    if trusted is not None:
        return _word_fields(believed_word(record.key, raw, trusted), raw)
    decode = decode_heartbeat if is_heartbeat(record.key) else decode_alarm if is_alarm(record.key) else decode_verdict
    return _word_fields(decode(raw), raw)


def _word_fields(verdict: Word, raw: bytes) -> tuple[str, Fields]:
    if isinstance(verdict, FleetHeartbeat):
        names = ("fleet", "at", "stream_time", "live_updates", "events", "offset")
        return "heartbeats", {name: getattr(verdict, name) for name in names}
    if isinstance(verdict, FleetAlarm):
        return "alarms", _alarm_fields(verdict) | {"record": raw}
    fields: Fields = {name: getattr(verdict, name) for name in _VERDICT}
    fields |= {name: getattr(verdict, name) or None for name in ("flat_since", "last_install")}  # 0 is unknown
    fields["relative_risk_low"], fields["relative_risk_high"] = verdict.relative_risk
    explanation = verdict.explanation
    fields |= {f"explanation_{name}": getattr(explanation, name) for name in ("kind", "code", "module", "strata")}
    return "verdicts", fields | {"record": raw}


def _alarm_fields(alarm: FleetAlarm) -> Fields:
    fields: Fields = {name: getattr(alarm, name) for name in _ALARM}
    return fields | {
        "over_at": alarm.over_at or None,
        "signatures": [f"{each.code} / {each.module}" for each in alarm.signatures],
        "rings": [each.ring for each in alarm.rings],
        "suspects": [each.update for each in alarm.suspects],
    }


_ALARM = (
    "fleet", "at", "state", "since", "ended", "crashed_hosts", "usual", "rise", "tolerated_rise", "log10_evidence",
    "threshold", "flags",
)  # fmt: skip
_VERDICT = set(Verdict.__struct_fields__) - {"v", "relative_risk", "explanation", "conditional", "kid", "sig"}
_HALT = ("fleet", "vendor", "product", "version", "epoch", "action", "rings", "issued_at", "expires_at")
_HALT_ALSO = ("decided_by", "policy", "reason", "kid")
_NOBODY = {"command": "", "command_id": "", "operator": ""}
_EVIDENCE = ("stream_time", "log10_evidence", "observed", "expected", "crashed_hosts", "exposed_trials")


def _halt(record: Record, raw: bytes, trusted: TrustedKeys | None) -> tuple[str, Fields]:
    halt = decode_halt(raw) if trusted is None else believed_halt(record.key, raw, trusted)
    evidence: Evidence | None = halt.evidence
    fields: Fields = {name: getattr(halt, name) for name in (*_HALT, *_HALT_ALSO)}
    fields |= {name: getattr(evidence, name, None) for name in _EVIDENCE}
    return "halts", fields | {"basis": evidence.basis if evidence else "", "record": raw}


def _ack(record: Record, raw: bytes, trusted: TrustedKeys | None) -> tuple[str, Fields]:
    ack = decode_ack(raw) if trusted is None else believed_ack(record.key, raw, trusted)
    names = ("halt_key", "epoch", "action", "subscriber", "status", "at", "detail", "kid")
    return "halt_acks", {name: getattr(ack, name) for name in names} | {"record": raw}


def _audit(record: Record, raw: bytes, trusted: TrustedKeys | None) -> tuple[str, Fields]:
    entry = decode_entry(raw) if trusted is None else believed_entry(record.key, raw, trusted)
    command = decode_command(entry.command.encode()) if entry.command else None
    halt = decode_halt(entry.halt.encode()) if entry.halt else None
    about = command or halt
    fields: Fields = {
        name: getattr(entry, name) for name in ("fleet", "seq", "at", "kind", "outcome", "why", "detail", "kid")
    }
    fields |= {"command": command.kind, "command_id": command.id, "operator": command.operator} if command else _NOBODY
    fields |= {"epoch": halt.epoch, "action": halt.action} if halt else {"epoch": 0, "action": ""}
    place = {"partials_partition": entry.partials.partition, "partials_offset": entry.partials.offset}
    return "audit", fields | place | {"halt_key": about.key if about else "", "record": raw}


def _dead_letter(record: Record, raw: bytes, _: TrustedKeys | None) -> tuple[str, Fields]:
    headers = {name: (value or b"").decode("utf-8", "backslashreplace") for name, value in record.headers}
    fields: Fields = {name: headers.get(name, "") for name in ("reason", "detail", "topic", "stage")}
    numbers = {name: int(headers.get(name, "-1")) for name in ("partition", "offset")}
    return "dead_letters", fields | numbers | {"at": record.at_ms, "key": record.key, "value": raw}


class Route(NamedTuple):
    """How a topic's records become rows, and of which tables: all that the archive inserts into, and so all that its
    user may. A compacted topic may have forgotten records that an intent counted."""

    convert: Callable[[Record, bytes, TrustedKeys | None], tuple[str, Fields]] | None
    compacted: bool
    tables: tuple[str, ...]


ROUTES = {
    EVENTS.name: Route(None, False, ("events",)),
    VERDICTS.name: Route(_word, True, ("verdicts", "heartbeats", "alarms")),
    HALTS.name: Route(_halt, True, ("halts",)),
    HALT_ACKS.name: Route(_ack, False, ("halt_acks",)),
    DEADLETTER.name: Route(_dead_letter, False, ("dead_letters",)),
    AUDIT.name: Route(_audit, False, ("audit",)),  # the last: where letters stand follows from the order
}

_TIMES = {"at", "stream_time", "issued_at", "expires_at", "flat_since", "last_install", "since", "over_at"}
_LISTS = {"rings", "flags", "explanation_strata", "doubted_for", "signatures", "suspects"}
_BYTES = {"record", "key", "value"}
_ARROW = {str: pa.string(), float: pa.float64(), int: pa.int64()}  # the first that a column has a value of


def record_rows(topic: str, records: Sequence[Record], trusted: TrustedKeys | None = None) -> Rows:
    """Rows of the small tables, each with where its record stood. What cannot be read is a dead letter, and so is a
    halt, verdict or heartbeat that none of the trusted keys signed (None verifies nothing), and a tombstone on
    `fleet.halts`, where nobody of ours writes one; elsewhere one gives no row. `topic` is one of ROUTES, without a
    prefix."""
    convert = ROUTES[topic].convert
    assert convert is not None, "only events have no converter"
    rows: dict[str, list[tuple[Fields, Record]]] = {}
    refused: list[tuple[str, Record]] = []
    for record in records:
        if record.value is None:
            refused += [(ERASED_HALT, record)] if topic == HALTS.name else []
            continue
        try:
            table, fields = convert(record, record.value, trusted)
        except UntrustedRecord as error:
            refused.append((UNREADABLE if isinstance(error, MalformedRecord) else error.reason, record))
            continue
        except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
            refused.append((UNREADABLE, record))
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
    return Rows(tables, [reason for reason, _ in refused])


def _letter(topic: str, reason: str, record: Record) -> Fields:
    """A row of `dead_letters` for a record that is none of this topic's: no other stage would say so."""
    place = (1 + list(ROUTES).index(topic)) << 16 | record.partition  # no letter of the dead-letter topic stands there
    return {
        "at": record.at_ms,
        "reason": reason,
        "detail": DETAILS.get(reason, "no record of this topic"),
        "topic": topic,
        "partition": record.partition,
        "offset": record.offset,
        "stage": "archive",
        "key": record.key,
        "value": record.value or b"",
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
    kind = next((kind for kind in _ARROW if kind in kinds), int)
    return pa.array(values, _ARROW[kind])
