"""`andon halts list`: one line for everything that was halted, waits for a person or is in doubt."""

import shutil
import sys
from collections.abc import Iterator
from typing import Any

import click

from consumers.rollout.params import Name
from pipeline.halts.facts import Row, rows
from pipeline.halts.reading import Known, read
from pipeline.halts.where import OF_CLICKHOUSE, options, where
from pipeline.halts.words import obeyed_count, spread_word
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.logging import printable
from pipeline.runtime.say import say, say_json
from pipeline.wire.record_keys import fleet_of

WIDE_COLUMNS = 160  # in a file or a pipe
FIXED_COLUMNS = 41  # of all but the update


@click.command("list")
@click.option("--fleet", type=Name(), help="Of this fleet only.")
@options(OF_CLICKHOUSE)
def command(fleet: str | None, as_json: bool, **settings: Any) -> None:
    """What stands halted, waits for a person, was resumed, or is unknown: a line each."""
    place = where(**settings)
    known, now_ms = read(place.kafka, Known(place.trusted)), wall_clock_ms()
    found = rows(known, now_ms, fleet or "")
    if as_json:
        for row in found:
            say_json(row)
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE_COLUMNS
    for line in lines(found, max(width, 80) - 1):
        say(line)
    for problem in problems(known, now_ms, fleet or ""):
        say(f"! {problem}")


def lines(found: list[Row], width: int) -> Iterator[str]:
    """The table, at most so many columns wide."""
    if not found:
        yield "nothing was halted, waits or is in doubt"
        return
    name = min(max(6, *(len(printable(row.key)) for row in found)), width - FIXED_COLUMNS)
    yield f"{'state':8} {'update':{name}} {'rings':9} {'hosts':>6} {'obeyed':7} {'spreads':>7}"
    for row in found:
        halt = row.halt
        rings = printable(",".join(halt.rings)) if halt is not None else "-"
        hosts = max((verdict.crashed_hosts for verdict in row.verdicts), default=0)
        if halt is not None and halt.evidence is not None:
            hosts = max(hosts, halt.evidence.crashed_hosts)
        obeyed = obeyed_count(row.obeyed) if halt is not None else "-"
        yield (
            f"{row.state.upper() if row.state in ('unknown', 'expired') else row.state:8} "
            f"{_cut(printable(row.key), name, keep_end=True):{name}} {_cut(rings, 9):9} {hosts:>6,} {obeyed:7} "
            f"{spread_word(row) if halt is not None and halt.action == 'halt' else '-':>7}"
        ).rstrip()


def _cut(text: str, columns: int, keep_end: bool = False) -> str:
    """The version, at the end of a key, is what tells one from another."""
    if len(text) <= columns:
        return text
    return "…" + text[1 - columns :] if keep_end else text[: columns - 1] + "…"


def problems(known: Known, now_ms: int, fleet: str = "") -> Iterator[str]:
    """What is unknown besides."""
    record = known.record
    for name in sorted(record.beats):
        if not record.is_heard(name, now_ms) and name == (fleet or name):
            yield f"{name}: its detector is silent; whether anything else should be halted is unknown"
    for key in record.refused:
        if key.count("/") == 2 and fleet_of(key.encode()) == (fleet or fleet_of(key.encode())):
            yield f"{fleet_of(key.encode())}: its newest heartbeat is not believed ({record.refused[key]})"
    if not record.beats or (fleet and fleet not in record.beats):
        yield "no heartbeat of a detector is to be believed: that nothing stands is unknown"
    yield from known.problems
