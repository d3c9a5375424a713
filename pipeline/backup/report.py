"""What a restore says: what is there again, and, of what is not, from where to when. Pure."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

from pipeline.backup.manifest import Log, Manifest
from pipeline.wire.topics import EVENTS, PARTIALS
from pipeline.wire.words import counted

KafkaFate = Literal["survived", "lost"]


class Lost(msgspec.Struct, frozen=True):
    """Records that are in no backup. All of a partition from `from_offset` to before `upto_offset` (-1: to its end),
    appended after `from_ms` (0: the backup knows of no record before) until `until_ms`, or the loss, if that was
    earlier."""

    topic: str
    partition: int
    from_offset: int
    upto_offset: int
    from_ms: int
    until_ms: int
    what: str


class Raised(msgspec.Struct, frozen=True):
    """A halt that was in force, by its key, and is again: the epoch that it had, and has."""

    halt: str
    was: int
    epoch: int


class Chain(msgspec.Struct, frozen=True):
    """A fleet's audit as it is now: its newest entry, and every fault in words. What was written after it is lost."""

    fleet: str
    entries: int
    newest: int
    digest: str
    at: int
    faults: list[str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Of one restore. Seconds by step."""

    backup: str
    began_at: int
    kafka: KafkaFate
    rows: dict[str, int] = {}
    files: int = 0
    plain_bytes: int = 0
    raised: list[Raised] = []
    resumed: list[str] = []
    doubtful: list[str] = []
    commands: int = 0
    audit: list[Chain] = []
    lost: list[Lost] = []
    seconds: dict[str, float] = {}


WHAT = {
    EVENTS.name: "events that are in no table, and were judged as far as partials were",
    PARTIALS.name: "partials that no detector has taken in",
}


def lost_with_kafka(manifest: Manifest, now_ms: int) -> list[Lost]:
    """What nobody has any more when Kafka is gone: of events what the archive had not stored, of partials what the
    detector had not taken in, of all else what came after it was copied."""
    logs = [
        *(log for log in manifest.archived if log.topic == EVENTS.name),
        *manifest.judged,
        *manifest.copied,
    ]
    return [_lost(log, -1, now_ms) for log in logs]


def lost_to_retention(manifest: Manifest, lows: Mapping[tuple[str, int], int], now_ms: int) -> list[Lost]:
    """What Kafka has deleted since, before the archive can read it again."""
    gone = ((log, lows.get((log.topic, log.partition), 0)) for log in manifest.archived)
    return [_lost(log, low, now_ms) for log, low in gone if low > log.offset]


def _lost(log: Log, upto: int, now_ms: int) -> Lost:
    what = WHAT.get(log.topic, "what came after it was copied")
    return Lost(log.topic, log.partition, log.offset, upto, log.last_at_ms, now_ms, what)


def moment(at_ms: int) -> str:
    """UTC, to the millisecond."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}.{at_ms % 1000:03d} UTC"


def lines(report: Report) -> Iterator[str]:
    """For people."""
    yield f"backup {report.backup}, of {moment(report.began_at)}, is restored"
    if report.rows:
        yield f"ClickHouse: {counted(sum(report.rows.values()), 'row')} in {counted(len(report.rows), 'table')}"
    if report.files:
        yield f"files: {counted(report.files, 'file')}"
    yield from _of_kafka(report)
    for lost in report.lost:
        yield f"LOST {_window(lost)}: {lost.what}"
    if not report.lost:
        yield "nothing is lost: the archive reads again from Kafka what came after the backup"


def _of_kafka(report: Report) -> Iterator[str]:
    for each in report.raised:
        yield f"HALT {each.halt}: in force, at epoch {each.epoch:,} (was {each.was:,})"
    for key in report.resumed:
        yield f"resumed {key}: as two operators signed it; if it was halted again after the backup, nobody knows here"
    for key in report.doubtful:
        yield f"not put back {key}: its record is not believed"
    if report.kafka == "lost":
        yield f"commands: {counted(report.commands, 'command')} without an answer put back; the others are in the audit"
    for chain in report.audit:
        whole = "whole" if not chain.faults else "NOT WHOLE: " + "; ".join(chain.faults)
        yield (
            f"audit of {chain.fleet}: {whole} up to entry {chain.newest} of {moment(chain.at)} "
            f"({chain.digest[:16]}); what was written after it is lost, and the next entry follows on it"
        )


def _window(lost: Lost) -> str:
    since = f"after {moment(lost.from_ms)}" if lost.from_ms else "from its beginning"
    upto = f"to {lost.upto_offset - 1}" if lost.upto_offset >= 0 else "on"
    until = f"until {moment(lost.until_ms)} at the latest" if lost.upto_offset < 0 else "deleted by retention"
    return f"{lost.topic}[{lost.partition}], offset {lost.from_offset} {upto}, {since}, {until}"
