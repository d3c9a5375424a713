"""A drawn fleet, by its name: of one seed the first, the second and so on. The same name is the same fleet for ever.

Whoever mends a rule by what it did on some seed has used that seed up: measure on another.
"""

import re
from collections.abc import Sequence

import numpy as np

from pipeline.bakeoff.drawn.chance import any_of, evenly, happens
from pipeline.bakeoff.drawn.fleets import SMALL, draw_fleet, draw_span, draw_telling
from pipeline.bakeoff.drawn.harm import guilty, shocks
from pipeline.bakeoff.drawn.rollouts import Ground, draw_rollouts
from pipeline.bakeoff.spec import EVERYWHERE, Family, Fault, Push

_NAME = re.compile(r"drawn-(\d{1,9})-(\d{1,6})")
SIZES = (1000, SMALL[1], 20_000, 200_000)
WHOLE, PART, CANARY, SLOW, TWO, NOBODY = (
    "drawn: all hosts with it", "drawn: a part of them", "drawn: a canary of 20", "drawn: late, slow, or on a date",
    "drawn: two guilty, or only together", "drawn: nobody guilty",
)  # fmt: skip


def draw(seed: int, number: int) -> Family:
    """The fleet of that number, from 1 on; every second one has updates at fault, one of six of these two of them."""
    rng = np.random.default_rng([seed, number, *b"drawn"])
    fleet = draw_fleet(rng)
    telling = draw_telling(rng)
    ground = Ground(rng, fleet, draw_span(rng, fleet))
    faults = (1 + happens(rng, 1 / 6)) if number % 2 == 0 else 0
    pushes, marked = draw_rollouts(ground, faults)
    struck = guilty(ground, pushes, marked)
    quiet = [push.name for push in struck if push.fault is None]
    warm, hours = ground.span
    return Family(
        f"drawn-{seed}-{number:04d}", _kind([push for push in struck if push.fault]), fleet, tuple(struck),
        shocks(ground, struck), telling, warm, hours, background=0,
        renamed_by=any_of(rng, quiet) if quiet and happens(rng, 0.06) else "",
        deaf_minutes=evenly(rng, 5, warm * 50) if happens(rng, 0.1) else 0.0,
    )  # fmt: skip


def named(name: str) -> Family | None:
    """The drawn fleet of that name; None when it is not the name of one."""
    found = _NAME.fullmatch(name)
    return draw(int(found[1]), int(found[2])) if found else None


def _kind(struck: Sequence[Push]) -> str:
    """What is said of the faults in a table: the first of these that is so."""
    faults = [push.fault or Fault() for push in struck]
    if not faults:
        return NOBODY
    if len(faults) > 1 or faults[0].only_with:
        return TWO
    fault, push = faults[0], struck[0]
    if fault.onset_hours or fault.burn_hours or fault.not_before is not None:
        return SLOW
    if push.hosts:
        return CANARY
    return PART if fault.where != EVERYWHERE else WHOLE


def strata(families: Sequence[Family]) -> dict[str, list[str]]:
    """The names of families by what they are told apart by: hosts, and the kind of fault."""
    found: dict[str, list[str]] = {}
    for low, high in zip((0, *SIZES), SIZES, strict=False):
        found[f"{low + 1 if low else SMALL[0]:,} to {high:,} hosts"] = [
            f.name for f in families if low < f.fleet.hosts <= high
        ]
    for kind in (WHOLE, PART, CANARY, SLOW, TWO, NOBODY):
        found[kind] = [family.name for family in families if family.kind == kind]
    return {label: names for label, names in found.items() if names}
