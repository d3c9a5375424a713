"""What a rule is to this bake-off: it is given the past, then one partial after the other, and says what it would do.

Every rule gets the same stream, decoded once: `Step`. Arrays over updates (U,) are by the numbers of `Past.updates`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.wire.events import Signature
from pipeline.wire.partials import Partial, UpdateId

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

PAST_DAYS = 15
PAST_WEEKS = 26


class Past(NamedTuple):
    """What a rule may know beforehand: the fleet as it was, at its true baseline, and how far each update is to go."""

    updates: tuple[UpdateId, ...]
    rings: tuple[str, ...]
    hosts: int
    targets: Ints  # (U, R) hosts that each update is meant for, by ring
    daily: Ints  # (PAST_DAYS,) crashes of the fleet, that is of the versions before
    hourly: Ints  # (PAST_DAYS * 24,) the same by hour
    weekly: Ints  # (PAST_WEEKS, 2) trials and crashes
    crashes_a_trial: float  # the true baseline
    signatures: frozenset[Signature]  # that were seen then


class Crashed(NamedTuple):
    """A crash as it was reported; `is_first`: of this host within 24 hours. `signature` None: a boot told of it."""

    at_ms: int
    host: str
    ring: int
    stratum: tuple[str, ...]
    signature: Signature | None
    exposed: tuple[int, ...]
    is_first: bool


class Totals(NamedTuple):
    """Counts since the stream began, (U,). `since`: since the update's first exposure, all of the fleet's, with the
    update or without."""

    trials: Ints
    trials_since: Ints
    crashed: Ints
    crashed_since: Ints

    def control(self) -> tuple[Ints, Ints]:
        """Trials and crashed hosts without the update, since it came."""
        return self.trials_since - self.trials, self.crashed_since - self.crashed


class Step(NamedTuple):
    """One partial. `trials` (R,) and `exposed` (R, U) are its clean trials by ring; `first_ms` (U,) when each update
    was first exposed, 0 before; `totals` with this partial in it."""

    now_ms: int
    partial: Partial
    trials: Ints
    exposed: Ints
    crashes: tuple[Crashed, ...]
    first_ms: Ints
    totals: Totals


class Call(NamedTuple):
    """What a rule says of an update; `together`: it, or what travels with it."""

    update: int
    kind: Literal["halt", "clear"] = "halt"
    together: bool = False


class Contender(Protocol):
    """A rule. What it has said once it need not repeat; nothing that is halted is taken back."""

    def see(self, step: Step) -> Sequence[Call]:
        """Take in a partial, and decide."""


class Halting(NamedTuple):
    """How a contender is made, and by which name it is known."""

    name: str
    title: str
    make: Callable[[Past], Contender]


def halts(which: npt.NDArray[np.bool_]) -> Iterator[Call]:
    """A halt of each update that is marked, (U,)."""
    return (Call(int(update)) for update in np.flatnonzero(which))
