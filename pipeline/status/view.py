"""How `andon status` looks: what a person must know at once stands first and is never cut off by what is less."""

import re
from collections.abc import Iterator
from typing import Any

from rich.console import ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text

from pipeline.runtime.logging import printable
from pipeline.status.layout import Cell, Column, Lines, cell, drawn, figure, table
from pipeline.status.proposed import waiting
from pipeline.status.snapshot import HaltRow, Snapshot, StageRow, UnknownRow
from pipeline.status.times import moment, span
from pipeline.status.updates import UpdateRow, by_update, grounds
from pipeline.wire.record_keys import update_key
from pipeline.wire.verdicts import FleetHeartbeat, power_of_ten
from pipeline.wire.words import counted

NO_KEYS = "no halt, heartbeat or verdict can be verified, so none is shown: name the keys with --trusted-keys-dir"
SILENT_SECONDS = 30.0  # three heartbeats missed
LOG_PREFIX = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z \[\w+ *\] ")  # of our own log lines: time and level
STATE_STYLES = {
    "up": "green",
    "starting": "yellow",
    "restarting": "yellow",
    "unready": "bold red",
    "failing": "bold red",
    "halted": "bold red",
    "shadow_halted": "red",
    "pending": "bold yellow",
    "cleared": "green",
    "resumed": "cyan",
}
CUT = Text("… more than fits: a taller screen, or `andon status --once | less`, shows all", style="dim")
MARKERS = 4  # a transaction's end counts as a message, and nobody commits it: so many are no lag
MOST_FLEETS = 3  # heartbeats on a screen that is low; the silent ones first


