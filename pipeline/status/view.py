"""How `andon status` looks. Text from endpoints is hostile: each cell is plain text, control characters escaped."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from rich.console import ConsoleOptions, Group, JustifyMethod, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.runtime.logging import printable
from pipeline.status.snapshot import HaltRow, Snapshot, StageRow, UnknownRow
from pipeline.wire.record_keys import update_key
from pipeline.wire.verdicts import Explanation, FleetHeartbeat, Verdict, power_of_ten

NO_KEYS = "no halt, heartbeat or verdict can be verified, so none is shown: name the keys with --trusted-keys-dir"
SILENT_SECONDS = 30.0  # three heartbeats missed
STACKED_BELOW = 150  # columns of the screen; from there on, explanations have a column of their own
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

Cell = str | Text


class Column(NamedTuple):
    """`from_width`: narrower screens leave it out. A "figure" is never cut, "words" (the last column) may be long."""

    name: str
    kind: Literal["name", "figure", "words"] = "name"
    from_width: int = 0

    def fits(self, width: int) -> bool:
        """Whether a screen of this width has it."""
        return width >= self.from_width


def figure(name: str, from_width: int = 0) -> Column:
    """A column of numbers."""
    return Column(name, "figure", from_width)


class Screen:
    """The whole screen, laid out for the width that it is drawn at."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def __rich_console__(self, _: object, options: ConsoleOptions) -> RenderResult:
        snapshot, width = self._snapshot, options.max_width
        yield _headline(snapshot)
        yield from (Text(f"! {printable(problem)}", style="bold yellow") for problem in snapshot.problems)
        if not snapshot.verifies:
            yield Text(f"! {NO_KEYS}", style="bold yellow")
        yield _halts(snapshot, width)  # first: a low terminal cuts the end off
        if snapshot.stages:
            yield _stages(snapshot, width)
            yield from (_last_line(row) for row in snapshot.stages if row.restarts and row.last_line)
        yield from (_flow(snapshot, width), _fleets(snapshot, width), _verdicts(snapshot, width))


def _headline(snapshot: Snapshot) -> Text:
    events = snapshot.topics_per_second.get("fleet.events", 0.0)
    in_force = sum(row.in_force for row in snapshot.halts)
    words = f"{moment(snapshot.at)}  Kafka {printable(snapshot.bootstrap_servers)}  {events:,.0f} events/s in  "
    halts = f"{in_force} halt{'' if in_force == 1 else 's'} in force"
    unknown = Text(f", {len(snapshot.unknown)} unknown" if snapshot.unknown else "", style="bold yellow")
    calm = "bold green" if snapshot.verifies and not snapshot.unknown and not snapshot.problems else "bold yellow"
    return Text(words, style="bold") + Text(halts, style="bold red" if in_force else calm) + unknown


