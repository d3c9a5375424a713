"""What a backtest found: a JSON line a decision, or tables for people."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from pipeline.backtest.judging import Judging
from pipeline.backtest.recorded import Ruled
from pipeline.backtest.stored import Difference
from pipeline.decide.orders import HaltOrder
from pipeline.runtime.console import SafeConsole, stdout_console
from pipeline.runtime.logging import printable
from pipeline.runtime.say import say_json
from pipeline.wire.verdicts import power_of_ten

SHOWN_UPDATES = 20


class Summary(NamedTuple):
    """The figures of the whole run; `seconds` of wall time."""

    events: int
    rejected: int
    halts: int
    seconds: float
    max_log10_evidence: dict[str, float]
    rulings: int = 0  # of people, repeated


def summary_of(judging: Judging, seconds: float) -> Summary:
    """Updates are named vendor/product/version, behind their fleet when there is more than one."""
    several = len({key[0] for key in judging.max_log10_evidence}) > 1
    evidence = {"/".join(key if several else key[1:]): x for key, x in judging.max_log10_evidence.items()}
    largest = dict(sorted(evidence.items(), key=lambda item: -item[1]))
    rulings, refused = judging.rulings, judging.notes.refused.total()
    return Summary(judging.events, refused, judging.halts, round(seconds, 3), largest, rulings)


def row(found: HaltOrder | Ruled) -> dict[str, Any]:
    """What was decided, or repeated, as a line of `--json`."""
    return _halt_row(found) if isinstance(found, HaltOrder) else _ruling_row(found)


def _ruling_row(ruled: Ruled) -> dict[str, Any]:
    entry, (effect, update, rings) = ruled.entry, ruled.ruling
    name = {"fleet": entry.fleet, **update._asdict(), "rings": rings}
    place = {"partition": entry.partials.partition, "offset": entry.partials.offset, "entry": entry.seq}
    return {"type": "ruling", "effect": effect, **name, **place, "ruled_at": entry.at}


def _halt_row(halt: HaltOrder) -> dict[str, Any]:
    """A line of `--json`; `mode` is in it when the halt would not have gone out."""
    evidence = halt.evidence
    record: dict[str, Any] = {
        "type": "halt",
        "fleet": halt.fleet,
        "vendor": halt.vendor,
        "product": halt.product,
        "version": halt.version,
        "rings": halt.rings,
        "at": evidence.stream_time,
        "log10_evidence": evidence.log10_evidence,
        "observed": evidence.observed,
        "expected": evidence.expected,
        "crashed_hosts": evidence.crashed_hosts,
        "relative_risk": evidence.relative_risk,
        "explanation": evidence.explanation,
    }
    if halt.mode != "enforce":
        record["mode"] = halt.mode
    if evidence.flags:
        record["flags"] = evidence.flags
    return record


def summary_row(summary: Summary) -> dict[str, Any]:
    """The last one."""
    found = {"type": "summary", **summary._asdict()}
    if not summary.rulings:
        del found["rulings"]
    return found


def show(console: SafeConsole, found: HaltOrder | Ruled) -> None:
    """A decision in two lines, or what was repeated in one."""
    if isinstance(found, HaltOrder):
        _show_halt(console, found)
        return
    entry, (effect, update, rings) = found.entry, found.ruling
    what = f"{effect}  {'/'.join(update)} of fleet {entry.fleet}  rings {', '.join(rings)}"
    where = f"entry {entry.seq}, before partial {found.offset}"
    console.print(Text(printable(f"{_moment(entry.at)}  {what}  ({where})"), style="bold"), soft_wrap=True)


def _show_halt(console: SafeConsole, halt: HaltOrder) -> None:
    mode = {"enforce": "HALT", "shadow": "HALT (shadow: not enforced)", "pending": "HALT (pending: waits for a person)"}
    name = f"{halt.vendor}/{halt.product}/{halt.version} of fleet {halt.fleet}"
    head = f"{_moment(halt.evidence.stream_time)}  {mode[halt.mode]}  {name}  rings {', '.join(halt.rings)}"
    console.print(Text(printable(head), style="bold red"), soft_wrap=True)
    flags = f"  [{', '.join(halt.evidence.flags)}]" if halt.evidence.flags else ""
    console.print(Text(printable(f"    {halt.reason}{flags}")), soft_wrap=True)


def show_not_judged(console: SafeConsole, nothing: bool, why: str, cut_off: bool) -> None:
    """Said before anything else of the result."""
    said = [f"{'Nothing could be judged' if nothing else 'Not all could be judged'}: {why}"] if why else []
    if cut_off:
        said.append("The input ends in the middle of a line: it was cut off, and what is missing was not judged")
    for sentence in said:
        console.print(Text(printable(sentence), style="bold yellow"), soft_wrap=True)


def show_summary(console: SafeConsole, summary: Summary, nothing_judged: bool = False) -> None:
    """What was read, and the updates with the most evidence."""
    if summary.events and not summary.halts and not nothing_judged:
        console.print(Text("No halt.", style="bold"))
    if summary.max_log10_evidence:
        table = Table("update", "largest evidence", title="The most suspect updates", title_justify="left")
        for name, evidence in list(summary.max_log10_evidence.items())[:SHOWN_UPDATES]:
            table.add_row(Text(printable(name)), power_of_ten(evidence))
        console.print(table)
    rate = summary.events / summary.seconds if summary.seconds else 0.0
    halts = f"{summary.halts} halt{'' if summary.halts == 1 else 's'}"
    console.print(f"{summary.events:,} events in {summary.seconds:.1f} s ({rate:,.0f} a second), {halts}")


def show_differences(found: list[Difference], as_json: bool) -> None:
    """What the policy would have changed: a JSON line an update, or a table."""
    if as_json:
        for one in found:
            fleet, vendor, product, version = one.key
            name = {"fleet": fleet, "vendor": vendor, "product": product, "version": version}
            record = {"type": "difference", **name, **one._asdict()}
            del record["key"]
            say_json(record)
        return
    table = Table("update", "", "halted then", "would halt", "seconds later", title="Against the halts that went out")
    for one in found:
        moments = (_moment(at_ms) if at_ms is not None else "" for at_ms in (one.then_ms, one.now_ms))
        seconds = "" if one.seconds is None else f"{one.seconds:+,.0f}"
        table.add_row(Text(printable("/".join(one.key))), one.what, *moments, seconds)
    stdout_console().print(table if found else Text("No halt then, and none now."))


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
