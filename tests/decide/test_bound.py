"""A seeded share of `andon bench calibrate` by kind of null: does the bound hold?"""

import functools

import numpy as np
import pytest

from pipeline.bakeoff.spec import Fault
from pipeline.bakeoff.world import make
from pipeline.bench.bound import DEEP_LEVELS, TILT, Deep, Tops, deep_row, likelihood_ratio, limits, row, tops
from pipeline.bench.kinds import KINDS, null_family

LOW_LEVELS = (
    2.0,
    5.0,
    10.0,
    100.0,
    1000.0,
)  # Ville's inequality holds at any level; at few rollouts the lowest tell most
QUICK = ("edge", "tiny", "fast")
pytestmark = pytest.mark.service  # some fifteen seconds of a core

SECONDS = 100


@functools.cache
def fleets(kind: str) -> list[Tops]:
    """Of a kind, as many as have 24 rollouts."""
    return [tops(kind, SECONDS, seed) for seed in range(1, 5 if kind in ("fast", "outage") else 3)]


def exceeded(found: list[Tops], levels: tuple[float, ...] = LOW_LEVELS, factor: float = 1.0) -> list[float]:
    """The levels that evidence, times `factor`, has reached more often than its bound allows, beyond doubt."""
    sizes = [len(fleet.highest) for fleet in found]
    crossed = {at: [sum(10**top * factor >= at for top in fleet.highest) for fleet in found] for at in levels}
    return [level for level, hits in crossed.items() if limits(hits, sizes)[0] > 1 / level]


@pytest.mark.parametrize(
    "kind",
    [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind not in (*QUICK, "outage-new"))],
)
def test_evidence_against_the_harmless_keeps_its_bound(kind: str) -> None:
    """Of each kind, at every level.

    Power: 24 rollouts or more. Were evidence three times what it is, all of them would be beyond 1/2 (the next test);
    a kind of which three in ten ever reach 10, three times the bound, would be caught at 10 in about 6 of 10 runs.
    """
    found = fleets(kind)
    assert sum(len(fleet.highest) for fleet in found) >= 24
    assert exceeded(found) == []


def test_three_times_the_evidence_would_be_noticed() -> None:
    """By two fleets at the edge of the null, at the lowest level."""
    assert 2.0 in exceeded(fleets("edge"), factor=3.0)


def test_a_push_before_an_outage_that_looks_new_keeps_its_bound() -> None:
    """11 of 60 were beyond 1000 while a signature against history had no look at the control hosts of its own."""
    assert exceeded([tops("outage-new", SECONDS, seed) for seed in range(1, 9)], (100.0, 1000.0)) == []


def test_limits_are_for_fleets_not_for_rollouts() -> None:
    """Spread evenly, five of sixty are as telling as sixty rollouts; all in one fleet, hardly more than five."""
    even, at_once = limits([1] * 5, [12] * 5), limits([5, 0, 0, 0, 0], [12] * 5)
    assert even == (pytest.approx(0.0218, abs=1e-3), pytest.approx(0.2041, abs=1e-3))
    assert at_once[0] < even[0] / 10
    assert at_once[1] > 2 * even[1]
    assert limits([0, 0], [12, 12])[0] == 0.0


def test_a_broken_bound_is_red() -> None:
    """Three of four rollouts of ten fleets beyond 100: broken at 10 and 100, kept at 1000."""
    found = [Tops("made", 10, seed, (2.5, 2.1, 2.2, -0.1)) for seed in range(10)]
    levels = row(found)["levels"]
    assert [levels[level]["holds"] for level in ("10", "100", "1000")] == [False, False, True]


def test_what_was_not_reached_is_unknown() -> None:
    """Importance sampling says nothing of a level that hardly any fleet got to."""
    found = [Deep("made", seed, (1e-3,) * 3 + (0.0,) * (len(DEEP_LEVELS) - 3)) for seed in range(6)]
    levels = deep_row(found)["levels"]
    assert levels["10"]["holds"] is True
    assert levels["1000000"]["holds"] is None


def test_the_likelihood_ratio_weighs_back() -> None:
    """Drawn at TILT, its mean is 1, as every likelihood ratio's: 600 fleets, few crashes each."""
    family = null_family("edge", 1)
    fleet = family.fleet._replace(hosts=60, crashes_a_day=0.02)
    tilted = family.pushes[0]._replace(share=0.5, fault=Fault(risk=TILT, signature=None))
    small = family._replace(fleet=fleet, pushes=(tilted, *family.pushes[1:3]))
    ratios = np.array([likelihood_ratio(make(small, seed), 3_600_000 * 2, 1.5) for seed in range(600)])
    error = ratios.std() / np.sqrt(len(ratios))
    assert abs(ratios.mean() - 1) < 4 * error
    assert error < 0.1