class Screen:
    """The whole screen, laid out for the width that it is drawn at. With `spare` it takes no more lines than the
    terminal has, less so many, with stages and flow in a few words if need be; without, everything is there."""

    def __init__(self, snapshot: Snapshot, spare: int | None = None) -> None:
        self._snapshot, self._spare = snapshot, spare

    def __rich_console__(self, console: Any, options: ConsoleOptions) -> RenderResult:
        updates = by_update(self._snapshot.verdicts)
        whole = Group(*self._whole(options.max_width, updates))
        if self._spare is None:
            yield whole
            return
        height = console.height - self._spare
        lines: Lines = []
        if _lines_at_least(self._snapshot, updates) <= height:
            lines = drawn(console, options, whole)
        if not 0 < len(lines) <= height:
            lines = self._low(console, options, updates, height)
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from line

    def _whole(self, width: int, updates: list[UpdateRow]) -> Iterator[RenderableType]:
        snapshot = self._snapshot
        yield from _head(snapshot)
        yield _halts(snapshot, width)
        if snapshot.stages:
            yield _stages(snapshot, width)
            yield from (_last_line(row) for row in snapshot.stages if row.restarts and row.last_line)
        yield from (_flow(snapshot, width), _fleets(snapshot, width), _verdicts(snapshot, updates, width, True))

    def _low(self, console: Any, options: ConsoleOptions, updates: list[UpdateRow], height: int) -> Lines:
        snapshot, width = self._snapshot, options.max_width
        tail = [_stages_in_words(snapshot)] if snapshot.stages else []
        lines = drawn(console, options, Group(*_head(snapshot)))
        last = drawn(console, options, Group(_fleets_in_words(snapshot), *tail, _flow_in_words(snapshot)))
        cut = drawn(console, options, CUT)
        lines = _at_most(lines, height // 3, cut)
        lines += _at_most(drawn(console, options, _halts(snapshot, width)), height // 2, cut)
        verdicts = drawn(console, options, _verdicts(snapshot, updates, width, False))
        return (lines + _at_most(verdicts, height - len(lines) - len(last), cut) + last)[:height]


def _at_most(lines: Lines, most: int, cut: Lines) -> Lines:
    return lines if len(lines) <= most else lines[: max(0, most - len(cut))] + cut


def _lines_at_least(snapshot: Snapshot, updates: list[UpdateRow]) -> int:
    """Of the whole screen: it is not drawn where it cannot fit."""
    halts, groups = len(snapshot.halts) + len(snapshot.unknown), len(snapshot.groups) + len(snapshot.fleets)
    return halts + len(snapshot.stages) + groups + len(updates) + 10


def _head(snapshot: Snapshot) -> list[RenderableType]:
    parts: list[RenderableType] = [_headline(snapshot)]
    parts += (Text(f"! {printable(problem)}", style="bold yellow") for problem in snapshot.problems)
    parts += (Text(f"? {words}", style="bold yellow") for words in waiting(snapshot.proposals, snapshot.at))
    if not snapshot.verifies:
        parts.append(Text(f"! {NO_KEYS}", style="bold yellow"))
    return parts


def _headline(snapshot: Snapshot) -> Text:
    events = snapshot.topics_per_second.get("fleet.events", 0.0)
    in_force = sum(row.in_force for row in snapshot.halts)
    words = f"{moment(snapshot.at)}  Kafka {printable(snapshot.bootstrap_servers)}  {events:,.0f} events/s in  "
    halts = f"{counted(in_force, 'halt')} in force"
    unknown = Text(f", {len(snapshot.unknown)} unknown" if snapshot.unknown else "", style="bold yellow")
    calm = "bold green" if snapshot.verifies and not snapshot.unknown and not snapshot.problems else "bold yellow"
    return Text(words, style="bold") + Text(halts, style="bold red" if in_force else calm) + unknown


def _stages(snapshot: Snapshot, width: int) -> RenderableType:
    figures = (figure("pid", from_width=100), *map(figure, ("up", "restarts", "CPU %", "MB")))
    rows: list[list[Cell]] = [[row.name, _state(row.state), *_figures(row)] for row in snapshot.stages]
    return table(width, "Stages", (Column("stage"), Column("state"), *figures), rows)


def _figures(row: StageRow) -> list[str]:
    return [
        str(row.pid or "-"),
        span(row.uptime_seconds),
        str(row.restarts),
        "-" if row.cpu_percent is None else f"{row.cpu_percent:.0f}",
        "-" if row.rss_bytes is None else f"{row.rss_bytes / 1e6:,.0f}",
    ]


def _stages_in_words(snapshot: Snapshot) -> Text:
    """Those that are not up, or were started again, with why; then how many are."""
    rows = snapshot.stages
    well = [row for row in rows if row.state == "up"]
    cpu, rss = sum(row.cpu_percent or 0 for row in rows), sum(row.rss_bytes or 0 for row in rows)
    text = Text("Stages    ", style="bold")
    text.append(f"{len(well)} of {len(rows)} up", style="not bold green" if len(well) == len(rows) else "bold red")
    text.append(f", {cpu:.0f} % of a core, {rss / 1e6:,.0f} MB", style="not bold")
    for row in rows:
        if row.state != "up" or row.restarts:
            again = f", restarted {counted(row.restarts, 'time')}" if row.restarts else ""
            text.append(f"\n  {row.name} {row.state}", style=f"not bold {STATE_STYLES.get(row.state, '')}")
            text.append(f" for {span(row.state_seconds)}{again}", style="not bold")
    return text


def _last_line(row: StageRow) -> Text:
    """What a restarted stage said last: one line below the table, which it would squeeze as a column."""
    said = LOG_PREFIX.sub("", row.last_line)
    return Text(f"  {row.name} says: {printable(said)}", style="dim", overflow="ellipsis", no_wrap=True)


def _state(state: str) -> Text:
    return Text(state, style=STATE_STYLES.get(state, ""))


def _flow(snapshot: Snapshot, width: int) -> RenderableType:
    rows: list[list[Cell]] = []
    for row in snapshot.groups:
        produced = snapshot.topics_per_second.get(row.topic, 0.0)
        speeds = [f"{produced:,.0f}", f"{row.messages_per_second:,.0f}", f"{row.lag_messages:,}"]
        rows.append([cell(row.group), row.topic, *speeds])
    refused = snapshot.topics_per_second.get("fleet.deadletter", 0.0)
    rows.append(["(dead letters)", "fleet.deadletter", f"{refused:,.0f}", "", ""])
    figures = map(figure, ("produced/s", "read/s", "lag to commit"))
    return table(width, "Flow", (Column("consumer group"), Column("topic"), *figures), rows)


def _flow_in_words(snapshot: Snapshot) -> Text:
    """How far behind the groups are, the slowest first."""
    text = Text("Flow      ", style="bold")
    behind = sorted((row for row in snapshot.groups if row.lag_messages > MARKERS), key=lambda row: -row.lag_messages)
    said = [f"{printable(row.group)} {row.lag_messages:,} behind on {row.topic}" for row in behind[:2]]
    if len(behind) > len(said):
        said.append(f"{len(behind) - len(said)} more behind")
    if refused := snapshot.topics_per_second.get("fleet.deadletter", 0.0):
        said.append(f"{refused:,.0f} dead letters/s")
    calm = "no group is behind" if snapshot.groups else "no group has committed anything yet"
    return text.append("; ".join(said) or calm, style="not bold")


def _fleets(snapshot: Snapshot, width: int) -> RenderableType:
    if not snapshot.fleets:
        return Group(Text("Detector", style="bold"), NO_HEARTBEAT)
    columns = (*map(Column, ("fleet", "heartbeat", "event time")), *map(figure, ("behind", "live updates", "events")))
    return table(width, "Detector", columns, [_fleet(beat, snapshot.at) for beat in snapshot.fleets])


NO_HEARTBEAT = "no heartbeat yet: the detector has said nothing, which is not the same as safe"


def _fleet(beat: FleetHeartbeat, now_ms: int) -> list[Cell]:
    behind = span(max(0.0, (now_ms - beat.stream_time) / 1000))
    figures = [f"{beat.live_updates:,}", f"{beat.events:,}"]
    return [cell(beat.fleet), _heard(beat, now_ms), moment(beat.stream_time), behind, *figures]


def _heard(beat: FleetHeartbeat, now_ms: int) -> Text:
    age_seconds = (now_ms - beat.at) / 1000
    silent = Text(f"SILENT {span(age_seconds)}", style="bold red")
    heard = silent if age_seconds > SILENT_SECONDS else Text(f"{span(age_seconds)} ago")
    if beat.flags:
        heard += Text(f" {printable(', '.join(beat.flags))}", style="bold red")
    return heard


def _fleets_in_words(snapshot: Snapshot) -> Text:
    """Heartbeats, the oldest first."""
    text = Text("Detector  ", style="bold")
    if not snapshot.fleets:
        return text.append(NO_HEARTBEAT, style="not bold")
    oldest = sorted(snapshot.fleets, key=lambda beat: beat.at)
    for number, beat in enumerate(oldest[:MOST_FLEETS]):
        behind = span(max(0.0, (snapshot.at - beat.stream_time) / 1000))
        text.append(("\n          " if number else "") + f"{printable(beat.fleet)} heard ", style="not bold")
        text.append_text(_heard(beat, snapshot.at))
        live = counted(beat.live_updates, "live update")
        text.append(f"; event time {behind} behind the clock; {live}", style="not bold")
    if len(oldest) > MOST_FLEETS:
        more = counted(len(oldest) - MOST_FLEETS, "more fleet")
        text.append(f"\n          {more}, heard since", style="not bold")
    return text


def _halts(snapshot: Snapshot, width: int) -> RenderableType:
    if not snapshot.halts and not snapshot.unknown:
        return Group(Text("Halts     ", style="bold").append("none", style="not bold"))
    times = (figure("age", from_width=110), figure("expires in", from_width=110))
    figures = (*times, *map(figure, ("crashed", "evidence")))
    columns = (*map(Column, ("update", "rings", "state")), *figures, Column("decided on", "words"))
    rows = [*map(_halt, snapshot.halts), *map(_unknown, snapshot.unknown)]
    title = "Halts (crashed in all rings by now, evidence, what each was decided on; silent hosts: andon halts why)"
    return table(width, title, columns, rows)


def _unknown(row: UnknownRow) -> list[Cell]:
    return [cell(row.key), "-", Text("UNKNOWN", style="bold yellow"), "-", "-", "-", "-", cell(row.doubt)]


def _halt(row: HaltRow) -> list[Cell]:
    halt = row.halt
    silent = Text("EXPIRED: detector silent", style="bold yellow")
    state = Text("in force", style="bold red") if row.in_force else silent
    expires = span(row.expires_in_seconds) if row.in_force else "-"
    crashed, log10 = row.crashed_hosts_by_now, row.log10_evidence_by_now
    figures = ["-" if crashed is None else f"{crashed:,}", "-" if log10 is None else power_of_ten(log10)]
    why = f"decided on: {halt.reason}" if halt.evidence is not None else halt.reason
    why = f"RECORD DISTURBED: {row.doubt}; {why}" if row.doubt else why
    return [cell(halt.key), cell(", ".join(halt.rings)), state, span(row.age_seconds), expires, *figures, cell(why)]


def _verdicts(snapshot: Snapshot, updates: list[UpdateRow], width: int, whole: bool) -> RenderableType:
    total = snapshot.updates_total
    if not updates:
        return Group(Text("Verdicts  ", style="bold").append("none yet", style="not bold"))
    fleets = {update.name[0] for update in updates}
    of = f" of {printable(*fleets)}" if len(fleets) == 1 else ""
    title = f"Verdicts{of} by now ({len(updates)} of {counted(total, 'update')}; "
    title += f"{counted(snapshot.verdicts_total, 'verdict')}, most evidence first)"
    figures = (*map(figure, ("evidence", "crashed", "expected")), figure("relative risk", from_width=120))
    columns = (Column("update"), Column("state"), *figures, Column("rings, and what the evidence rests on", "words"))
    rows = [_verdict(update, whole, len(fleets) == 1) for update in updates]
    return table(width, title, columns, rows)


def _verdict(update: UpdateRow, whole: bool, one_fleet: bool) -> list[Cell]:
    most = max(update.verdicts, key=lambda verdict: verdict.crashed_hosts)
    low, high = most.relative_risk
    state = _state(update.state)
    if update.greyed:
        state = Text(", ".join([update.state, *update.greyed] if whole else [update.state, update.greyed[0]]))
    flags = [f"[{', '.join(update.flags)}]"] if update.flags else []
    rings = [_rings(update)] if whole or update.state != "watching" or len(update.rings) > 1 else []
    cells: list[Cell] = [
        cell("/".join(update.name[1:]) if one_fleet else update_key(*update.name)),
        state,
        power_of_ten(update.newest.log10_evidence),
        f"{update.crashed_hosts:,}",
        f"{update.expected:,.1f}",
        f"{_times(low)} … {_times(high)}" if high else "-",
        cell("; ".join([*rings, *filter(None, [grounds(update)]), *flags])),
    ]
    return [Text(str(each), style="dim") for each in cells] if update.greyed else cells


def _times(factor: float) -> str:
    return f"×{factor:,.0f}" if factor >= 10 else f"×{factor:.2g}"


def _rings(update: UpdateRow) -> str:
    """Every ring, with its state where they differ, and what those that are watched still need."""
    said = []
    for state, verdicts in update.rings.items():
        names = ", ".join(verdict.ring for verdict in verdicts)
        said.append(f"{state} in {names}" if len(update.rings) > 1 else f"in {names}")
        needs = max(verdict.needs_trials for verdict in verdicts)
        if needs:
            said[-1] += f" (needs {counted(needs, 'more trial')} to be cleared)"
    return "; ".join(said)
