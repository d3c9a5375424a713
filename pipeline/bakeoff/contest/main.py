"""`andon bakeoff`: Andon beside the rules that ship and the textbook's, on rollouts whose truth is known."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import click

from pipeline.bakeoff.contest.figures import by_family, row
from pipeline.bakeoff.contest.page import write_page
from pipeline.bakeoff.contest.run import Score, run
from pipeline.bakeoff.contest.text import table_of
from pipeline.bakeoff.families import FAMILIES, QUICK
from pipeline.bakeoff.spec import Family
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.say import say, say_json
from pipeline.runtime.wrong import did_you_mean

PROCESSES = 2
BIG_HOSTS = 50_000  # such a fleet is run under one seed only


class Task(NamedTuple):
    """One family under one seed."""

    family: Family
    seed: int


def tasks(families: Iterable[Family], seeds: int, first_seed: int) -> list[Task]:
    """The largest fleets first, so that no process is left alone with one at the end."""
    found = [
        Task(family, first_seed + number)
        for family in families
        for number in range(1 if family.fleet.hosts >= BIG_HOSTS else seeds)
    ]
    return sorted(found, key=lambda task: -task.family.fleet.hosts * (task.family.warm_hours + task.family.hours))


def scores_of(todo: list[Task], processes: int = PROCESSES) -> Iterator[Score]:
    """Run them side by side; scores in any order of tasks, a task's together."""
    if processes == 1:
        for task in todo:
            yield from run(*task)
        return
    with ProcessPoolExecutor(processes) as pool:
        for scores in pool.map(_run, todo):
            yield from scores


def _run(task: Task) -> list[Score]:
    return run(*task)


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
    families = chosen(names, quick)
    if listing:
        for family in families:
            say(f"{family.name}\t{family.kind}\t{family.fleet.hosts} hosts")
        return
    began = time.monotonic()
    todo = tasks(families, seeds or (1 if quick else 3), first_seed)
    order = {family.name: place for place, family in enumerate(families)}
    scores = sorted(_followed(todo, processes), key=lambda score: (order[score.family], score.seed))
    summaries = by_family(scores)
    kinds = {family.name: family.kind for family in families}
    if as_json:
        for name, found in summaries.items():
            for summary in found:
                say_json(row(name, kinds.get(name, "*"), summary))
    else:
        for line in table_of(families, summaries, markdown):
            say(line)
    if html is not None:
        write_page(html, families, summaries)
    say(
        f"{len(todo)} runs in {time.monotonic() - began:.0f} s, {os.times().children_user:.0f} s of processors",
        err=True,
    )


def _followed(todo: list[Task], processes: int) -> Iterator[Score]:
    """The scores, with a word on standard error when people look."""
    seen = set()
    for score in scores_of(todo, processes):
        seen.add((score.family, score.seed))
        if sys.stderr.isatty():
            say(f"\r{len(seen)}/{len(todo)} {score.family:<40.40}", err=True, newline=False)
        yield score
