"""A plan: every fault with every canary rehearsed, and what that says."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import msgspec

from pipeline.canary.advice import Advice, advice
from pipeline.canary.asked import CANARY, Asked, Harm, Layout
from pipeline.canary.cells import Cell, Kind, Wish, cells_of
from pipeline.canary.rehearsal import Outcome, Task, rehearse
from pipeline.decide.policy import Policy, PolicySet

Told = Callable[[Iterable[Outcome]], Iterable[Outcome]]  # hands outcomes on, and may say how many there were


class Question(NamedTuple):
    """What is to be rehearsed: all of these with each other; `hours` in order."""

    asked: Asked
    harms: tuple[Harm, ...]
    layouts: tuple[Layout, ...]
    canaries: tuple[int, ...]
    hours: tuple[float, ...]
    seeds: range
    policy: Policy

    def kinds(self) -> list[Kind]:
        """What differs but for the seed, fault by fault."""
        return [Kind(harm, layout, size) for harm in self.harms for layout in self.layouts for size in self.canaries]

    def tasks(self) -> list[Task]:
        """All rollouts, kind by kind."""
        return [
            Task(self.asked, *kind, self.hours[-1], seed, self.policy) for kind in self.kinds() for seed in self.seeds
        ]


class Plan(NamedTuple):
    """The answer."""

    cells: tuple[Cell, ...]
    advice: tuple[Advice, ...]

    def row(self, question: Question, wish: Wish) -> dict[str, object]:
        """For JSON."""
        seeds = {"seeds": len(question.seeds), "seed": question.seeds.start, "policy": question.policy.digest}
        return {
            "asked": {**question.asked._asdict(), **wish._asdict(), **seeds},
            "cells": [cell.row() for cell in self.cells],
            "advice": [each.row() for each in self.advice],
        }


def answer(question: Question, wish: Wish, told: Told, processes: int) -> Plan:
    """Rehearse it all, side by side. The same seeds give the same answer, however many processes there are."""
    outcomes = list(told(_outcomes(question.tasks(), processes)))
    runs = len(question.seeds)
    parts = [outcomes[first : first + runs] for first in range(0, len(outcomes), runs)]
    cells = [
        cell
        for kind, mine in zip(question.kinds(), parts, strict=True)
        for cell in cells_of(kind, question.hours, mine, wish)
    ]
    least = question.policy.minimum_crashed_hosts
    of_harm = ([cell for cell in cells if cell.kind.harm == harm] for harm in question.harms)
    return Plan(tuple(cells), tuple(advice(mine, wish, least) for mine in of_harm))


def _outcomes(tasks: Sequence[Task], processes: int) -> Iterator[Outcome]:
    """In the order of the tasks."""
    if processes == 1:
        yield from map(rehearse, tasks)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(rehearse, tasks)


def policy_for(policies: PolicySet, ring: str) -> Policy:
    """The default policy, as it holds in a canary of that name."""
    default = policies.default
    return msgspec.structs.replace(default, clear_risk_by_ring={CANARY: default.clear_risk_in(ring)})
