"""Families under seeds, run side by side."""

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from pipeline.bakeoff.contest.run import Score, run
from pipeline.bakeoff.spec import Family
from pipeline.runtime.say import say

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


def scores_of(todo: list[Task], processes: int) -> Iterator[Score]:
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


def followed(todo: list[Task], processes: int) -> Iterator[Score]:
    """The scores, with a word on standard error when people look."""
    seen = set()
    for score in scores_of(todo, processes):
        seen.add((score.family, score.seed))
        if sys.stderr.isatty():
            say(f"\r{len(seen)}/{len(todo)} {score.family:<40.40}", err=True, newline=False)
        yield score