def _table(width: int, title: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> Table:
    """A table in which figures and states are never cut: names are folded, and on a screen that is not wide, words
    stand below the name that they are about."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    stacked = columns[-1].kind == "words" and width < STACKED_BELOW
    own = columns[:-1] if stacked else columns
    for column in own:
        if column.fits(width):
            justify: JustifyMethod = "right" if column.kind == "figure" else "left"
            table.add_column(column.name, justify=justify, overflow="fold", no_wrap=column.kind == "figure")
    for row in rows:
        cells: list[RenderableType] = [text for column, text in zip(columns, row, strict=True) if column.fits(width)]
        if stacked:
            cells[0] = Group(cells[0], Padding(cells.pop(), (0, 0, 0, 2), style="dim"))
        table.add_row(*cells)
    return table


def cell(text: str) -> Text:
    """Hostile text as a cell: no markup, no control characters."""
    return Text(printable(text))


def _stages(snapshot: Snapshot, width: int) -> Table:
    figures = (figure("pid", from_width=100), *map(figure, ("up", "restarts", "CPU %", "MB")))
    rows: list[list[Cell]] = [[row.name, _state(row.state), *_figures(row)] for row in snapshot.stages]
    return _table(width, "Stages", (Column("stage"), Column("state"), *figures), rows)


def _figures(row: StageRow) -> list[str]:
    return [
        str(row.pid or "-"),
        span(row.uptime_seconds),
        str(row.restarts),
        "-" if row.cpu_percent is None else f"{row.cpu_percent:.0f}",
        "-" if row.rss_bytes is None else f"{row.rss_bytes / 1e6:,.0f}",
    ]


def _last_line(row: StageRow) -> Text:
    """What a restarted stage said last: one line below the table, which it would squeeze as a column."""
    said = LOG_PREFIX.sub("", row.last_line)
    return Text(f"  {row.name} says: {printable(said)}", style="dim", overflow="ellipsis", no_wrap=True)


def _state(state: str) -> Text:
    return Text(state, style=STATE_STYLES.get(state, ""))


def _flow(snapshot: Snapshot, width: int) -> Table:
    rows: list[list[Cell]] = []
    for row in snapshot.groups:
        produced = snapshot.topics_per_second.get(row.topic, 0.0)
        speeds = [f"{produced:,.0f}", f"{row.messages_per_second:,.0f}", f"{row.lag_messages:,}"]
        rows.append([cell(row.group), row.topic, *speeds])
    refused = snapshot.topics_per_second.get("fleet.deadletter", 0.0)
    rows.append(["(dead letters)", "fleet.deadletter", f"{refused:,.0f}", "", ""])
    figures = map(figure, ("produced/s", "read/s", "lag to commit"))
    return _table(width, "Flow", (Column("consumer group"), Column("topic"), *figures), rows)


def _fleets(snapshot: Snapshot, width: int) -> RenderableType:
    if not snapshot.fleets:
        words = "no heartbeat yet: the detector has said nothing, which is not the same as safe"
        return Group(Text("Detector", style="bold"), words)
    columns = (*map(Column, ("fleet", "heartbeat", "stream time")), *map(figure, ("behind", "live updates", "events")))
    return _table(width, "Detector", columns, (_fleet(beat, snapshot.at) for beat in snapshot.fleets))


def _fleet(beat: FleetHeartbeat, now_ms: int) -> list[Cell]:
    age_seconds = (now_ms - beat.at) / 1000
    heard = (
        Text(f"SILENT {span(age_seconds)}", style="bold red")
        if age_seconds > SILENT_SECONDS
        else Text(f"{span(age_seconds)} ago")
    )
    if beat.flags:
        heard += Text(f" {printable(', '.join(beat.flags))}", style="bold red")
    behind = span(max(0.0, (now_ms - beat.stream_time) / 1000))
    return [cell(beat.fleet), heard, moment(beat.stream_time), behind, f"{beat.live_updates:,}", f"{beat.events:,}"]


def _halts(snapshot: Snapshot, width: int) -> RenderableType:
    if not snapshot.halts and not snapshot.unknown:
        return Group(Text("Halts", style="bold"), "none")
    figures = (figure("age", from_width=110), figure("expires in", from_width=110), figure("hosts"), figure("evidence"))
    columns = (Column("update"), Column("rings"), Column("state"), *figures, Column("why", "words"))
    return _table(width, "Halts", columns, [*map(_halt, snapshot.halts), *map(_unknown, snapshot.unknown)])


def _unknown(row: UnknownRow) -> list[Cell]:
    return [cell(row.key), "-", Text("UNKNOWN", style="bold yellow"), "-", "-", "-", "-", cell(row.doubt)]


def _halt(row: HaltRow) -> list[Cell]:
    halt = row.halt
    state = (
        Text("in force", style="bold red") if row.in_force else Text("EXPIRED: detector silent", style="bold yellow")
    )
    expires = span(row.expires_in_seconds) if row.in_force else "-"
    figures = ["-", "-"]
    if halt.evidence is not None:
        figures = [f"{halt.evidence.crashed_hosts:,}", power_of_ten(halt.evidence.log10_evidence)]
    rings = ", ".join(halt.rings)
    why = f"RECORD DISTURBED: {row.doubt}; {halt.reason}" if row.doubt else halt.reason
    return [cell(halt.key), cell(rings), state, span(row.age_seconds), expires, *figures, cell(why)]


def _verdicts(snapshot: Snapshot, width: int) -> Table:
    title = f"Verdicts ({len(snapshot.verdicts)} of {snapshot.verdicts_total}, most evidence first)"
    figures = (*map(figure, ("evidence", "hosts", "expected")), figure("relative risk", from_width=120))
    columns = (Column("update"), Column("ring"), Column("state"), *figures, Column("explanation", "words"))
    return _table(width, title, columns, map(_verdict, snapshot.verdicts))


def _verdict(verdict: Verdict) -> list[Cell]:
    low, high = verdict.relative_risk
    flags = f" [{', '.join(verdict.flags)}]" if verdict.flags else ""
    needs = f" (needs {verdict.needs_trials:,} more trials)" if verdict.needs_trials else ""
    return [
        cell(update_key(verdict.fleet, verdict.vendor, verdict.product, verdict.version)),
        cell(verdict.ring),
        _state(verdict.state),
        power_of_ten(verdict.log10_evidence),
        f"{verdict.crashed_hosts:,}",
        f"{verdict.expected:,.1f}",
        f"×{low:.3g} … ×{high:.3g}",
        cell(explain(verdict.explanation) + flags + needs),
    ]


def explain(explanation: Explanation) -> str:
    """The heaviest reading of the evidence, in a few words."""
    signature = " / ".join(part for part in (explanation.code, explanation.module) if part)
    strata = "; ".join(explanation.strata[:3]) + ("; …" if len(explanation.strata) > 3 else "")
    return ", ".join(part for part in (explanation.kind, signature, strata) if part)


def moment(unix_ms: int) -> str:
    """UTC, to the second."""
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{unix_ms} ms"


def span(seconds: float) -> str:
    """A duration in its two largest units."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
