"""A seeded share of `andon bench calibrate`, and of `andon bench decide`, with every run of the tests."""

import pytest

from pipeline.bench.calibrate import LEVELS, lower_limit, report, run_fleet
from pipeline.bench.decide import MOST, beside_maxsprt

SEEDS = range(7_000, 7_004)


def test_evidence_against_harmless_rollouts_keeps_its_bound() -> None:
    """Rollouts through the real fold and detector cross 10, 100, 1000 no more often than 1/10, 1/100, 1/1000."""
    outcomes = [outcome for seed in SEEDS for outcome in run_fleet(seed)[0]]
    figures = report(outcomes, 0, 0.0, SEEDS[0])
    assert figures["rollouts"] >= 180
    assert figures["at_tolerated_risk"] >= figures["rollouts"] / 2 - 10
    assert all(figures["levels"][str(int(level))]["holds"] for level in LEVELS), figures["levels"]


@pytest.mark.parametrize(("hits", "trials", "limit"), [(0, 100, 0.0), (5, 10, 0.1504), (32, 20_000, 0.00101)])
def test_the_lower_limit_is_clopper_and_pearsons(hits: int, trials: int, limit: float) -> None:
    """One-sided, 99 %: against values of the beta quantile."""
    assert lower_limit(hits, trials) == pytest.approx(limit, rel=0.02)


def test_the_core_needs_few_more_events_than_maxsprt() -> None:
    """At relative risks 2 to 50 and alpha 0.05, 0.001: at most 1.5 times MaxSPRT's events, and without a horizon."""
    assert max(row["ratio"] for row in beside_maxsprt()) <= MOST
