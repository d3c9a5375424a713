"""One screen for whoever is on call: why an update is halted, or not, and what to do. Pure: lines of plain text."""

from collections.abc import Iterator
from shlex import quote
from typing import NamedTuple

from pipeline.halts.chart import chart
from pipeline.halts.facts import DONE, Row
from pipeline.halts.stored import Stored
from pipeline.halts.words import (
    DECIDED_BY,
    apart_words,
    approve_words,
    claims_words,
    clocks_words,
    commanded,
    decided_words,
    folded,
    item,
    now_words,
    obeyed_words,
    proposed_words,
    silent_words,
    spread_words,
    withdraw_words,
)
from pipeline.status.times import moment, span
from pipeline.status.updates import UpdateRow, explain
from pipeline.wire.halts import Evidence
from pipeline.wire.record_keys import parse_key
from pipeline.wire.spans import MINUTE_MS
from pipeline.wire.verdicts import Conditional, Verdict, power_of_ten
from pipeline.wire.words import HALF_BLIND, counted, doubted_words

CHART_ROWS = 5
MOST_LINES = 44  # of a usual page: a terminal that fills half of a screen shows as many
PROBLEMS = 3  # said here; `andon halts show` has all
AFTER_MS = 10 * MINUTE_MS  # that a chart goes on after the threshold was reached
AT_ONCE = 3  # rings, rivals
BLIND_REASONS = 2  # said in words, at most
FLAGS = {
    "inseparable": "no host tells it from one that travels with it: both are halted",
    "capped": "crashes beyond the cap per site and minute, or partial, are not counted",
    "doubtful": "later evidence speaks for another update instead: see what it says on hosts without this one",
    "unlisted": "only crash reports list updates here, or perhaps heartbeats do not: no halt follows from it",
    "masked": "most of its crashed hosts have another halted update: says little of this one",
    "no_history": "the fleet's history is too short to compare with",
    "overdue": "hosts that have it have gone silent",
    "falling_silent": "hosts where it has just come fall silent and tell of nothing: that they had it is inferred",
    "unheard": "a site, a region, a combiner or all was hardly heard of lately: silence there is no evidence",
    "after_resume": "operators have resumed it once: to halt again, evidence must exceed what it was then, and a bar",
    "vetoed_by_shock": "hosts without it crash more, too: history alone does not halt",
    "partials_lost": "some reports were lost before they were judged",
    **HALF_BLIND,
}


class Seen(NamedTuple):
    """All that the page is made of; `others` are the newest verdicts on the fleet's other updates."""

    row: Row
    history: list[Verdict]
    others: list[Verdict]
    stored: Stored
    problems: list[str]
    read_until: int | None = None  # unix ms: how far the detector has come, by its heartbeat


def lines(seen: Seen, now_ms: int, width: int) -> list[str]:
    """The page: at most MOST_LINES of them where it may leave out the chart and reasons that are of little help, and
    more where it may not: what is left out is said, and what to do next always stands there."""
    row = seen.row
    parts = [*_head(row, now_ms, width)]
    for each in row.proposals[:1]:
        more = f"; {len(row.proposals) - 1} more: andon halts show" if len(row.proposals) > 1 else ""
        parts += item("PROPOSED", proposed_words(each, now_ms) + more, width)
    for problem in seen.problems[:PROBLEMS]:
        parts += folded(f"! {problem}", width)
    if (left_out := len(seen.problems) - PROBLEMS) > 0:
        parts += folded(f"! {left_out} more: andon halts show {quote(row.key)}", width)
    found = row.halt.evidence if row.halt is not None else None
    newest = UpdateRow(row.verdicts) if row.verdicts else None
    parts += [*_figures(found, newest, width), *_where(row, newest, seen.stored, width)]
    if row.halt is not None:
        parts += item(
            "Silent", silent_words(seen.stored.silent, seen.stored.why_not or seen.stored.silent_why_not), width
        )
        if row.halt.evidence is not None:
            parts += item("Borne out?", claims_words(seen.stored.claims, seen.stored.why_not), width)
    if apart := apart_words(seen.read_until, seen.stored.heard_until):
        parts += item("As of", apart, width)
    for reasons in range(BLIND_REASONS, -1, -1):  # what to do next must have room
        last = [*_rest(seen, found, newest, width, reasons), *_next(row, width)]
        if len(parts) + len(last) <= MOST_LINES:
            break
    room = MOST_LINES - len(parts) - len(last) - 2
    parts += _chart(seen, width, min(CHART_ROWS, room))
    return parts + last


