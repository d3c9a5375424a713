"""`andon halts why`: one screen for whoever is on call."""

from pathlib import Path

import click

from consumers.clickhouse.connect import ClickHouseConfig
from consumers.rollout.main import Name, UpdateName
from pipeline.halt.trust import TrustConfig
from pipeline.halts.facts import row_of
from pipeline.halts.listing import problems
from pipeline.halts.named import check
from pipeline.halts.page import Seen, lines
from pipeline.halts.reading import Known, read
from pipeline.halts.stored import Asking, complete
from pipeline.halts.where import options, where
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.say import say, say_json
from pipeline.wire.record_keys import update_key

COLUMNS = 80


@click.command("why")
@click.argument("update", type=UpdateName())
@click.option("--fleet", required=True, type=Name(), help="Whose fleet.")
@options
def command(
    update: tuple[str, str, str],
    fleet: str,
    as_json: bool,
    data_dir: Path,
    kafka: KafkaConfig,
    clickhouse: ClickHouseConfig,
    trust: TrustConfig,
) -> None:
    """Why is it halted, or not; how sure is that, who obeys, does it spread, and what to do: one screen."""
    key = update_key(fleet, *update)
    place = where(kafka, clickhouse, trust, data_dir)
    asking = Asking(place.clickhouse, key).start()
    known = read(place.kafka, Known(place.trusted, key))
    check(known, key)
    now_ms, stored = wall_clock_ms(), asking.wait()
    row = complete(row_of(known, key, now_ms), stored)
    verdicts = known.record.verdicts.values()
    others = [v for v in verdicts if v.fleet == fleet and (v.vendor, v.product, v.version) != update]
    seen = Seen(row, known.history, others, stored, list(problems(known, now_ms, fleet)))
    if as_json:
        history = [[verdict.at, verdict.ring, verdict.log10_evidence] for verdict in seen.history]
        say_json({"row": row, "history": history, "stored": stored, "problems": seen.problems})
        return
    for line in lines(seen, now_ms, COLUMNS):
        say(line)
