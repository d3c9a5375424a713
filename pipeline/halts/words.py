"""Words that several pages of `andon halts` have in common. Pure."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from pipeline.halt.issue import DECIDED_BY as DECIDED_BY  # for pages
from pipeline.halts.facts import DONE, UNANSWERED, Obeyed, Row
from pipeline.runtime.logging import printable
from pipeline.status.proposed import approve_words as approve_words
from pipeline.status.proposed import proposed_words as proposed_words
from pipeline.status.proposed import withdraw_words as withdraw_words
from pipeline.status.times import moment as moment
from pipeline.status.times import span as span
from pipeline.status.updates import UpdateRow
from pipeline.wire.halts import Evidence, Halt
from pipeline.wire.spans import MINUTE_MS
from pipeline.wire.verdicts import Verdict, power_of_ten
from pipeline.wire.words import counted, crashed_words

NAME_COLUMNS = 12
HUGE_RISK = 10_000.0  # as far as relative risks are told
APART_MS = MINUTE_MS  # of two readers
MOST_NAMED = 12  # subscribers
LIVE_MS = 10 * MINUTE_MS  # within so long a live fleet's crash is reported, judged and signed


def item(name: str, text: str, width: int) -> Iterator[str]:
    """A named entry of a page, folded to the width; hostile text is escaped."""
    columns = width - NAME_COLUMNS
    lines = textwrap.wrap(printable(text), columns, break_long_words=True, break_on_hyphens=False) or [""]
    yield f"{name:{NAME_COLUMNS}}{lines[0]}"
    for line in lines[1:]:
        yield " " * NAME_COLUMNS + line


def folded(text: str, width: int) -> list[str]:
    """A line of its own, folded to the width; hostile text is escaped."""
    return textwrap.wrap(printable(text), width, subsequent_indent="  ", break_on_hyphens=False)


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


def obeyed_words(rows: Sequence[Obeyed]) -> str:
    """Of many those by name that have not confirmed, first; how many there are, and silence, is said."""
    if not rows:
        return "nobody has acknowledged it, and no subscriber's key is known here"
    if len(rows) <= MOST_NAMED:
        return "; ".join(map(who, rows))
    named = sorted(rows, key=lambda each: each.has_confirmed)[:MOST_NAMED]
    more = f"{len(rows) - MOST_NAMED:,} more: andon halts show"
    return f"{obeyed_count(rows)} have confirmed; {'; '.join(map(who, named))}; {more}"


def obeyed_count(rows: Sequence[Obeyed]) -> str:
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
    rate, last, took = row.spreading_hosts_per_minute, row.last_install, row.seconds_decision_to_last_install
    known = f"{moment(last)} (event time)" if last else ""
    if took is not None:
        known += f", {span(took)} after the crash that decided" if took >= 0 else ", before the crash that decided"
    if row.flat_since:
        since = known or f"{moment(row.flat_since)} (event time)"
        return f"flat, as far as reported: last installation {since}"
    known = f"; last installation {known}" if known else ""
    if rate is None:
        return f"whether it still spreads is unknown{known}"
    if rate:
        return f"SPREADING: {rate:,.3g} hosts a minute still install it, as far as reported{known}"
    return f"no installation since the halt has been reported; too early to call it flat{known}"


def decided_words(found: Evidence) -> str:
    """What it was decided on."""
    return _figures(found, found.observed, found.expected, found.relative_risk, found.crashed_hosts)


def now_words(newest: UpdateRow) -> str:
    """How it stands by now, in all rings: of the newest verdict of each."""
    most = max(newest.verdicts, key=lambda verdict: verdict.crashed_hosts)
    whole = newest.newest.explanation.kind in (
        "signature",
        "history",
        "silence",
    )  # then each ring has the update's figures
    observed = most.observed if whole else sum(verdict.observed for verdict in newest.verdicts)
    return _figures(newest.newest, observed, newest.expected, most.relative_risk, newest.crashed_hosts)


def _figures(
    found: Evidence | Verdict, observed: int, expected: float, risk: tuple[float, float], crashed_hosts: int
) -> str:
    usual = f"{expected:.3g}" if expected >= 0.01 else "fewer than 0.01"
    low, high = risk
    limits = f"{_times(low)} to {_times(high)}" if high < HUGE_RISK else f"at least {_times(low)}"
    basis = "historical, which assumes more" if found.basis == "historical" else "concurrent"
    return (
        f"{crashed_words(observed, crashed_hosts, found.explanation)}, {usual} expected: "
        f"{max(0, round(observed - expected)):,} in excess; relative risk {f'{limits} (95 %)' if high else 'unknown'}; "
        f"evidence {power_of_ten(found.log10_evidence)} of 10^{found.threshold:g} needed; basis {basis}"
    )


def _times(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 10 else f"{factor:.2g}"


def silent_words(silent: Mapping[str, int] | None, why_not: str) -> str:
    """How many hosts nobody hears any more since its release: what it may have killed beyond what was reported."""
    if silent is None:
        return f"hosts that died without a word are not in these counts; how many is unknown: {why_not}"
    lists, line = silent["silent_that_listed_it"], silent["silent_in_line"]
    return (
        f"{lists + line:,} hosts fell silent since its release and nobody knows what became of them: {lists:,} had "
        f"listed it, {line:,} were in line for it; {silent['silent_in_as_long_before']:,} in as long before"
    )


def claims_words(claims: Mapping[str, int] | None, why_not: str) -> str:
    """Whether its crashes are borne out by what their hosts did next."""
    if claims is None:
        return f"unknown: {why_not}"
    booted, went_on = claims["booted"], claims["went_on"]
    told = [
        f"{booted:,} booted next",
        *([f"{went_on:,} WENT ON WITHOUT A BOOT, though they report boots"] if went_on else []),
        *([f"{claims['silent']:,} not heard of since"] if claims["silent"] else []),
        *([f"{claims['no_boots']:,} report no boots, so nothing follows"] if claims["no_boots"] else []),
    ]
    hosts = counted(sum(claims[name] for name in ("booted", "went_on", "silent", "no_boots")), "host")
    places = f"{counted(claims['rings'], 'ring')}, {counted(claims['sites'], 'site')}"
    new = claims["unheard_before"]
    before = f"{new:,} NEVER HEARD OF before its release" if new else "all heard of before its release"
    doubt = "; most may be forged, or no crashes of the machine" if went_on > booted else ""
    return f"{hosts} told of a crash with it ({places}): {', '.join(told)}; {before}{doubt}"


def apart_words(read_until: int | None, heard_until: int | None) -> str:
    """How far detector and ClickHouse have read, where that differs; "" where it does not."""
    if not read_until or not heard_until or abs(heard_until - read_until) < APART_MS:
        return ""
    behind = "the detector is" if heard_until > read_until else "ClickHouse is"
    return (
        f"the detector (by now, rings) has read up to {moment(read_until)}, ClickHouse (models, signatures, silent) up "
        f"to {moment(heard_until)}: {behind} {span(abs(heard_until - read_until) / 1000)} behind; event time"
    )


def clocks_words(halt: Halt) -> str:
    """When the crash that decided happened; and that the events' time is another than the clock's, where it is."""
    if halt.evidence is None:
        return "by no crash: a person ordered it"
    crashed = halt.evidence.stream_time
    if halt.decided_by != DECIDED_BY:  # what they ordered carries the evidence that there was
        people = "by two operators" if halt.action == "resume" else "by a person"
        return f"{people}; the evidence beside it is of before, to a crash at {moment(crashed)} (event time)"
    words = f"by a crash at {moment(crashed)} (event time)"
    ago = (halt.issued_at - crashed) / 1000
    if -LIVE_MS <= ago * 1000 <= LIVE_MS:
        return words
    again = "it stands again" if halt.epoch > 1 else "it was renewed"
    apart = f"{span(ago)} before" if ago > 0 else f"{span(-ago)} after"
    return f"{words}, {apart} it was signed: a replay, late reports, or {again} since"
