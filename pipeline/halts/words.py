"""Words that several pages of `andon halts` have in common. Pure."""

import textwrap
from collections.abc import Iterable, Iterator

from pipeline.halts.facts import DONE, UNANSWERED, Obeyed, Row
from pipeline.runtime.logging import printable
from pipeline.status.times import moment, span
from pipeline.wire.verdicts import power_of_ten

NAME_COLUMNS = 12


def item(name: str, text: str, width: int) -> Iterator[str]:
    """A named entry of a page, folded to the width; hostile text is escaped."""
    lines = textwrap.wrap(printable(text), width - NAME_COLUMNS, break_long_words=True) or [""]
    yield f"{name:{NAME_COLUMNS}}{lines[0]}"
    for line in lines[1:]:
        yield " " * NAME_COLUMNS + line


def commanded(name: str, text: str, width: int) -> Iterator[str]:
    """The same for a command: folded as a shell reads it."""
    whole = printable(text).replace("-p ", "-p\xa0")  # an option stays with its value
    lines = textwrap.wrap(whole, width - NAME_COLUMNS - 2, break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(each.replace("\xa0", " ") for each in lines):
        end = " \\" if number < len(lines) - 1 and not text.startswith("#") else ""
        yield f"{'' if number else name:{NAME_COLUMNS}}{line}{end}"


def seconds(value: float) -> str:
    """A short duration; before the order where a clock says so."""
    words = f"{abs(value):.3g} s" if abs(value) < 60 else span(abs(value))
    return f"{words} before the order, by its clock" if value < 0 else f"after {words}"


def who(obeyed: Obeyed) -> str:
    """What one subscriber did, in words."""
    name = obeyed.subscriber
    if obeyed.status == UNANSWERED:
        return f"{name} has NOT answered"
    took = obeyed.seconds_to_confirmed
    words = f"{name} {obeyed.status}" if obeyed.status in DONE else f"{name} {obeyed.status.upper()}"
    if took is not None:
        words += f" {seconds(took)}"
        if obeyed.seconds_to_effective is not None:
            words = f"{name} confirmed {seconds(took)}, effective {seconds(obeyed.seconds_to_effective)}"
    elif obeyed.status == "requested" and obeyed.seconds_to_requested is not None:
        words += f" {seconds(obeyed.seconds_to_requested)}, NOT confirmed yet"
    elif obeyed.status == "requested":
        words += ", NOT confirmed yet"
    return f"{words} ({obeyed.detail})" if obeyed.detail else words


def obeyed_words(rows: Iterable[Obeyed]) -> str:
    """All of them; silence is said."""
    return "; ".join(map(who, rows)) or "nobody has acknowledged it, and no subscriber's key is known here"


def obeyed_count(rows: list[Obeyed]) -> str:
    """Confirmed of all that are known."""
    return f"{sum(each.has_confirmed for each in rows)} of {len(rows)}"


def spread_word(row: Row) -> str:
    """In a word."""
    if row.flat_since:
        return "flat"
    rate = row.spreading_hosts_per_minute
    return "unknown" if rate is None else f"{rate:g}/min" if rate else "none yet"


def spread_words(row: Row) -> str:
    """Whether hosts still receive it, as far as they have reported."""
    rate, last = row.spreading_hosts_per_minute, row.last_install
    known = f"; last installation {moment(last)}" if last else ""
    took = row.seconds_decision_to_last_install
    if took is not None:
        known += f", {span(took)} after the crash that decided" if took >= 0 else ", before the crash that decided"
    if row.flat_since:
        return f"flat since {moment(row.flat_since)}, as far as reported{known}"
    if rate is None:
        return f"whether it still spreads is unknown{known}"
    if rate:
        return f"SPREADING: {rate:,.3g} hosts a minute still install it, as far as reported{known}"
    return f"no installation since the halt has been reported; too early to call it flat{known}"


def evidence_words(row: Row) -> str:
    """The evidence that decided, or that there is."""
    found = row.halt.evidence if row.halt is not None and row.halt.evidence is not None else None
    most = max(row.verdicts, key=lambda verdict: verdict.crashed_hosts, default=None)
    shown = found or most
    if shown is None:
        return "unknown: no verdict on it is to be believed"
    basis = "historical, which assumes more" if shown.basis == "historical" else "concurrent"
    newest = max(row.verdicts, key=lambda verdict: verdict.at, default=None)
    now = f", {power_of_ten(newest.log10_evidence)} by now" if found is not None and newest is not None else ""
    when = " when halted" if found is not None else ""
    return f"{power_of_ten(shown.log10_evidence)}{when}{now}; 10^{shown.threshold:g} needed; basis {basis}"
