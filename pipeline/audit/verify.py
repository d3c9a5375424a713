"""`andon audit verify`: the whole chain of every fleet, from Kafka, and from ClickHouse where one is configured; it
says of both what it found, or why it did not look."""

from pathlib import Path
from typing import NamedTuple

import click

from consumers.clickhouse.connect import ClickHouseConfig, connect
from pipeline.audit.check import Checked, check, joined
from pipeline.audit.reading import from_clickhouse, from_kafka, known_heads
from pipeline.extras import require_module
from pipeline.halt.chain import AuditRecord
from pipeline.halt.trust import TrustConfig
from pipeline.halts.where import options, where
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.say import say, say_json
from pipeline.wire.words import counted

BROKEN = 3  # exit code
SHOWN = 20  # faults of a fleet


@click.command(
    "verify", epilog="Exit code 0: whole. 3: something is wrong, and is named. 1: one could not be read. 2: usage."
)
@options(("cluster",))
def command(
    as_json: bool, data_dir: Path, kafka: KafkaConfig, clickhouse: ClickHouseConfig, trust: TrustConfig
) -> None:
    """Prove that every command, answer and halt is there as it was signed, in its order, and none besides."""
    place = where(kafka, clickhouse, trust, data_dir)
    heads = known_heads(place.kafka, place.trusted)
    stored = _stored(place.clickhouse)
    # What came within the last moments may still be on its way to ClickHouse: only what Kafka has is held against it.
    copies = check("ClickHouse", stored.records, place.trusted, {})
    ends = {each.fleet: each.head for each in copies}
    found = [*check("Kafka", from_kafka(place.kafka), place.trusted, joined(heads, ends)), *copies]
    for each in found:
        say_json(each) if as_json else _say(each)
    if not found and not as_json:
        say("the audit is empty: nothing was ordered, and nothing halted")
    if not copies:
        say(f"ClickHouse: {stored.why_none}", err=as_json)
    raise click.exceptions.Exit(BROKEN if any(each.faults for each in found) else int(stored.failed))


class Stored(NamedTuple):
    """What the archive has stored. `failed`: it was to be looked at, and could not be."""

    records: list[AuditRecord]
    why_none: str
    failed: bool = False


def _stored(clickhouse: ClickHouseConfig | None) -> Stored:
    if clickhouse is None:
        return Stored([], "not looked at: none is configured; --clickhouse-url (clickhouse.url) names one")
    require_module("clickhouse_connect", "line", f"clickhouse.url = {clickhouse.url}")
    from clickhouse_connect.driver.exceptions import Error

    try:
        with connect(clickhouse, database=clickhouse.database) as client:
            return Stored(from_clickhouse(client), "looked at, and it holds no entry")
    except (Error, OSError) as error:
        why = (str(error).strip().splitlines() or [repr(error)])[0]
        return Stored([], f"not looked at: {clickhouse.url} cannot be read: {why}", failed=True)


def _say(each: Checked) -> None:
    state = "whole" if not each.faults else "NOT WHOLE"
    entries = counted(each.entries, "entry", "entries")
    say(f"{each.fleet}: {state} in {each.place}: {entries}, newest {each.head.digest[:16]}")
    for fault in each.faults[:SHOWN]:
        say(f"  entry {fault.seq}, {fault.where}: {fault.kind}: {fault.words}")
    if len(each.faults) > SHOWN:
        say(f"  and {len(each.faults) - SHOWN:,} more")
