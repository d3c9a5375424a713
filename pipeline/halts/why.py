"""`andon halts why`: one screen for whoever is on call."""

from typing import Any

import click

from consumers.rollout.params import Name
from pipeline.halts.answer import ask
from pipeline.halts.listing import problems
from pipeline.halts.named import HaltName, whose
from pipeline.halts.page import Seen, lines
from pipeline.halts.stored import UNUSED
from pipeline.halts.where import options, where
from pipeline.runtime.say import say, say_json
from pipeline.wire.record_keys import update_key

COLUMNS = 80


@click.command("why")
@click.argument("update", type=HaltName())
@click.option("--fleet", type=Name(), help="Whose fleet; not needed where there is one.")
@options(UNUSED)
def command(update: tuple[str, ...], fleet: str | None, as_json: bool, **settings: Any) -> None:
    """Why is it halted, or not; how sure is that, who obeys, does it spread, and what to do: one screen."""
    place = where(**settings)
    fleet, update = whose(place, fleet, update)
    found = ask(update_key(fleet, *update), place)
    history = found.known.history
    others = [
        verdict
        for verdict in found.known.record.verdicts.values()
        if verdict.fleet == fleet and (verdict.vendor, verdict.product, verdict.version) != update
    ]
    seen = Seen(
        found.row, history, others, found.stored, list(problems(found.known, found.now_ms, fleet)), found.read_until
    )
    if as_json:
        moments = [[verdict.at, verdict.ring, verdict.log10_evidence] for verdict in history]
        say_json({"row": seen.row, "history": moments, "stored": seen.stored, "problems": seen.problems})
        return
    for line in lines(seen, found.now_ms, COLUMNS):
        say(line)
