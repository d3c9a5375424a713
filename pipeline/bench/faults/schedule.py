"""When to kill what: a pure function of the seed, so that a run can be repeated. Pure."""

import random
from typing import Literal, NamedTuple

Aim = Literal["any", "inside"]

LIFE_SECONDS = (0.3, 2.0)  # from a stage being ready to its end
LOOK_SECONDS = (0.001, 0.02)  # between two looks for the moment that is aimed at


class Kill(NamedTuple):
    """One kill -9. "inside" waits, from `after_seconds` on, for the moment that hurts most: in a transaction, say."""

    after_seconds: float
    aim: Aim


def kills(seed: int, scenario: str, count: int) -> tuple[Kill, ...]:
    """So many, every other one aimed, in an order of their own."""
    rng = random.Random(f"{seed}/{scenario}/kills")
    aims: list[Aim] = ["inside" if number % 2 == 0 else "any" for number in range(count)]
    rng.shuffle(aims)
    return tuple(Kill(rng.uniform(*LIFE_SECONDS), aim) for aim in aims)


def looks(seed: int, scenario: str, count: int) -> tuple[float, ...]:
    """Pauses between looks, so that they do not fall into step with the stage's own rhythm."""
    rng = random.Random(f"{seed}/{scenario}/looks")
    return tuple(rng.uniform(*LOOK_SECONDS) for _ in range(count))