def _head(row: Row, now_ms: int, width: int) -> Iterator[str]:
    fleet, *update = parse_key(row.key)
    names = {"standing": "HALTED", "none": "NOT HALTED", "shadow": "HALTED IN SHADOW ONLY"}
    halt, state = row.halt, names.get(row.state, row.state.upper())
    yield from folded(f"{state}: {'/'.join(update)} of {fleet}", width)
    if halt is None:
        yield from item("", row.why, width)
        return
    ends = (halt.expires_at - now_ms) / 1000
    until = f"stands {span(ends)} more unless renewed" if ends > 0 else f"EXPIRED {span(-ends)} ago"
    rings = "every ring" if "*" in halt.rings else ", ".join(halt.rings)
    made = f"epoch {halt.epoch} by {halt.decided_by}, signed {moment(halt.issued_at)} (wall time); {until}"
    yield from item("", f"{halt.action} in {rings}, {made}", width)
    if halt.decided_by != DECIDED_BY:
        yield from item("", f"because, in their words: {halt.reason}", width)
    if halt.evidence is not None:
        yield from item("", f"decided {clocks_words(halt)}", width)
    if row.state == "unknown":
        yield from item("UNKNOWN", row.why, width)
    if words := doubted_words(row.doubted_for):
        yield from item("DOUBTFUL", words.removeprefix("doubtful: ") + "; it stands until people lift it", width)


def _figures(found: Evidence | None, newest: UpdateRow | None, width: int) -> Iterator[str]:
    if found is not None:
        yield from item("Decided on", decided_words(found), width)
    if newest is not None:
        yield from item("By now", now_words(newest), width)
    if found is None and newest is None:
        yield from item("Figures", "unknown: no verdict on it is to be believed", width)


def _where(row: Row, newest: UpdateRow | None, stored: Stored, width: int) -> Iterator[str]:
    if newest is not None:
        rings = sorted(newest.verdicts, key=lambda verdict: -verdict.crashed_hosts)
        told = [f"{v.ring} {v.state}, {v.crashed_hosts:,} crashed" for v in rings[:AT_ONCE]]
        more = [f"{len(rings) - AT_ONCE} more"] if len(rings) > AT_ONCE else []
        yield from item("Rings", "by now: " + "; ".join(told + more), width)
    shown = row.halt.evidence.explanation if row.halt is not None and row.halt.evidence is not None else None
    shown = shown or (newest.newest.explanation if newest is not None else None)
    said = explain(shown) if shown is not None else ""
    models = [part.removeprefix("model=") for part in (shown.strata if shown else ()) if part.startswith("model=")]
    known = f"the evidence names {models[0]}" if models else "the evidence names none"
    words = [f"{model} {crashed:,} of {hosts:,}" for model, crashed, hosts in stored.models or ()]
    said_models = f"crashed of those with it: {', '.join(words)}" if words else ""
    yield from item("Models", said_models or f"{known}; counts unknown: {_unknown(stored)}", width)
    signed = [f"{_signature(code, module)} {hosts:,}" for code, module, hosts in stored.signatures or ()]
    known = f"the evidence rests on: {said}" if said else "the evidence names none"
    said_signatures = f"hosts with it that reported each: {', '.join(signed)}" if signed else ""
    yield from item("Signatures", said_signatures or f"{known}; counts unknown: {_unknown(stored)}", width)


def _signature(code: str, module: str) -> str:
    return " / ".join(part for part in (code, module) if part) or "(nothing reported)"


def _unknown(stored: Stored) -> str:
    return stored.why_not or "ClickHouse has none yet"


def _chart(seen: Seen, width: int, rows: int) -> list[str]:
    source, points = f"ClickHouse: {_unknown(seen.stored)}", seen.stored.evidence or []
    if points:
        source = "ClickHouse"
    elif seen.history:
        by_time: dict[int, float] = {}
        for verdict in seen.history:
            by_time[verdict.at] = max(verdict.log10_evidence, by_time.get(verdict.at, verdict.log10_evidence))
        points, source = sorted(by_time.items()), "fleet.verdicts, as far as kept"
    if not points or rows < 2:
        left_out = f"{counted(len(points), 'moment')}, left out for want of room: --json has them"
        return [*item("Over time", left_out if points else "unknown: no verdict on it is to be believed", width)]
    newest = max(seen.history, key=lambda verdict: verdict.at, default=None)
    threshold = newest.threshold if newest is not None else 6.0
    shown = _around_the_rise(points, threshold)
    told = f"Over time   evidence, by {source} ({counted(len(shown), 'moment')}, event time)"
    return [*folded(told, width), *chart(shown, threshold, width, rows)]


def _around_the_rise(points: list[tuple[int, float]], threshold: float) -> list[tuple[int, float]]:
    """Until as long after it reached the threshold as it took to, or ten minutes: what follows is only ever more."""
    crossed = next((at for at, value in points if value >= threshold), None)
    if crossed is None:
        return points
    end = crossed + max(AFTER_MS, crossed - points[0][0])
    return [(at, value) for at, value in points if at <= end]


