"""`andon halts list`: one line for everything that was halted, waits for a person or is in doubt."""

import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import click

from consumers.rollout.params import Name
from consumers.rollout.words import unheard
from pipeline.halts.facts import Row, rows
from pipeline.halts.reading import Known, read
from pipeline.halts.where import OF_CLICKHOUSE, options, where
from pipeline.halts.words import obeyed_count, spread_word
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.logging import printable
from pipeline.runtime.say import say, say_json
from pipeline.status.proposed import approve_words, proposed_words, withdraw_words
from pipeline.wire.record_keys import fleet_of, is_heartbeat, is_of_fleet
from pipeline.wire.words import alarm_words, doubted_words

WIDE_COLUMNS = 160  # in a file or a pipe
RINGS_COLUMNS = 9
HEAD = ("state", "update", "rings", "then", "now", "obeyed", "spreads")
NAME, FIGURES = 1, (3, 4, 6)  # places in it


@click.command("list")
@click.option("--fleet", type=Name(), help="Of this fleet only.")
@options(OF_CLICKHOUSE)
def command(fleet: str | None, as_json: bool, **settings: Any) -> None:
    """What stands halted, waits for a person, was resumed, or is unknown: a line each."""
    place = where(**settings)
    known, now_ms = read(place.kafka, Known(place.trusted)), wall_clock_ms()
    found = rows(known, now_ms, fleet or "")
    for row in found:
        row.proposals = known.proposed(row.key, now_ms)
    if as_json:
        for row in found:
            say_json(row)
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE_COLUMNS
    for line in lines(found, max(width, 80) - 1):
        say(line)
    for line in (*doubts(found, max(width, 80) - 1), *proposals(found, now_ms, max(width, 80) - 1)):
        say(line)
    for problem in problems(known, now_ms, fleet or ""):
        say(f"! {problem}")


def lines(found: list[Row], width: int) -> Iterator[str]:
    """The table, at most so many columns wide; an update whose name has no room stands above its figures."""
    if not found:
        yield "nothing was halted, waits or is in doubt"
        return
    cells = [HEAD, *map(_cells, found)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(HEAD))]
    room = width - sum(widths) + widths[NAME] - len(widths) + 1
    widths[NAME] = max(len(HEAD[NAME]), min(widths[NAME], room))
    for row in cells:
        name = row[NAME]
        if len(name) > widths[NAME]:
            yield from textwrap.wrap(name, width, break_long_words=True)
            row = (*row[:NAME], "", *row[NAME + 1 :])
        places = zip(row, widths, strict=True)
        yield " ".join(f"{c:>{w}}" if at in FIGURES else f"{c:{w}}" for at, (c, w) in enumerate(places)).rstrip()
    yield "then, now: crashed hosts with it, in all rings: at the decision, and by now"
    yield "hosts that fell silent are in neither: andon halts why, andon query silent"


def doubts(found: list[Row], width: int) -> Iterator[str]:
    """Halts that later evidence speaks against, and what it speaks for."""
    for row in found:
        if words := doubted_words(row.doubted_for):
            yield from textwrap.wrap(printable(f"{row.key}: {words}; the halt stands until people lift it"), width)


def proposals(found: list[Row], now_ms: int, width: int) -> Iterator[str]:
    """What waits for another operator, and the commands that complete it or take it back."""
    for row in found:
        for each in row.proposals:
            yield from textwrap.wrap(printable(f"PROPOSED of {row.key}: {proposed_words(each, now_ms)}"), width)
            yield f"  {printable(approve_words(each))}"
            yield f"  {printable(withdraw_words(each))}"


def _cells(row: Row) -> tuple[str, ...]:
    halt = row.halt
    then, now = (
        "-" if hosts is None else f"{hosts:,}" for hosts in (row.crashed_hosts_at_decision, row.crashed_hosts_by_now)
    )
    return (
        row.state.upper() if row.state in ("unknown", "expired") else row.state,
        printable(row.key),
        _cut(printable(",".join(halt.rings)), RINGS_COLUMNS) if halt is not None else "-",
        then,
        now,
        obeyed_count(row.obeyed) if halt is not None else "-",
        spread_word(row) if halt is not None and halt.action == "halt" else "-",
    )


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: columns - 1] + "…"


def problems(known: Known, now_ms: int, fleet: str = "") -> Iterator[str]:
    """What is unknown besides."""
    record = known.record
    for name in sorted(record.beats):
        if not record.is_heard(name, now_ms) and name == (fleet or name):
            yield f"{name}: its detector is silent; whether anything else should be halted is unknown"
        elif name == (fleet or name) and (seconds := record.unheard_seconds(name)):
            yield f"{name}: {unheard(seconds)}"
        if name == (fleet or name) and record.is_alarmed(name):
            yield f"{name}: {alarm_words(record.alarm_of(name))}"
    for key in record.refused:
        place = key.encode()
        if is_of_fleet(place) and fleet_of(place) == (fleet or fleet_of(place)):
            what = "heartbeat" if is_heartbeat(place) else "alarm"
            yield f"{fleet_of(place)}: its newest {what} is not believed ({record.refused[key]})"
    if not record.beats or (fleet and fleet not in record.beats):
        yield "no heartbeat of a detector is to be believed: that nothing stands is unknown"
    yield from known.problems
