"""`andon bench calibrate`: how often does evidence against a harmless rollout EVER reach 10, 100, 1000?

Null rollouts go through the real fold, sampling, dedup and detector: ordinary ones, and those of each kind that hurts
(`nulls`), the stream cut in three ways; by importance sampling, also as rarely as one in a million. Fails (exit 1) when
the one-sided 99 % lower limit of a crossing rate exceeds its error bound, for any kind and cut.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from pipeline.bench.brokers import python
from pipeline.bench.nulls.bound import CUTS_SECONDS, NOT_TILTED, deep_row, row
from pipeline.bench.nulls.kinds import KINDS, null_family
from pipeline.bench.nulls.ordinary import lower_limit, report
from pipeline.bench.nulls.power import power
from pipeline.bench.nulls.runs import ORDINARY, Found, Job, run
from pipeline.runtime.errors import ConfigError
from pipeline.simulate.nulls import ROLLOUTS

POWER_LEVELS = (10.0, 100.0)


class Asked(NamedTuple):
    """How much is to be run."""

    kinds: tuple[str, ...]
    rollouts: int
    deep_fleets: int
    seed: int

    @property
    def hard(self) -> list[str]:
        """The kinds that hurt."""
        return [kind for kind in self.kinds or KINDS if kind != ORDINARY]

    def jobs(self) -> list[Job]:
        """All fleets, those of all kinds and cuts in turn, so that a run that is cut off has some of each."""
        ordinary = 0
        if not self.kinds or ORDINARY in self.kinds:
            ordinary = -(-self.rollouts // (5 if self.hard else 1) // ROLLOUTS)
        found = [(number / ordinary, Job(ORDINARY, 0, self.seed + number)) for number in range(ordinary)]
        cell = max(self.rollouts - ordinary * ROLLOUTS, 0) // (len(self.hard) * len(CUTS_SECONDS) or 1)
        for kind in self.hard:
            fleets = max(2, -(-cell // len(null_family(kind, self.seed).pushes)))
            every = [(number, cut) for number in range(fleets) for cut in CUTS_SECONDS]
            found += [(number / fleets, Job(kind, cut, self.seed + number)) for number, cut in every]
            deep = 0 if kind in NOT_TILTED else self.deep_fleets
            found += [(n / deep, Job(kind, CUTS_SECONDS[1], self.seed + n, is_deep=True)) for n in range(deep)]
        return [job for _, job in sorted(found, key=lambda pair: pair[0])]


def rows(asked: Asked, found: Found) -> dict[str, Any]:
    """Everything that is reported."""
    result: dict[str, Any] = report(found.ordinary, found.events) if found.ordinary else {}
    cells = [[one for one in found.tops if (one.kind, one.cut_seconds) == (kind, cut)]
             for kind in asked.hard for cut in CUTS_SECONDS]  # fmt: skip
    deep = [[one for one in found.deep if one.kind == kind] for kind in asked.hard]
    if asked.hard:
        result["by_kind"] = [row(cell) for cell in cells if cell]
        result["deep"] = [deep_row(cell) for cell in deep if len(cell) > 1]
    every = [result, *result.get("by_kind", ()), *result.get("deep", ())]
    result["broken"] = [
        f"{cell.get('kind', ORDINARY)} at {level}"
        + (f", cut every {cell['cut_seconds']} s" if "cut_seconds" in cell else "")
        for cell in every
        for level, at in cell.get("levels", {}).items()
        if at["holds"] is False
    ]
    return result


@click.command("calibrate")
@click.option("--rollouts", default=20_000, show_default=True, help="Harmless rollouts to simulate, a fifth ordinary.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice([ORDINARY, *KINDS]), help="Only these.")
@click.option("--deep", "deep_fleets", default=100, show_default=True, help="Fleets a kind for importance sampling.")
@click.option("--seed", default=1, show_default=True, help="First seed; every fleet takes the next.")
@click.option("--workers", default=os.cpu_count() or 1, show_default=True, help="Processes.")
@click.option("--runs", type=click.Path(dir_okay=False, path_type=Path), help="Keep each fleet here; run what is not.")
@click.option("--no-run", is_flag=True, help="Report on what --runs holds.")
@click.option("--power", "is_power", is_flag=True, help="How often the tests' short form catches a broken bound.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--markdown", is_flag=True, help="The tables of docs/bakeoff.md.")
def command(
    rollouts: int, kinds: tuple[str, ...], deep_fleets: int, seed: int, workers: int, runs: Path | None, no_run: bool,
    is_power: bool, as_json: bool, markdown: bool,
) -> None:  # fmt: skip
    """Crossing rates of evidence over simulated null rollouts, kind by kind, against their bounds."""
    lower_limit(0, 1)  # says so now if it cannot
    asked, began = Asked(kinds, rollouts, deep_fleets, seed), time.monotonic()
    found = run(asked.jobs(), runs, workers, not no_run)
    if not (found.tops or found.deep or found.ordinary):
        raise ConfigError(f"--no-run: {runs or 'no --runs, which'} holds no fleet of these kinds")
    result = rows(asked, found)
    if is_power:
        result["power"] = list(_power(asked, found))
    seconds, cpus = round(time.monotonic() - began, 1), os.cpu_count()
    result |= {"seconds": seconds, "on": {**python(), "numpy": np.__version__, "cpus": cpus, "seed": seed}}
    if as_json:
        click.echo(json.dumps(result))
    else:
        for line in tables(result) if markdown else lines(result):
            click.echo(line)
    if result["broken"]:
        sys.exit(1)


def _power(asked: Asked, found: Found) -> Iterator[dict[str, Any]]:
    """At the cut of the short form."""
    for kind in asked.hard:
        fleets = [one for one in found.tops if (one.kind, one.cut_seconds) == (kind, CUTS_SECONDS[-1])]
        if len(fleets) > 1:
            yield from (power(fleets, level) for level in POWER_LEVELS)


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    if "rollouts" in result:
        yield f"ordinary: {result['rollouts']} harmless rollouts, {result['at_tolerated_risk']} at the tolerated risk"
        yield from _levels(result["levels"])
    for cell in result.get("by_kind", ()):
        of = f"{cell['rollouts']} rollouts in {cell['fleets']} fleets, highest 10^{cell['highest']:.1f}"
        yield f"{cell['kind']}, cut every {cell['cut_seconds']} s: {of}"
        yield from _levels(cell["levels"])
    for cell in result.get("deep", ()):
        yield f"{cell['kind']}, by importance sampling from {cell['fleets']} fleets at {cell['tilt']:g} times the risk"
        yield from _levels(cell["levels"])
    for one in result.get("power", ()):
        yield (
            f"short form, {one['kind']}, broken threefold at {one['level']:g}: caught {one['multiplied']:.1%} when all "
            f"evidence is {one['factor']:g} times too large, {one['planted']:.1%} when only so many more reach it; "
            f"cries out for nothing {one['intact']:.1%}"
        )
    yield f"BROKEN: {'; '.join(result['broken'])}" if result["broken"] else "no bound is broken"


def tables(result: dict[str, Any]) -> Iterator[str]:
    """The same for a page of documents; `!`: broken, `?`: unknown."""
    cells = list(result.get("by_kind", ()))
    if "rollouts" in result:
        highest = result["highest"][0]["highest"]
        cells.insert(0, result | {"kind": ORDINARY, "cut_seconds": 120, "fleets": "", "highest": highest})
    yield "| kind | cut, s | rollouts | fleets | ever ≥ 10 | ≥ 100 | ≥ 1000 | highest |\n" + "|---" * 8 + "|"
    for cell in cells:
        found = " | ".join(_cell(at) for at in cell["levels"].values())
        of = f"{cell['kind']} | {cell['cut_seconds']} | {cell['rollouts']:,} | {cell['fleets']}"
        yield f"| {of} | {found} | 10^{cell['highest']:.1f} |"
    if deep := result.get("deep"):
        heads = " | ".join(f"≥ 10^{len(at) - 1}" for at in deep[0]["levels"])
        yield f"\n| kind | fleets | {heads} |\n" + "|---" * 8 + "|"
        for cell in deep:
            yield f"| {cell['kind']} | {cell['fleets']} | " + " | ".join(map(_rare, cell["levels"].values())) + " |"
    if power := result.get("power"):
        yield "\n| kind | broken at | fleets drawn from | evidence times | caught | planted: caught | intact |"
        yield "|---" * 7 + "|"
        for one in power:
            of = f"{one['kind']} | {one['level']:g} | {one['fleets']} | {one['factor']:g}"
            yield f"| {of} | {one['multiplied']:.0%} | {one['planted']:.0%} | {one['intact']:.0%} |"


def _cell(at: dict[str, Any]) -> str:
    high = f" to {100 * at['upper_limit_99']:.2g}" if "upper_limit_99" in at else ""
    return f"{at['rate']:.1%} ({100 * at['lower_limit_99']:.2g}{high})" + ("" if at["holds"] else " !")


def _rare(at: dict[str, Any]) -> str:
    word = {True: "", False: " !", None: " ?"}[at["holds"]]
    return f"{at['rate']:.1e} (to {at['upper_limit_99']:.1e}){word}"


def _levels(levels: dict[str, Any]) -> Iterator[str]:
    for level, found in levels.items():
        hits = found.get("crossed", found.get("reached"))
        at_least = f"at least {found['lower_limit_99']:.2g}"
        word = {True: "", False: "  BROKEN", None: "  unknown: too few got there"}[found["holds"]]
        yield f"  ever {level:>7}: {hits:>5} = {found['rate']:.2g} ({at_least}), bound {found['bound']:g}{word}"
