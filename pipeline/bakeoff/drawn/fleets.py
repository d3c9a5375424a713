"""What a drawn fleet is when nothing is wrong, how it tells of itself, and for how long it is watched."""

from typing import NamedTuple

import numpy as np

from pipeline.bakeoff.drawn.chance import any_of, between, evenly, happens, one_of
from pipeline.bakeoff.spec import RINGS, Fleet, Telling

# Most fleets have 300 to 5,000 hosts: four of five here.
SMALL, LARGE = (300, 5000), (5000, 200_000)
REPORTS = 600_000  # heartbeats of a story: it is the shorter the larger the fleet, but at least
LEAST_HOURS = 8.0
LARGEST_RATE = 1 / 7  # crashes per host and day: one a week


class Span(NamedTuple):
    """Hours before the story, of which the detector has the events, and of the story."""

    warm_hours: float
    hours: float


def draw_fleet(rng: np.random.Generator) -> Fleet:
    """The hosts. One of twelve never crashes, the others once a week to once in six years."""
    hosts = round(between(rng, *one_of(rng, {SMALL: 0.8, LARGE: 0.2})))
    sites = round(between(rng, 1, min(300, hosts / 3)))
    varied = happens(rng, 0.4)
    return Fleet(
        hosts=hosts,
        models=round(between(rng, 1, 150)),
        sites=sites,
        beat_minutes=one_of(rng, {60.0: 0.68, 15.0: 0.1, 240.0: 0.1, 0.0: 0.12}),
        boots_a_day=one_of(rng, {3.0: 0.1, 1.0: 0.25, 0.7: 0.25, 1 / 7: 0.25, 1 / 30: 0.15}),
        crashes_a_day=0.0 if happens(rng, 1 / 12) else between(rng, LARGEST_RATE / 300, LARGEST_RATE),
        boot_crashes=between(rng, 0.0005, 0.02) if happens(rng, 0.25) else 0.0,
        trait_share=evenly(rng, 0.02, 0.3) if varied else 0.0,
        trait_risk=between(rng, 3, 60) if varied else 1.0,
        trait_in_model=varied and happens(rng, 0.5),
        cycle=evenly(rng, 1.0, 5.0),
        drift_a_day=between(rng, 0.5, 3.0) if happens(rng, 0.25) else 1.0,
        weekend=evenly(rng, 0.2, 1.0) if happens(rng, 0.4) else 1.0,
        reimaged_share=evenly(rng, 0.02, 0.3) if happens(rng, 0.12) else 0.0,
        rings=_rings(rng),
        zipf=evenly(rng, 0.5, 1.6),
        model_spread=evenly(rng, 0.1, 1.2) if happens(rng, 0.6) else 0.0,
    )


def _rings(rng: np.random.Generator) -> tuple[tuple[str, float], ...]:
    """The usual three, none but one, or up to six that grow."""
    shape = one_of(rng, {"usual": 0.4, "one": 0.15, "many": 0.45})
    if shape == "usual":
        return RINGS
    if shape == "one":
        return (("broad", 1.0),)
    sizes = np.sort(np.exp(rng.uniform(np.log(0.01), 0.0, int(rng.integers(2, 7)))))
    shares = np.round(sizes / sizes.sum(), 4)
    shares[-1] = 1.0 - shares[:-1].sum()
    names = ("canary", *(f"ring-{number}" for number in range(1, len(shares))))
    return tuple(zip(names, shares.tolist(), strict=True))


def draw_telling(rng: np.random.Generator) -> Telling:
    """How crashes and all else are told. Forged crashes are left out: no method can tell those that agree from others,
    and the families have them."""
    late, skewed = happens(rng, 0.3), one_of(rng, {"": 0.6, "minutes": 0.25, "hours": 0.15})
    skews = {"": 0.0, "minutes": evenly(rng, 0.5, 10), "hours": evenly(rng, 30, 180)}
    return Telling(
        by=one_of(rng, {"both": 0.35, "crash": 0.25, "boot": 0.3, "undated": 0.1}),
        down_seconds=between(rng, 5, 600),
        minutes=between(rng, 0.3, 10),
        late_share=evenly(rng, 0.2, 1.0) if late else 0.0,
        late_hours=evenly(rng, 0.5, 6.0) if late else 0.0,
        silent_share=evenly(rng, 0.3, 0.95) if happens(rng, 0.25) else 0.0,
        sampled=between(rng, 0.01, 0.5) if happens(rng, 0.25) else 1.0,
        skew_minutes=skews[skewed],
        duplicates=between(rng, 0.01, 0.3) if happens(rng, 0.3) else 0.0,
        disorder_minutes=evenly(rng, 0.5, 15) if happens(rng, 0.3) else 0.0,
        nameless_sites=happens(rng, 0.2),
        bare_heartbeats=happens(rng, 0.08),
        bare_crashes=happens(rng, 0.06),
        moving_system=happens(rng, 0.05),
        spellings=any_of(rng, (1, 1, 1, 2, 3)),
    )


def draw_span(rng: np.random.Generator, fleet: Fleet) -> Span:
    """Half an hour to two days of past, eight hours to a day and a half of story, in whole minutes; in large fleets as
    little as two, and six."""
    room = max(REPORTS / fleet.hosts * (min(fleet.beat_minutes, 60) if fleet.beat_minutes else 60) / 60, LEAST_HOURS)
    warm, hours = between(rng, 0.5, 48), between(rng, 8, 36)
    hours = round(min(hours, 0.75 * room), 1)
    return Span(round(min(warm, room - hours), 1), hours)