def _rest(seen: Seen, found: Evidence | None, newest: UpdateRow | None, width: int, reasons: int) -> Iterator[str]:
    row = seen.row
    rivals = found.conditional if found is not None else (newest.newest.conditional if newest is not None else ())
    threshold = found.threshold if found is not None else (newest.newest.threshold if newest is not None else 6.0)
    yield from item("Considered", _considered(rivals, threshold, seen.others), width)
    flags = dict.fromkeys([*(found.flags if found else ()), *(newest.newest.flags if newest else ())])
    if flags:
        yield from item("But", _flags(list(flags), reasons), width)
    if row.halt is not None:
        yield from item("Obeyed", obeyed_words(row.obeyed), width)
    yield from item("Spreading", spread_words(row), width)
    yield from item("Sure?", _bound(row, found, newest), width)


def _flags(flags: list[str], reasons: int) -> str:
    """In words; of those that say how little telemetry shows so many: each takes lines."""
    shown = [flag for flag in flags if flag not in HALF_BLIND]
    blind = [flag for flag in flags if flag in HALF_BLIND]
    said = [f"{flag}: {FLAGS.get(flag, 'see docs/design.md')}" for flag in shown + blind[:reasons]]
    if more := blind[reasons:]:
        said.append(f"and {', '.join(more)}: see docs/design.md, half-blind telemetry")
    return "; ".join(said)


def _considered(rivals: tuple[Conditional, ...], threshold: float, others: list[Verdict]) -> str:
    said = [
        f"{rival.on_without}: on hosts without it the evidence is {power_of_ten(rival.log10_evidence)}, "
        + ("so it is not that one" if rival.log10_evidence >= threshold else "too little to tell the two apart")
        for rival in rivals[:2]
    ]
    named = {rival.on_without for rival in rivals}
    best: dict[str, float] = {}
    for verdict in others:
        name = "/".join((verdict.vendor, verdict.product, verdict.version))
        best[name] = max(verdict.log10_evidence, best.get(name, verdict.log10_evidence))
    calm = sorted(((value, name) for name, value in best.items() if name not in named), reverse=True)
    if calm:
        shown = ", ".join(f"{name} {power_of_ten(value)}" for value, name in calm[:AT_ONCE])
        more = f", {len(calm) - AT_ONCE} more with less" if len(calm) > AT_ONCE else ""
        said.append(f"against others, each by itself: {shown}{more}")
    return "; ".join(said) or "no other update of this fleet has a verdict"


def _bound(row: Row, found: Evidence | None, newest: UpdateRow | None) -> str:
    if row.halt is not None and row.halt.decided_by != DECIDED_BY:
        return "a person ordered it: no error bound holds"
    shown = found or (newest.newest if newest is not None else None)
    if shown is None:
        return "unknown"
    if row.halt is None and shown.log10_evidence < shown.threshold:
        return f"not enough against it: 10^{shown.threshold:g} is needed to halt, and silence proves nothing"
    words = (
        f"at most one harmless version in {10**shown.threshold:,.0f} is ever halted, if hosts crash independently, "
        "the share with it is known (it is estimated, to the safe side) and reports are true (hosts enough that lie "
        "alike fool it); this update, or one that travels with it"
    )
    historical = ". History assumes more: that the crash rates of the day before hold"
    return words + (historical if shown.basis == "historical" else "")


def _is_loose(row: Row) -> bool:
    """Whether a halt that stands may not have been obeyed by all."""
    confirmed = bool(row.obeyed) and all(each.status in DONE for each in row.obeyed)
    return row.state == "standing" and (not confirmed or bool(row.spreading_hosts_per_minute))


def _next(row: Row, width: int) -> Iterator[str]:
    names = dict(zip(("fleet", "vendor", "product", "version"), parse_key(row.key), strict=True))
    told = [f"andon halts show {quote(row.key)}"]
    if row.state == "unknown":
        told = ["andon doctor    # who disturbs the record, and what to do"]
    elif row.state == "expired":
        told = ["andon doctor    # why the detector is silent; nothing is permitted meanwhile"]
    elif _is_loose(row):
        told = ["# stop the rollout by hand where it is not confirmed, then again:", *told]
    for open_one in row.proposals[:1]:
        told += [
            "# another operator approves, or anyone takes it back:",
            approve_words(open_one),
            withdraw_words(open_one),
        ]
    query = " ".join(f"-p {name}={quote(value)}" for name, value in names.items())
    told.append(f"andon query exposure {query}")
    if row.halt is not None and row.halt.evidence is not None:
        told.append(f"andon query crash-claims {query}")
    about = f"{quote('/'.join(row.key.split('/')[1:]))} --fleet {quote(names['fleet'])}"
    if row.state == "standing" and not row.proposals:
        told += ["# two operators lift it, for a time:", f"andon halts resume {about} --for 4h --reason '…' --key FILE"]
    elif row.state == "pending":
        told += ["# it waits for an operator:", f"andon halts approve {about} --key FILE"]
    elif row.state in ("none", "shadow", "resumed"):
        ends = "ends the resume" if row.state == "resumed" else "may halt it by hand"
        told += [f"# one operator {ends}:", f"andon halts force {about} --reason '…' --key FILE"]
    for number, each in enumerate(told):
        yield from commanded("" if number else "Next", each, width)
