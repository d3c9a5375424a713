"""How often the short form that runs with the tests would catch a bound that is broken threefold.

Drawn from fleets that have been run: as many of them as the short form has, again and again.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.bench.nulls.bound import Tops, limits

SHORT_LEVELS = (2.0, 5.0, 10.0, 100.0, 1000.0)  # Ville's inequality holds at any: of few rollouts the lowest tell most
SHORT_ROLLOUTS = 64  # of a kind, at least
DRAWS = 1000
BROKEN = 3.0


def short_fleets(rollouts: int) -> int:
    """How many fleets of so many rollouts each the short form has."""
    return -(-SHORT_ROLLOUTS // rollouts)


def exceeded(highest: Sequence[Sequence[float]], levels: Sequence[float] = SHORT_LEVELS) -> list[float]:
    """The levels that log10 evidence, by fleet, has reached more often than their bound allows, beyond doubt."""
    sizes = [len(fleet) for fleet in highest]
    crossed = {at: [sum(top >= np.log10(at) for top in fleet) for fleet in highest] for at in levels}
    return [level for level, hits in crossed.items() if limits(hits, sizes)[0] > 1 / level]


def power(fleets: Sequence[Tops], level: float, seed: int = 1) -> dict[str, Any]:
    """By how the bound is broken, so that BROKEN times as many as it allows reach `level`, the share of short forms
    that say so; `intact`: that cry out for nothing. `multiplied`: evidence is so many times (`factor`) what it should
    be; `planted`: that many more rollouts reach just this level, and nothing else is wrong."""
    rng = np.random.default_rng(seed)
    tops = [np.array(fleet.highest) for fleet in fleets]
    every = np.concatenate(tops)
    goal = BROKEN / level
    shift = max(float(np.log10(level) - np.quantile(every, 1 - goal)), 0.0)
    missing = max(goal - float((every >= np.log10(level)).mean()), 0.0)
    caught = {"intact": 0, "multiplied": 0, "planted": 0}
    size = short_fleets(len(tops[0]))
    for _ in range(DRAWS):
        some = [tops[place] for place in rng.choice(len(tops), size, replace=len(tops) < 2 * size)]
        planted = [np.where(rng.random(one.size) < missing, np.maximum(one, np.log10(level)), one) for one in some]
        for name, drawn in (("intact", some), ("multiplied", [one + shift for one in some]), ("planted", planted)):
            caught[name] += bool(exceeded([one.tolist() for one in drawn]))
    found: dict[str, Any] = {name: round(number / DRAWS, 3) for name, number in caught.items()}
    return {"kind": fleets[0].kind, "level": level, "fleets": len(fleets), "factor": round(10**shift, 2), **found}
