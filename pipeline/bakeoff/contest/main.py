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


def chosen(names: tuple[str, ...], quick: bool = False, drawn: int = 0, seed: int = 1) -> list[Family]:
    """The families asked for: by name, which may be that of a drawn fleet; else so many drawn under a seed; else all.

    Raises:
        ConfigError: naming one that is not there.
    """
    from pipeline.bakeoff.drawn import draw  # with numpy, which help does without

    known = {family.name: family for family in FAMILIES}
    known |= {family.name: family for name in names if (family := draw.named(name))}
    for name in names:
        if name not in known:
            raise ConfigError(f"--family {name!r}: no such family{did_you_mean(name, known)}; `--list` names all")
    if names:
        return [known[name] for name in dict.fromkeys(names)]
    if drawn:
        return [draw.draw(seed, number) for number in range(1, drawn + 1)]
    return [known[name] for name in QUICK] if quick else list(FAMILIES)


def contenders(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those asked for and the oracle; without names, all.

    Raises:
        ConfigError: naming one that is not there.
    """
    from pipeline.bakeoff.contest.run import ALL, ORACLE

    for name in names:
        if name not in ALL:
            raise ConfigError(f"contender {name!r}: no such one{did_you_mean(name, ALL)}; there are {', '.join(ALL)}")
    return tuple(name for name in ALL if not names or name in names or name == ORACLE)


@click.command("bakeoff")
@click.option("--quick", is_flag=True, help="A family of every kind that is small, one seed: two minutes.")
@click.option("--family", "wanted", multiple=True, help="Only this one; may be repeated.")
@click.option("--drawn", type=click.IntRange(1, 999_999), help="So many fleets drawn at random under --seed instead.")
@click.option("--hosts", "largest", type=click.IntRange(1), help="Only fleets of at most so many hosts.")
@click.option("--seeds", type=click.IntRange(1, 1000), help="Runs of each family.  [default: 3; quick, drawn: 1]")
@click.option("--seed", "first_seed", default=1, show_default=True, help="The first seed.")
@click.option("--processes", default=PROCESSES, show_default=True, type=click.IntRange(1, 64), help="Side by side.")
@click.option("--contender", "names", multiple=True, help="Only this one and the oracle; may be repeated.")
@click.option("--scores", type=click.Path(dir_okay=False, path_type=Path), help="Keep each run here; run what is not.")
@click.option("--again", multiple=True, help="This contender has been changed: run it anew.")
@click.option("--no-run", is_flag=True, help="Report on what --scores holds.")
@click.option("--list", "listing", is_flag=True, help="Name the families with their kinds, and run none.")
@click.option("--limit", is_flag=True, help="How far a comparison could get at best, fault by fault; run no rule.")
@click.option("--json", "as_json", is_flag=True, help="One row for each family and contender, and for all (`*`).")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with a picture a family.")
@click.option("--markdown", is_flag=True, help="The tables of docs/bakeoff.md.")
def command(
    quick: bool, wanted: tuple[str, ...], drawn: int | None, largest: int | None, seeds: int | None, first_seed: int,
    processes: int, names: tuple[str, ...], scores: Path | None, again: tuple[str, ...], no_run: bool, listing: bool,
    limit: bool, as_json: bool, html: Path | None, markdown: bool,
) -> None:  # fmt: skip
    """Run every contender on the same seeded event streams, and judge each by the truth."""
    from pipeline.bakeoff.contest import figures, page, running, text  # with numpy, which help does without

    families = chosen(wanted, quick, drawn or 0, first_seed)
    families = [family for family in families if largest is None or family.fleet.hosts <= largest]
    if listing:
        for family in families:
            say(f"{family.name}\t{family.kind}\t{family.fleet.hosts} hosts")
        return
    if limit:
        _tell_limits(families, first_seed, as_json)
        return
    began = time.monotonic()
    contenders(again)
    todo = running.tasks(families, seeds or (1 if quick or drawn else 3), first_seed, contenders(names))
    keep = running.Kept(scores, families, again)
    if not no_run:
        running.run_all(todo, keep, processes)
    order = {family.name: place for place, family in enumerate(families)}
    done = sorted((task for task in todo if keep.of(task)), key=lambda task: (order[task.family.name], task.seed))
    if not done:
        raise ConfigError(f"--no-run: {scores or 'no --scores, which'} holds no run of these families and contenders")
    ran = {task.family.name for task in done}
    families = [family for family in families if family.name in ran]
    found = [score for task in done for score in keep.of(task)]
    summaries = figures.by_family(found)
    strata = figures.by_stratum(found, families) if drawn else {}
    kinds = {family.name: family.kind for family in families}
    if as_json:
        for name, kind, of in [(name, kinds.get(name, "*"), of) for name, of in summaries.items()] + [
            ("", stratum, of) for stratum, of in strata.items()
        ]:
            for summary in of:
                say_json(figures.row(name, kind, summary))
    else:
        for line in text.table_of(families, summaries, markdown, strata):
            say(line)
    if html is not None:
        page.write_page(html, families, summaries)
    spent = sum(os.times()[:4])
    say(f"{len(done)} of {len(todo)} runs, {time.monotonic() - began:.0f} s, {spent:.0f} s of processors", err=True)


def _tell_limits(families: list[Family], seed: int, as_json: bool) -> None:
    from pipeline.bakeoff.contest.limit import limits

    for found in limits(families, seed):
        if as_json:
            say_json(found._asdict())
        else:
            reached = "" if found.found else f"\tnot found, 10^{found.highest:.1f} at most"
            say(f"{found.family}\t{found.push}\t{found.hosts} hosts\t{found.crashed} crashed{reached}")
