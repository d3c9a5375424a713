"""`andon audit verify`: the whole chain of every fleet, from Kafka, and from ClickHouse where one is configured."""

from pathlib import Path

import click

from consumers.clickhouse.connect import ClickHouseConfig, connect
from pipeline.audit.check import Checked, check, joined
from pipeline.audit.reading import from_clickhouse, from_kafka, known_heads
from pipeline.extras import require_module
from pipeline.halt.trust import TrustConfig
from pipeline.halts.where import options, where
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.say import say, say_json

BROKEN = 3  # exit code
SHOWN = 20  # faults of a fleet


@click.command(
    "verify", epilog="Exit code 0: whole. 3: something is wrong, and is named. 1: it could not be read. 2: usage."
)
@options(("cluster",))
def command(
    as_json: bool, data_dir: Path, kafka: KafkaConfig, clickhouse: ClickHouseConfig, trust: TrustConfig
) -> None:
    """Prove that every command, answer and halt is there as it was signed, in its order, and none besides."""
    place = where(kafka, clickhouse, trust, data_dir)
    heads = known_heads(place.kafka, place.trusted)
    if place.clickhouse is not None:
        require_module("clickhouse_connect", "line", f"clickhouse.url = {place.clickhouse.url}")
    found = check("Kafka", from_kafka(place.kafka), place.trusted, heads)
    if place.clickhouse is not None:
        with connect(place.clickhouse, database=place.clickhouse.database) as client:
            stored = from_clickhouse(client)
        # What came within the last moments may still be on its way: only what Kafka has is held against it.
        found += check("ClickHouse", stored, place.trusted, {})
        ends = {each.fleet: each.head for each in found if each.place == "ClickHouse"}
        found = [*check("Kafka", from_kafka(place.kafka), place.trusted, joined(heads, ends)), *_of(found)]
    for each in found:
        say_json(each) if as_json else _say(each)
    if not found and not as_json:
        say("the audit is empty: nothing was ordered, and nothing halted")
    raise click.exceptions.Exit(BROKEN if any(each.faults for each in found) else 0)


def _of(found: list[Checked]) -> list[Checked]:
    return [each for each in found if each.place == "ClickHouse"]


def _say(each: Checked) -> None:
    state = "whole" if not each.faults else "NOT WHOLE"
    say(f"{each.fleet}: {state} in {each.place}: {each.entries:,} entries, newest {each.head.digest[:16]}")
    for fault in each.faults[:SHOWN]:
        say(f"  entry {fault.seq}, {fault.where}: {fault.kind}: {fault.words}")
    if len(each.faults) > SHOWN:
        say(f"  and {len(each.faults) - SHOWN:,} more")
