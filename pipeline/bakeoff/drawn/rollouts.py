"""What is pushed to a drawn fleet: up to 24 updates, each by a plan of its own."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.bakeoff.drawn.chance import any_of, between, evenly, happens, one_of
from pipeline.bakeoff.drawn.fleets import Span
from pipeline.bakeoff.hosts import zipf
from pipeline.bakeoff.spec import EVERYWHERE, REGIONS, SYSTEMS, Fleet, Push, Where

MOST_UPDATES = 24


@dataclass(frozen=True)
class Ground:
    """What a plan is drawn for."""

    rng: np.random.Generator
    fleet: Fleet
    span: Span

    def place(self, *kinds: str) -> Where:
        """A ring, system, model, region or site of the fleet; of models and sites the common ones oftener."""
        rng, fleet = self.rng, self.fleet
        places: dict[str, Callable[[], Where]] = {
            "ring": lambda: Where(ring=any_of(rng, fleet.rings)[0]),
            "system": lambda: Where(system=any_of(rng, tuple(SYSTEMS))),
            "region": lambda: Where(region=any_of(rng, REGIONS[: fleet.sites])),
            "model": lambda: Where(model=f"model-{rng.choice(fleet.models, p=zipf(fleet.models, fleet.zipf))}"),
            "site": lambda: Where(site=f"site-{rng.choice(fleet.sites, p=zipf(fleet.sites, fleet.zipf))}"),
        }
        return places[any_of(rng, kinds)]()


def draw_rollouts(ground: Ground, guilty: int) -> tuple[list[Push], list[int]]:
    """The pushes, and the places of so many (0 to 2) that are to be guilty: begun in the first half of the story."""
    rng, hours = ground.rng, ground.span.hours
    count = max(round(between(rng, 1, MOST_UPDATES)), guilty)
    marked = sorted(rng.choice(count, guilty, replace=False).tolist())
    of_one_product = happens(rng, 0.1)
    crowded = hours * 0.4 if happens(rng, 0.2) else 0.0  # all within an hour
    pushes: list[Push] = []
    for number in range(count):
        since = crowded or (0.0 if number in marked else -0.7 * ground.span.warm_hours)
        until = crowded + 1.0 if crowded else hours * (0.5 if number in marked else 0.8)
        push = _plan(ground)._replace(
            name=f"kb/{number}" if of_one_product else f"update-{number}",
            version=str(number) if of_one_product else "",
            at=evenly(rng, since, until),
            surge=one_of(rng, {0.0: 0.6, 0.5: 0.2, 1.0: 0.2}),
        )
        leaders = [p for p in pushes if not p.after_crash_minutes and (p.at >= 0 or number not in marked)]
        if leaders and happens(rng, 0.4):
            push = _along(ground, push, any_of(rng, leaders))
        elif number not in marked:
            push = _odd(ground, push)
        pushes.append(push)
    return pushes, marked


def _plan(ground: Ground) -> Push:
    """To whom, and how fast."""
    rng, fleet = ground.rng, ground.fleet
    plans: dict[str, Callable[[], Push]] = {
        "at once": lambda: Push("", over_minutes=between(rng, 5, 60), share=evenly(rng, 0.5, 1.0)),
        "gradual": lambda: Push("", over_minutes=between(rng, 60, 1440), share=evenly(rng, 0.05, 0.95)),
        "ring by ring": lambda: Push(
            "", over_minutes=between(rng, 10, 180), share=evenly(rng, 0.6, 1.0), stages=_stages(ground)
        ),
        "canary of 20": lambda: Push("", over_minutes=between(rng, 5, 120), share=1.0, hosts=20),
        "one ring": lambda: Push("", share=evenly(rng, 0.5, 1.0), where=Where(ring=fleet.rings[0][0])),
        "one part": lambda: Push(
            "", over_minutes=between(rng, 10, 480), share=evenly(rng, 0.3, 1.0),
            where=ground.place("model", "system", "region"),
        ),
    }  # fmt: skip
    weights = {
        "at once": 0.25, "gradual": 0.3, "ring by ring": 0.2, "canary of 20": 0.07, "one ring": 0.08, "one part": 0.1,
    }  # fmt: skip
    return plans[one_of(rng, weights)]()


def _stages(ground: Ground) -> tuple[tuple[str, float], ...]:
    """One ring after the other, hours apart; some rollouts end before the last."""
    rings = [ring for ring, _ in ground.fleet.rings]
    reached = int(ground.rng.integers(1, len(rings) + 1)) if happens(ground.rng, 0.3) else len(rings)
    pause = between(ground.rng, 0.3, ground.span.hours / 3)
    return tuple((ring, round(number * pause, 2)) for number, ring in enumerate(rings[:reached]))


def _along(ground: Ground, push: Push, leader: Push) -> Push:
    """It goes to the same hosts as another, more or less (none to all of them), within two hours."""
    rng = ground.rng
    overlap = one_of(rng, {0.0: 0.1, evenly(rng, 0.0, 1.0): 0.6, 1.0: 0.3})
    return push._replace(
        with_push=leader.name, overlap=overlap, alone=evenly(rng, 0.0, 0.5) if happens(rng, 0.7) else 0.0,
        at=round(leader.at + evenly(rng, 0.0, 2.0), 3), stages=(), hosts=0, where=EVERYWHERE,
    )  # fmt: skip


def _odd(ground: Ground, push: Push) -> Push:
    """Now and then: a repair tool, one that is withdrawn, one that goes to models which crash more in any case. (Where
    that shows in no model, no method can tell it from a fault; the families have it.)"""
    rng = ground.rng
    odd = one_of(rng, {"": 0.86, "repair": 0.03, "withdrawn": 0.05, "prone": 0.06})
    if odd == "repair":
        return push._replace(after_crash_minutes=between(rng, 10, 120), stages=(), hosts=0, where=EVERYWHERE)
    if odd == "withdrawn":
        return push._replace(removed_at=round(push.at + evenly(rng, 1.0, 8.0), 3))
    if odd == "prone" and ground.fleet.trait_in_model:
        return push._replace(share=0.05, trait_share=0.9)
    return push
