"""How `andon status` looks. Text from endpoints is hostile: each cell is plain text, control characters escaped."""

from datetime import UTC, datetime
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.local.snapshot import HaltRow, Snapshot, StageRow
from pipeline.runtime.logging import printable
from pipeline.wire.keys import update_key
from pipeline.wire.verdicts import Explanation, FleetHeartbeat, Verdict

SILENT_SECONDS = 30.0  # three heartbeats missed
FIXED_COLUMNS = 24  # characters of a column that does not give way: rings are named by endpoints
STATE_STYLES = {
    "up": "green",
    "starting": "yellow",
    "restarting": "yellow",
    "failing": "bold red",
    "halted": "bold red",
    "shadow_halted": "red",
    "pending": "bold yellow",
    "cleared": "green",
    "resumed": "cyan",
}


def render(snapshot: Snapshot) -> RenderableType:
    """The whole screen."""
    parts: list[RenderableType] = [_headline(snapshot)]
    parts += [Text(f"! {printable(problem)}", style="bold yellow") for problem in snapshot.problems]
    parts.append(_halts(snapshot))  # first: a low terminal cuts the end off
    if snapshot.stages:
        parts.append(_stages(snapshot))
    parts += [_flow(snapshot), _fleets(snapshot), _verdicts(snapshot)]
    return Group(*parts)


def _headline(snapshot: Snapshot) -> Text:
    events = snapshot.topics_per_second.get("fleet.events", 0.0)
    in_force = sum(row.in_force for row in snapshot.halts)
    words = f"{moment(snapshot.at)}  Kafka {printable(snapshot.bootstrap_servers)}  {events:,.0f} events/s in  "
    return Text(words, style="bold") + Text(
        f"{in_force} halts in force", style="bold red" if in_force else "bold green"
    )


def _table(title: str, *columns: str) -> Table:
    """Columns that end in ">" are figures, aligned to the right; those that end in "~" give way when the terminal is
    narrow, and take several lines then. What one decides by never does."""
    table = Table(title=title, title_justify="left", title_style="bold", expand=False, box=None, pad_edge=False)
    for column in columns:
        name = column.rstrip(">~")
        if column.endswith("~"):
            table.add_column(name, overflow="fold", min_width=8)
        else:
            side: Literal["left", "right"] = "right" if column != name else "left"
            table.add_column(name, justify=side, overflow="ellipsis", no_wrap=True, max_width=FIXED_COLUMNS)
    return table


def cell(text: str) -> Text:
    """Hostile text as a cell: no markup, no control characters."""
    return Text(printable(text))


def _stages(snapshot: Snapshot) -> Table:
    table = _table(
        "Stages", "stage", "state", "pid>", "up>", "restarts>", "CPU %>", "MB>", "last line of a restarted one~"
    )
    for row in snapshot.stages:
        table.add_row(row.name, _state(row.state), *_figures(row), cell(row.last_line if row.restarts else ""))
    return table


def _figures(row: StageRow) -> list[str]:
    return [
        str(row.pid or "-"),
        span(row.uptime_seconds),
        str(row.restarts),
        "-" if row.cpu_percent is None else f"{row.cpu_percent:.0f}",
        "-" if row.rss_bytes is None else f"{row.rss_bytes / 1e6:,.0f}",
    ]


def _state(state: str) -> Text:
    return Text(state, style=STATE_STYLES.get(state, ""))


def _flow(snapshot: Snapshot) -> Table:
    table = _table("Flow", "consumer group", "topic", "produced/s>", "read/s>", "lag>")
    for row in snapshot.groups:
        produced = snapshot.topics_per_second.get(row.topic, 0.0)
        speeds = [f"{produced:,.0f}", f"{row.messages_per_second:,.0f}", f"{row.lag_messages:,}"]
        table.add_row(cell(row.group), row.topic, *speeds)
    refused = snapshot.topics_per_second.get("fleet.deadletter", 0.0)
    table.add_row("(dead letters)", "fleet.deadletter", f"{refused:,.0f}", "", "")
    return table


def _fleets(snapshot: Snapshot) -> Table:
    table = _table("Detector", "fleet", "heartbeat", "stream time", "behind>", "live updates>", "events>")
    for beat in snapshot.fleets:
        table.add_row(*_fleet(beat, snapshot.at))
    if not snapshot.fleets:
        table.add_row("no heartbeat yet: the detector has said nothing, which is not the same as safe")
    return table


def _fleet(beat: FleetHeartbeat, now_ms: int) -> list[str | Text]:
    age_seconds = (now_ms - beat.at) / 1000
    heard = (
        Text(f"SILENT {span(age_seconds)}", style="bold red")
        if age_seconds > SILENT_SECONDS
        else Text(f"{span(age_seconds)} ago")
    )
    behind = span(max(0.0, (now_ms - beat.stream_time) / 1000))
    return [cell(beat.fleet), heard, moment(beat.stream_time), behind, f"{beat.live_updates:,}", f"{beat.events:,}"]


def _halts(snapshot: Snapshot) -> Table:
    columns = ("fleet/vendor/product/version~", "rings", "state", "age>", "expires in>", "hosts>", "evidence>", "why~")
    table = _table("Halts", *columns)
    for row in snapshot.halts:
        table.add_row(*_halt(row))
    if not snapshot.halts:
        table.add_row("none")
    return table


def _halt(row: HaltRow) -> list[str | Text]:
    halt = row.halt
    state = (
        Text("in force", style="bold red") if row.in_force else Text("EXPIRED: detector silent", style="bold yellow")
    )
    expires = span(row.expires_in_seconds) if row.in_force else "-"
    figures = ["-", "-"]
    if halt.evidence is not None:
        figures = [f"{halt.evidence.crashed_hosts:,}", f"10^{halt.evidence.log10_evidence:.1f}"]
    rings = ", ".join(halt.rings)
    return [cell(halt.key), cell(rings), state, span(row.age_seconds), expires, *figures, cell(halt.reason)]


def _verdicts(snapshot: Snapshot) -> Table:
    shown = len(snapshot.verdicts)
    columns = ("fleet/vendor/product/version~", "ring", "state", "evidence>", "hosts>", "expected>", "relative risk~")
    table = _table(f"Verdicts ({shown} of {snapshot.verdicts_total}, most evidence first)", *columns, "explanation~")
    for verdict in snapshot.verdicts:
        table.add_row(*_verdict(verdict))
    return table


def _verdict(verdict: Verdict) -> list[str | Text]:
    low, high = verdict.relative_risk
    flags = f" [{', '.join(verdict.flags)}]" if verdict.flags else ""
    needs = f" (needs {verdict.needs_trials:,} more trials)" if verdict.needs_trials else ""
    return [
        cell(update_key(verdict.fleet, verdict.vendor, verdict.product, verdict.version)),
        cell(verdict.ring),
        _state(verdict.state),
        f"10^{verdict.log10_evidence:.1f}",
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
