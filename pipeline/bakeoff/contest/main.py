"""`andon bakeoff`: Andon beside the rules that ship and the textbook's, on rollouts whose truth is known."""

import os
import time
from pathlib import Path

import click

from pipeline.bakeoff.families import FAMILIES, QUICK
from pipeline.bakeoff.spec import Family
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.say import say, say_json
from pipeline.runtime.wrong import did_you_mean

PROCESSES = 2


def chosen(names: tuple[str, ...], quick: bool) -> list[Family]:
    """The families asked for.

    Raises:
        ConfigError: naming one that is not there.
    """
    known = {family.name: family for family in FAMILIES}
    for name in names:
        if name not in known:
            raise ConfigError(f"--family {name!r}: no such family{did_you_mean(name, known)}; `--list` names all")
    if names:
        return [known[name] for name in dict.fromkeys(names)]
    return [known[name] for name in QUICK] if quick else list(FAMILIES)


@click.command("bakeoff")
@click.option("--quick", is_flag=True, help="A family of every kind that is small, one seed: two minutes.")
@click.option("--family", "names", multiple=True, help="Only this one; may be repeated.")
@click.option("--seeds", type=click.IntRange(1, 1000), help="Runs of each family.  [default: 3; quick: 1]")
@click.option("--seed", "first_seed", default=1, show_default=True, help="The first seed.")
@click.option("--processes", default=PROCESSES, show_default=True, type=click.IntRange(1, 64), help="Side by side.")
@click.option("--list", "listing", is_flag=True, help="Name the families with their kinds, and run none.")
@click.option("--json", "as_json", is_flag=True, help="One row for each family and contender, and for all (`*`).")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with a picture a family.")
@click.option("--markdown", is_flag=True, help="The tables of docs/bakeoff.md.")
def command(
    quick: bool, names: tuple[str, ...], seeds: int | None, first_seed: int, processes: int, listing: bool,
    as_json: bool, html: Path | None, markdown: bool,
) -> None:  # fmt: skip
    """Run every contender on the same seeded event streams, and judge each by the truth."""
    from pipeline.bakeoff.contest import figures, page, running, text  # with numpy, which help does without

    families = chosen(names, quick)
    if listing:
        for family in families:
            say(f"{family.name}\t{family.kind}\t{family.fleet.hosts} hosts")
        return
    began = time.monotonic()
    todo = running.tasks(families, seeds or (1 if quick else 3), first_seed)
    order = {family.name: place for place, family in enumerate(families)}
    scores = sorted(running.followed(todo, processes), key=lambda score: (order[score.family], score.seed))
    summaries = figures.by_family(scores)
    kinds = {family.name: family.kind for family in families}
    if as_json:
        for name, found in summaries.items():
            for summary in found:
                say_json(figures.row(name, kinds.get(name, "*"), summary))
    else:
        for line in text.table_of(families, summaries, markdown):
            say(line)
    if html is not None:
        page.write_page(html, families, summaries)
    say(
        f"{len(todo)} runs in {time.monotonic() - began:.0f} s, {os.times().children_user:.0f} s of processors",
        err=True,
    )
