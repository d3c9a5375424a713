"""A seeded share of `andon bench calibrate`, and of `andon bench decide`, with every run of the tests; and evidence up
to the halt by importance sampling. That both would notice a broken calibration is a test too."""

import sys
from collections.abc import Iterator

import pytest
from support.tilted_world import mean_evidence

from pipeline.bench.decide import MOST, beside_maxsprt
from pipeline.bench.nulls.ordinary import LEVELS, lower_limit, report, run_fleet
from pipeline.decide import explain
from pipeline.runtime.errors import AndonError

SEEDS = (7_000, 7_001)
LOW_LEVELS = (2.0, 5.0)  # Ville's inequality holds at any level; at these few rollouts tell most


def exceeded(highest: list[float]) -> list[float]:
    """The levels that log10 evidence has crossed more often than its bound allows, beyond doubt."""
    crossed = {level: sum(10**top >= level for top in highest) for level in (*LOW_LEVELS, *LEVELS)}
    return [level for level, hits in crossed.items() if lower_limit(hits, len(highest)) > 1 / level]


@pytest.fixture
def tenfold(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All evidence is ten times what it should be."""
    tenfold = tuple(entry._replace(weight=10 * entry.weight) for entry in explain.EXPLANATIONS)
    monkeypatch.setattr(explain, "EXPLANATIONS", tenfold)
    explain.layout_of.cache_clear()
    yield
    explain.layout_of.cache_clear()


def test_evidence_against_harmless_rollouts_keeps_its_bound() -> None:
    """Rollouts through the real fold and detector cross 2, 5, 10, 100, 1000 no more often than 1 in as many.

    Power: with evidence ten times too large, each of 100 fleets (seeds 7000 to 7099) was by itself beyond 1/2 and 1/5.
    """
    outcomes = [outcome for seed in SEEDS for outcome in run_fleet(seed)[0]]
    figures = report(outcomes, 0)
    assert figures["rollouts"] >= 90
    assert figures["at_tolerated_risk"] >= figures["rollouts"] / 2 - 10
    assert all(figures["levels"][str(int(level))]["holds"] for level in LEVELS), figures["levels"]
    assert exceeded([outcome.highest for outcome in outcomes]) == []


def test_evidence_is_a_fair_bet_up_to_the_halt() -> None:
    """The mean of evidence against the worst harmless update is at most 1, also when it is followed to 10^6.

    Power, over sets of 70 worlds: evidence ten times too large was caught in 24 of 24, five times in 21 of 21, three
    times in 17 of 21; exposed shares a sixth too small in 8 of 8. The mean of intact evidence was 0.46 to 0.64.
    """
    mean = mean_evidence(worlds=70)
    assert mean.lower <= 1
    assert mean.value > 0.3  # it does bet: otherwise even ten times as much would pass


@pytest.mark.usefixtures("tenfold")
def test_ten_times_the_evidence_would_be_noticed() -> None:
    """By a single fleet of harmless rollouts at the lowest levels, and by half as many of the worlds up to the halt."""
    assert set(LOW_LEVELS) <= set(exceeded([outcome.highest for outcome in run_fleet(SEEDS[0])[0]]))
    assert mean_evidence(worlds=35).lower > 1.5


@pytest.mark.parametrize(("hits", "trials", "limit"), [(0, 100, 0.0), (5, 10, 0.1504), (32, 20_000, 0.00101)])
def test_the_lower_limit_is_clopper_and_pearsons(hits: int, trials: int, limit: float) -> None:
    """One-sided, 99 %: against values of the beta quantile."""
    assert lower_limit(hits, trials) == pytest.approx(limit, rel=0.02)


def test_without_scipy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a development dependency, which whoever runs Andon may not have."""
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(AndonError, match=r"pip install 'andon\[dev\]'"):
        lower_limit(1, 2)


def test_the_core_needs_few_more_events_than_maxsprt() -> None:
    """At relative risks 2 to 50 and alpha 0.05, 0.001: at most 1.5 times MaxSPRT's events, and without a horizon."""
    assert max(row["ratio"] for row in beside_maxsprt()) <= MOST
