"""What Alertmanager is told of halts: an alert for each update that stands halted, and one for each that waits for a
person. Pure; times in unix ms.

An alert is known by its labels, so they hold what never changes of it; whatever is learned later is an annotation.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from shlex import quote

import msgspec

from pipeline.halts.facts import Row
from pipeline.halts.words import decided_words, now_words, obeyed_words, spread_words
from pipeline.runtime.logging import printable
from pipeline.status.updates import UpdateRow
from pipeline.wire.record_keys import parse_key
from pipeline.wire.words import crashed_words, doubted_words

HALTED, PENDING = "AndonHalt", "AndonHaltPending"
STANDS = ("standing", "expired", "unknown")  # none of these permits anything
NAMES = ("fleet", "vendor", "product", "version")
MAX_TEXT_CHARS = 1_500  # of an annotation: what receives it has bounds of its own
FEW = 0.01  # expected crashes below it are told as "fewer than"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """It fires since `starts_at`, or is resolved."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: int
    fires: bool

    @property
    def identity(self) -> tuple[tuple[str, str], ...]:
        """By which Alertmanager knows it."""
        return tuple(sorted(self.labels.items()))


def alerts_of(row: Row, since_ms: int, links: Mapping[str, str]) -> Iterator[Alert]:
    """Of one update as `andon halts` sees it, in this state since then: those that fire, and those that do not any
    more. `links` are annotations that all have."""
    if row.state in ("none", "shadow"):
        return
    names = [printable(part) for part in parse_key(row.key)]
    annotations = {name: text[:MAX_TEXT_CHARS] for name, text in _annotations(row, names).items()} | dict(links)
    for alertname, fires in ((HALTED, row.state in STANDS), (PENDING, row.state == "pending")):
        labels = {"alertname": alertname, "severity": "critical"} | dict(zip(NAMES, names, strict=False))
        yield Alert(labels=labels, annotations=annotations, starts_at=since_ms, fires=fires)


def _annotations(row: Row, names: list[str]) -> dict[str, str]:
    fleet, *update = names
    if len(update) < len(NAMES) - 1:  # halts of the fleet that no record shows
        summary = f"Halts of {fleet} are hidden"
        return {"summary": summary, "description": f"{summary}: {row.why}; andon doctor", "state": row.state}
    summary, halt = f"{'/'.join(update)} {_verb(row.state)} in {fleet}", row.halt
    why = f"andon halts why {quote('/'.join(update))} --fleet {quote(fleet)}"
    found = {"summary": summary, "state": row.state, "why": why, "evidence": _evidence(row)}
    if halt is None:
        return found | {"description": f"{summary}: {row.why}; {why}"}
    rings = f"ring{'s' if len(halt.rings) > 1 else ''} {', '.join(map(printable, halt.rings))}"
    doubt = _doubted(row)
    if doubt:
        found |= {"doubtful": doubt}
    because = f"{summary}, {rings}, {_clock(halt.issued_at)}: {_because(row)}"
    parts = [because, doubt, _stopped(row), _spreads(row), why]
    return found | {
        "description": "; ".join(part for part in parts if part),
        "rings": ", ".join(map(printable, halt.rings)),
        "decided_by": printable(halt.decided_by),
        "epoch": str(halt.epoch),
        "obeyed": printable(obeyed_words(row.obeyed)),
        "spreading": spread_words(row),
    }


def _verb(state: str) -> str:
    return {"pending": "waits for a person", "resumed": "resumed"}.get(state, "halted")


def _because(row: Row) -> str:
    """Why, in words for people."""
    halt = row.halt
    if halt is None or row.state in ("unknown", "expired"):
        return f"{row.why}; it counts as halted"
    evidence = halt.evidence
    if halt.action == "resume" or halt.decided_by != "andon" or evidence is None:
        return f"by {printable(halt.decided_by)}: {printable(row.why)}"
    usual = f"{evidence.expected:.2g}" if evidence.expected >= FEW else f"fewer than {FEW:g}"
    history = ", by the fleet's history, which assumes more" if evidence.basis == "historical" else ""
    crashed = printable(crashed_words(evidence.observed, evidence.crashed_hosts, evidence.explanation))
    return f"{crashed} where {usual} were expected{history}"


def _evidence(row: Row) -> str:
    """What it was decided on, else how it stands by now."""
    if row.halt is not None and row.halt.evidence is not None:
        return printable(decided_words(row.halt.evidence))
    return printable(now_words(UpdateRow(row.verdicts))) if row.verdicts else "unknown: no verdict is to be believed"


def _stopped(row: Row) -> str:
    """How many rollout systems have."""
    if row.state not in STANDS:
        return ""
    if not row.obeyed:
        return "no rollout system has acknowledged it, and none is known here"
    confirmed = sum(each.has_confirmed for each in row.obeyed)
    return f"{confirmed} of {len(row.obeyed)} rollout systems have stopped"


def _doubted(row: Row) -> str:
    """Of a halt that stands: whether it is the wrong one."""
    return printable(doubted_words(row.doubted_for)) if row.state in STANDS else ""


def _spreads(row: Row) -> str:
    """Whether hosts still get it, as far as they have reported."""
    if row.state not in STANDS:
        return ""
    if row.flat_since:
        return f"no host has installed it since {_clock(row.flat_since)}"
    rate = row.spreading_hosts_per_minute
    if rate is None:
        return "whether it still spreads is unknown"
    return f"still spreading: {rate:,.3g} hosts/min" if rate else "no installation since the halt so far"


def _clock(unix_ms: int) -> str:
    return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%H:%M:%S} UTC"
