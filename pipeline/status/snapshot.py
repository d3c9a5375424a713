"""What `andon status` knows at one moment, as data: for the screen, for JSON. Pure, but for what it is given."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import msgspec

from pipeline.halt.proposals import Proposed
from pipeline.halt.safety import SafetyRecord
from pipeline.local.machine.usage import Usage
from pipeline.local.stack import StackInfo
from pipeline.status.sources import Offsets, Place, summed
from pipeline.status.updates import by_update
from pipeline.wire.halts import Halt
from pipeline.wire.record_keys import update_key
from pipeline.wire.verdicts import FleetAlarm, FleetHeartbeat, Verdict

K = TypeVar("K")  # of mappings whose keys are as good as none here


class StageRow(msgspec.Struct, kw_only=True):
    """A supervised process; CPU over the last interval, 100 is one core."""

    name: str
    state: str
    pid: int
    restarts: int
    uptime_seconds: float
    state_seconds: float = 0.0  # how long it has been in this state
    cpu_percent: float | None
    rss_bytes: int | None
    last_line: str


class GroupRow(msgspec.Struct, kw_only=True):
    """How far a consumer group has come on one topic. Markers of transactions count as messages here."""

    group: str
    topic: str
    messages_per_second: float
    lag_messages: int


class HaltRow(msgspec.Struct, kw_only=True):
    """A halt and how it stands: in force, or expired without renewal (the detector is silent). `doubt` says why the
    topic does not show it any more as it was; only a resume lifts it. `halt.evidence` is of the decision; by now, as of
    the newest verdicts, are `crashed_hosts_by_now`, in all rings, and `log10_evidence_by_now`: None without any."""

    halt: Halt
    in_force: bool
    age_seconds: float
    expires_in_seconds: float
    doubt: str = ""
    crashed_hosts_by_now: int | None = None
    log10_evidence_by_now: float | None = None


class UnknownRow(msgspec.Struct, kw_only=True):
    """A key of which nobody can say whether it is halted: why, in words."""

    key: str
    doubt: str


class Snapshot(msgspec.Struct, kw_only=True):
    """Times in unix ms. `topics_per_second` is what was produced, by topic."""

    at: int
    bootstrap_servers: str
    data_dir: str
    stages: list[StageRow]
    topics_per_second: dict[str, float]
    groups: list[GroupRow]
    fleets: list[FleetHeartbeat]
    halts: list[HaltRow]
    verdicts: list[Verdict]
    verdicts_total: int
    problems: list[str]
    unknown: list[UnknownRow] = []
    updates_total: int = 0  # of verdicts_total verdicts; the verdicts shown are those of `top` updates
    proposals: list[Proposed] = []  # operators' that wait for another to approve
    alarms: list[FleetAlarm] = []  # that sound
    verifies: bool = True  # False without trusted keys: then no halt, heartbeat or verdict is believed


def stage_rows(
    info: StackInfo | None, before: Mapping[int, Usage], after: Mapping[int, Usage], seconds: float, now_ms: int
) -> list[StageRow]:
    """One row per supervised process; `before` and `after` are their usage, `seconds` apart."""
    rows = []
    for name, stage in info.stages.items() if info else ():
        used, earlier = after.get(stage.pid), before.get(stage.pid)
        cpu = 100 * (used.cpu_seconds - earlier.cpu_seconds) / seconds if used and earlier and seconds > 0 else None
        rows.append(
            StageRow(
                name=name,
                state=stage.state,
                pid=stage.pid,
                restarts=stage.restarts,
                uptime_seconds=max(0.0, (now_ms - stage.started_at) / 1000) if stage.pid else 0.0,
                state_seconds=max(0.0, (now_ms - stage.since) / 1000) if stage.since else 0.0,
                cpu_percent=cpu,
                rss_bytes=used.rss_bytes if used else None,
                last_line=stage.last_line,
            )
        )
    return rows


def produced_per_second(before: Offsets, after: Offsets) -> dict[str, float]:
    """Messages a second, by topic."""
    then, now = summed(before.end), summed(after.end)
    return {topic: _rate(then.get(topic, 0), end, before, after) for topic, end in now.items()}


def group_rows(before: Offsets, after: Offsets) -> list[GroupRow]:
    """One row per group and topic that it has committed on; an uncommitted partition is unread from its start."""
    rows = []
    for group, committed in after.committed.items():
        then = summed(before.committed.get(group, {}))
        for topic, position in sorted(summed(committed).items()):
            places = [place for place in after.end if place[0] == topic]
            lag = sum(after.end[at] - max(committed.get(at, 0), after.first.get(at, 0)) for at in places)
            speed = _rate(then.get(topic, position), position, before, after)
            rows.append(GroupRow(group=group, topic=topic, messages_per_second=speed, lag_messages=max(0, lag)))
    return rows


def held_back(first: Offsets, second: Offsets) -> dict[Place, int]:
    """Records behind a transaction that was open at both looks, by partition."""
    return {
        at: second.end[at] - end
        for at, end in second.committed_end.items()
        if second.end[at] > end and first.committed_end.get(at) == end and first.end[at] > end
    }


def _rate(then: int, now: int, before: Offsets, after: Offsets) -> float:
    seconds = after.at_seconds - before.at_seconds
    return max(0.0, (now - then) / seconds) if seconds > 0 else 0.0


def halt_rows(
    halts: Mapping[K, Halt],
    now_ms: int,
    doubts: Mapping[str, str] = MappingProxyType({}),
    verdicts: Iterable[Verdict] = (),
) -> list[HaltRow]:
    """Halts that no resume has lifted, newest first; `doubts` by key; `verdicts` at least those on what is halted."""
    standing = sorted((h for h in halts.values() if h.action == "halt"), key=lambda h: -h.issued_at)
    stands = {halt.key for halt in standing}
    rows = by_update(v for v in verdicts if update_key(v.fleet, v.vendor, v.product, v.version) in stands)
    newest = {update_key(*row.name): row for row in rows}
    return [
        HaltRow(
            halt=halt,
            in_force=halt.expires_at > now_ms,
            age_seconds=(now_ms - halt.issued_at) / 1000,
            expires_in_seconds=(halt.expires_at - now_ms) / 1000,
            doubt=doubts.get(halt.key, ""),
            crashed_hosts_by_now=newest[halt.key].crashed_hosts if halt.key in newest else None,
            log10_evidence_by_now=newest[halt.key].newest.log10_evidence if halt.key in newest else None,
        )
        for halt in standing
    ]


def unknown_rows(record: SafetyRecord) -> list[UnknownRow]:
    """Keys in doubt that no row of a standing halt is about."""
    return [
        UnknownRow(key=doubt.key, doubt=doubt.words)
        for doubt in record.doubts()
        if doubt.halt is None or doubt.halt.action != "halt"
    ]


class Top(NamedTuple):
    """Verdicts in all rings of some updates, and how many verdicts and updates there are in all."""

    verdicts: list[Verdict]
    total: int
    updates: int


def top_verdicts(records: Mapping[K, Verdict | FleetHeartbeat], most_updates: int) -> Top:
    """Those of the updates with the most evidence."""
    updates = by_update(record for record in records.values() if isinstance(record, Verdict))
    shown = [verdict for update in updates[:most_updates] for verdict in update.verdicts]
    return Top(shown, sum(len(update.verdicts) for update in updates), len(updates))
