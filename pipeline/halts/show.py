"""`andon halts show`: one halt whole."""

from collections.abc import Iterator
from pathlib import Path
from shlex import quote

import click

from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.halt.trust import TrustConfig
from pipeline.halts.facts import Row, row_of
from pipeline.halts.listing import problems
from pipeline.halts.named import check
from pipeline.halts.reading import Known, read
from pipeline.halts.stored import Asking, complete
from pipeline.halts.where import options, where
from pipeline.halts.words import evidence_words, item, spread_words, who
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.say import say, say_json
from pipeline.status.layout import moment, span
from pipeline.status.updates import explain
from pipeline.wire.record_keys import fleet_of, parse_key, update_key

COLUMNS = 80


@click.command("show")
@click.argument("key", metavar="FLEET/VENDOR/PRODUCT/VERSION")
@options
def command(
    key: str, as_json: bool, data_dir: Path, kafka: KafkaConfig, clickhouse: ClickHouseConfig, trust: TrustConfig
) -> None:
    """One halt whole: its record, the evidence, who obeyed and how fast, whether it spreads."""
    parts = parse_key(key)
    if len(parts) != 4 or not all(parts):
        raise click.UsageError(f"{key!r} should be FLEET/VENDOR/PRODUCT/VERSION, as `andon halts list` prints it")
    key = update_key(*parts)
    place = where(kafka, clickhouse, trust, data_dir)
    asking = Asking(place.clickhouse, key).start()
    known = read(place.kafka, Known(place.trusted, key))
    check(known, key)
    now_ms = wall_clock_ms()
    row = complete(row_of(known, key, now_ms), asking.wait())
    if as_json:
        say_json(row)
        return
    for line in lines(row, now_ms, COLUMNS):
        say(line)
    for problem in problems(known, now_ms, fleet_of(key.encode())):
        for line in item("!", problem, COLUMNS):
            say(line)


def lines(row: Row, now_ms: int, width: int) -> Iterator[str]:
    """The page."""
    yield from item(row.state.upper(), row.key, width)
    yield from item("why", row.why, width)
    halt = row.halt
    if halt is not None:
        ends = (halt.expires_at - now_ms) / 1000
        until = f"for {span(ends)} more, then renewed" if ends > 0 else f"ended {span(-ends)} ago"
        rings = "every ring" if "*" in halt.rings else ", ".join(halt.rings)
        yield from item("record", f"{halt.action} of epoch {halt.epoch} in {rings}, by {halt.decided_by}", width)
        yield from item(
            "", f"signed {moment(halt.issued_at)} with key {halt.kid}; {until}; policy {halt.policy}", width
        )
        if halt.evidence is not None:
            yield from item("decided", f"by a crash at {moment(halt.evidence.stream_time)}", width)
    yield from item("evidence", evidence_words(row), width)
    if halt is not None and halt.evidence is not None:
        found, (low, high) = halt.evidence, halt.evidence.relative_risk
        words = f"{found.observed:,} crashed hosts, {found.expected:.3g} expected; relative risk {low:,g} to {high:,g}"
        yield from item("", words, width)
        yield from item("", explain(found.explanation), width)
    for verdict in row.verdicts:
        words = f"{verdict.ring}: {verdict.state}, {verdict.crashed_hosts:,} crashed hosts"
        yield from item("ring", f"{words}, {verdict.exposed_trials:,} exposed trials", width)
    if halt is not None:
        for obeyed in row.obeyed:
            yield from item("obeyed", who(obeyed), width)
        if not row.obeyed:
            yield from item("obeyed", "nobody has acknowledged it, and no subscriber's key is known here", width)
    yield from item("spreading", spread_words(row), width)
    fleet, _, update = row.key.partition("/")
    yield from item("next", f"andon halts why {quote(update)} --fleet {quote(parse_key(fleet)[0])}", width)
