"""Fleets of nulls, run side by side; what was found is kept in a file, so that a run that is cut off goes on there."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.bakeoff import kept
from pipeline.bench.nulls.bound import Deep, Tops, deep, tops
from pipeline.bench.nulls.kinds import null_family
from pipeline.bench.nulls.ordinary import Outcome, run_fleet
from pipeline.runtime.errors import ConfigError

ORDINARY = "ordinary"


class Job(NamedTuple):
    """One fleet: of a kind and cut, at its own risk or (`is_deep`) drawn at a higher one; or an ordinary one."""

    kind: str
    cut_seconds: int
    seed: int
    is_deep: bool = False


class Found(NamedTuple):
    """What jobs have found."""

    tops: list[Tops]
    deep: list[Deep]
    ordinary: list[Outcome]
    events: int  # of the ordinary fleets


def run(jobs: Iterable[Job], path: Path | None, workers: int, is_to_run: bool = True) -> Found:
    """Run what has not been, in the order of the jobs; all that is there of them, in that order too.

    Raises:
        ConfigError: for a file that cannot be used.
    """
    order = list(dict.fromkeys(jobs))
    done = _kept(path, set(order))
    if is_to_run:
        for job, found in _results([job for job in order if job not in done], workers):
            done[job] = found
            if path is not None:
                _keep(path, job, found)
    return _sorted_out([(job, done[job]) for job in order if job in done])


def _results(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    if workers == 1:
        yield from ((job, _run(job)) for job in jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        asked = {pool.submit(_run, job): job for job in jobs}
        for future in as_completed(asked):
            yield asked[future], future.result()


def _run(job: Job) -> dict[str, Any]:
    if job.kind == ORDINARY:
        outcomes, events = run_fleet(job.seed)
        return {"outcomes": [list(outcome) for outcome in outcomes], "events": events}
    if job.is_deep:
        found = deep(job.kind, job.cut_seconds, job.seed)
        return {"tilt": found.tilt, "weights": found.weights}
    return {"highest": tops(job.kind, job.cut_seconds, job.seed).highest}


def _digest(job: Job) -> str:
    return "" if job.kind == ORDINARY else kept.digest(null_family(job.kind, job.seed))


def _kept(path: Path | None, jobs: set[Job]) -> dict[Job, dict[str, Any]]:
    try:
        done = {}
        for row in kept.read(path) if path else []:
            job = Job(*(row.pop(field) for field in Job._fields))
            if job in jobs and row.pop("digest") == _digest(job):
                done[job] = row
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"--runs {path}: not a file that this command has written: {error}") from None
    return done


def _keep(path: Path, job: Job, found: dict[str, Any]) -> None:
    try:
        kept.add(path, [job._asdict() | {"digest": _digest(job)} | found])
    except OSError as error:
        raise ConfigError(f"--runs {path}: cannot be written: {error.strerror or error}") from None


def _sorted_out(done: Sequence[tuple[Job, dict[str, Any]]]) -> Found:
    found = Found([], [], [], sum(row.get("events", 0) for _, row in done))
    for job, row in done:
        if job.kind == ORDINARY:
            found.ordinary.extend(Outcome(*outcome) for outcome in row["outcomes"])
        elif job.is_deep:
            found.deep.append(Deep(job.kind, job.seed, row["tilt"], tuple(row["weights"])))
        else:
            found.tops.append(Tops(job.kind, job.cut_seconds, job.seed, tuple(row["highest"])))
    return found
