"""`andon halts show`: one halt whole."""

from collections.abc import Iterator
from shlex import quote
from typing import Any

import click

from pipeline.halts.answer import Answer, ask
from pipeline.halts.facts import Row
from pipeline.halts.listing import problems
from pipeline.halts.stored import UNUSED
from pipeline.halts.where import options, where
from pipeline.halts.words import (
    DECIDED_BY,
    apart_words,
    approve_words,
    claims_words,
    clocks_words,
    commanded,
    decided_words,
    item,
    now_words,
    proposed_words,
    silent_words,
    spread_words,
    who,
    withdraw_words,
)
from pipeline.runtime.say import say, say_json
from pipeline.status.times import moment, span
from pipeline.status.updates import UpdateRow
from pipeline.wire.record_keys import parse_key, update_key
from pipeline.wire.words import counted, doubted_words

COLUMNS = 80


@click.command("show")
@click.argument("key", metavar="FLEET/VENDOR/PRODUCT/VERSION")
@options(UNUSED)
def command(key: str, as_json: bool, **settings: Any) -> None:
    """One halt whole: its record, the evidence, who obeyed and how fast, whether it spreads."""
    parts = parse_key(key)
    if len(parts) != 4 or not all(parts):
        raise click.UsageError(f"{key!r} should be FLEET/VENDOR/PRODUCT/VERSION, as `andon halts list` prints it")
    found = ask(update_key(*parts), where(**settings))
    if as_json:
        say_json(found.row)
        return
    for line in (*lines(found.row, found.now_ms, COLUMNS), *_stored(found)):
        say(line)
    for problem in problems(found.known, found.now_ms, parts[0]):
        for line in item("!", problem, COLUMNS):
            say(line)


def _stored(found: Answer) -> Iterator[str]:
    """What ClickHouse says besides, and how far it has come."""
    stored = found.stored
    yield from item("silent", silent_words(stored.silent, stored.why_not or stored.silent_why_not), COLUMNS)
    if found.row.halt is not None and found.row.halt.evidence is not None:
        yield from item("borne out?", claims_words(stored.claims, stored.why_not), COLUMNS)
    if apart := apart_words(found.read_until, stored.heard_until):
        yield from item("as of", apart, COLUMNS)


def lines(row: Row, now_ms: int, width: int) -> Iterator[str]:
    """The page."""
    yield from item(row.state.upper(), row.key, width)
    halt = row.halt
    if (
        halt is None or halt.evidence is None or halt.decided_by != DECIDED_BY or row.why != halt.reason
    ):  # else the figures say it, and more
        yield from item("why", row.why, width)
    if halt is not None:
        if halt.decided_by != DECIDED_BY and row.why != halt.reason:
            yield from item("because", f"in their words: {halt.reason}", width)
        ends = (halt.expires_at - now_ms) / 1000
        until = f"for {span(ends)} more, then renewed" if ends > 0 else f"ended {span(-ends)} ago"
        rings = "every ring" if "*" in halt.rings else ", ".join(halt.rings)
        yield from item("record", f"{halt.action} of epoch {halt.epoch} in {rings}, by {halt.decided_by}", width)
        yield from item(
            "", f"signed {moment(halt.issued_at)} (wall time) with key {halt.kid}; {until}; policy {halt.policy}", width
        )
        yield from item("decided", clocks_words(halt), width)
        if halt.evidence is not None:
            yield from item("on", decided_words(halt.evidence), width)
    if row.verdicts:
        yield from item("by now", now_words(UpdateRow(row.verdicts)), width)
    else:
        yield from item("by now", "unknown: no verdict on it is to be believed", width)
    if words := doubted_words(row.doubted_for):
        yield from item("DOUBTFUL", words.removeprefix("doubtful: "), width)
    for verdict in row.verdicts:
        words = f"{verdict.ring}: {verdict.state}, by now {counted(verdict.crashed_hosts, 'crashed host')}"
        yield from item("ring", f"{words}, {counted(verdict.exposed_trials, 'exposed trial')}", width)
    if halt is not None:
        for obeyed in row.obeyed:
            yield from item("obeyed", who(obeyed), width)
        if not row.obeyed:
            yield from item("obeyed", "nobody has acknowledged it, and no subscriber's key is known here", width)
    for each in row.proposals:
        yield from item("proposed", proposed_words(each, now_ms), width)
        yield from commanded("", approve_words(each), width)
        yield from commanded("", withdraw_words(each), width)
    yield from item("spreading", spread_words(row), width)
    fleet, _, update = row.key.partition("/")
    yield from item("next", f"andon halts why {quote(update)} --fleet {quote(parse_key(fleet)[0])}", width)
