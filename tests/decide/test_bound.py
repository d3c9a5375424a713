"""A seeded share of `andon bench calibrate` by kind of null: does the bound hold?"""

import functools
from pathlib import Path

import numpy as np
import pytest

from pipeline.bakeoff.spec import Fault
from pipeline.bakeoff.world import make
from pipeline.bench.nulls.bound import DEEP_LEVELS, Deep, Tops, deep_row, likelihood_ratio, limits, row, tilt_of, tops
from pipeline.bench.nulls.kinds import KINDS, null_family
from pipeline.bench.nulls.power import exceeded, power, short_fleets
from pipeline.bench.nulls.runs import Job, run

QUICK = ("edge", "tiny", "fast")
BROKEN: dict[str, str] = {}  # by kind, why
SECONDS = 100
pytestmark = pytest.mark.service  # some fifteen seconds of a core


@functools.cache
def fleets(kind: str) -> list[Tops]:
    """Of a kind."""
    return [tops(kind, SECONDS, seed) for seed in range(1, short_fleets(len(null_family(kind, 1).pushes)) + 1)]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            kind,
            marks=[
                *([] if kind in QUICK else [pytest.mark.slow]),
                *([pytest.mark.xfail(strict=True, reason=BROKEN[kind])] if kind in BROKEN else []),
            ],
        )
        for kind in KINDS
    ],
)
def test_evidence_against_the_harmless_keeps_its_bound(kind: str) -> None:
    """Of each kind, at every level; of those that are known to break it, not: mended, their mark goes.

    Power: `andon bench calibrate --power` draws such short forms from the fleets that it has run (docs/bakeoff.md).
    """
    assert exceeded([fleet.highest for fleet in fleets(kind)]) == []


def test_three_times_the_evidence_would_be_noticed() -> None:
    """By the fleets at the edge of the null, at the lowest level."""
    tripled = [(np.array(fleet.highest) + np.log10(3.0)).tolist() for fleet in fleets("edge")]
    assert 2.0 in exceeded(tripled)


def test_power_is_what_short_forms_would_say() -> None:
    """Of fleets whose rollouts stay at 1: times thirty, or with three in ten beyond 10, all or most cry out; as they
    are, none does."""
    found = power([Tops("made", 100, seed, (0.0,) * 12) for seed in range(8)], 10.0)
    assert (found["intact"], found["multiplied"], found["factor"]) == (0.0, 1.0, 10.0)
    assert 0.7 < found["planted"] < 1.0


def test_fleets_that_have_been_run_are_kept(tmp_path: Path) -> None:
    """And told again without a run, in the order of the jobs."""
    path, job = tmp_path / "runs.jsonl", Job("tiny", SECONDS, 1)
    first = run([job], path, 1)
    assert run([Job("edge", SECONDS, 1), job], path, 1, is_to_run=False) == first
    assert len(first.tops[0].highest) == 24


def test_a_push_before_an_outage_that_looks_new_keeps_its_bound() -> None:
    """11 of 60 were beyond 1000 while a signature against history had no look at the control hosts of its own."""
    assert exceeded([tops("outage-new", SECONDS, seed).highest for seed in range(1, 9)], levels=(100.0, 1000.0)) == []


def test_a_push_among_hosts_heard_of_at_boots_only_keeps_its_bound() -> None:
    """A host crashes in four to seven trials: 8 of these 72 were beyond 100, one beyond 10^6, while shares lagged by 40
    trials there, too."""
    assert max(max(tops("seldom", SECONDS, seed).highest) for seed in (1, 4, 5)) < 2


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
    found = [Deep("made", seed, 6.0, (1e-3,) * 3 + (0.0,) * (len(DEEP_LEVELS) - 3)) for seed in range(6)]
    levels = deep_row(found)["levels"]
    assert levels["10"]["holds"] is True
    assert levels["1000000"]["holds"] is None


def test_the_likelihood_ratio_weighs_back() -> None:
    """Drawn as if guilty, its mean is 1, as every likelihood ratio's: 600 fleets, few crashes each."""
    family = null_family("edge", 1)
    fleet = family.fleet._replace(hosts=60, crashes_a_day=0.3)
    first = family.pushes[0]._replace(share=0.5, at=-1.0, over_minutes=60)
    tilt = tilt_of(family._replace(pushes=(first,)))
    guilty = first._replace(fault=Fault(risk=tilt.exposed, signature=None))
    small = family._replace(fleet=fleet, pushes=(guilty, *family.pushes[1:3]))
    ratios = np.array([likelihood_ratio(make(small, seed, tilt.control), 3_600_000 * 3, tilt) for seed in range(600)])
    error = ratios.std() / np.sqrt(len(ratios))
    assert abs(ratios.mean() - 1) < 4 * error
    assert 0.001 < error < 0.15
