"""Families under seeds, run side by side, and what earlier runs have kept."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from pipeline.bakeoff import kept
from pipeline.bakeoff.contest.run import ALL, Score, run
from pipeline.bakeoff.spec import Family
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.say import say

BIG_HOSTS = 50_000  # such a fleet is run under one seed only


class Task(NamedTuple):
    """One family under one seed, and who runs."""

    family: Family
    seed: int
    names: tuple[str, ...] = ALL


class Kept:
    """Scores of earlier runs, in a file that grows with each run (None: nowhere). A family that has been changed since,
    and contenders that are to run `again`, count as not run; a contender that has been changed must be named so."""

    def __init__(self, path: Path | None, families: Iterable[Family], again: Sequence[str] = ()) -> None:
        """Raises ConfigError for a file that cannot be read, or is something else."""
        self._path = path
        self._digests = {family.name: kept.digest(family) for family in families}
        self.scores: dict[tuple[str, int, str], Score] = {}
        try:
            rows = kept.read(path) if path else []
            for row in rows:
                if self._digests.get(row["family"]) == row.pop("digest") and row["contender"] not in again:
                    score = Score(**row | {"clear_minutes": tuple(row["clear_minutes"])})
                    self.scores[score.family, score.seed, score.contender] = score
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"--scores {path}: not a file that this command has written: {error}") from None

    def missing(self, task: Task) -> Task:
        """What of a task has not been run."""
        found = tuple(name for name in task.names if (task.family.name, task.seed, name) not in self.scores)
        return task._replace(names=found)

    def add(self, scores: Sequence[Score]) -> None:
        """Keep them. Raises ConfigError when the file cannot be written."""
        self.scores |= {(score.family, score.seed, score.contender): score for score in scores}
        if self._path is None:
            return
        try:
            kept.add(self._path, [score._asdict() | {"digest": self._digests[score.family]} for score in scores])
        except OSError as error:
            raise ConfigError(f"--scores {self._path}: cannot be written: {error.strerror or error}") from None

    def of(self, task: Task) -> list[Score]:
        """The scores of a task, none unless all of them are there."""
        found = [self.scores.get((task.family.name, task.seed, name)) for name in task.names]
        return [] if None in found else [score for score in found if score is not None]


def tasks(families: Iterable[Family], seeds: int, first_seed: int, names: tuple[str, ...] = ALL) -> list[Task]:
    """Seed by seed, the smallest fleets first: a run that is cut off has most families."""
    found = [
        Task(family, first_seed + number, names)
        for family in families
        for number in range(1 if family.fleet.hosts >= BIG_HOSTS else seeds)
    ]
    return sorted(found, key=lambda task: (task.seed, _size(task.family)))


def _size(family: Family) -> float:
    return family.fleet.hosts * (family.warm_hours + family.hours)


def run_all(todo: Sequence[Task], keep: Kept, processes: int) -> None:
    """Run what has not been, side by side, with a word on standard error when people look."""
    missing = [task for task in map(keep.missing, todo) if task.names]
    for number, scores in enumerate(_scores_of(missing, processes), 1):
        keep.add(scores)
        if sys.stderr.isatty():
            say(f"\r{number}/{len(missing)} {scores[0].family:<40.40}", err=True, newline=False)


def _scores_of(todo: Sequence[Task], processes: int) -> Iterator[list[Score]]:
    if processes == 1:
        yield from map(_run, todo)
        return
    with ProcessPoolExecutor(processes) as pool:
        for done in as_completed([pool.submit(_run, task) for task in todo]):
            yield done.result()


def _run(task: Task) -> list[Score]:
    return run(*task)
