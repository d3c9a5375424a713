"""Innocents that were halted beside a fault, in families and under seeds in which that came out."""

import pytest

from pipeline.bakeoff.contest.run import run
from pipeline.bakeoff.families import FAMILIES
from pipeline.bakeoff.stream import FLEET, Stream
from pipeline.bakeoff.world import make
from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet

pytestmark = pytest.mark.service  # some twenty seconds of a core

BY_NAME = {family.name: family for family in FAMILIES}


@pytest.mark.timeout(300)
def test_a_bomb_older_than_what_is_remembered_is_told_apart_by_what_is() -> None:
    """Twenty hours after it came it crashes hosts that nearly all have an innocent update too: that is not halted as if
    it alone were to blame, and its halt is in doubt as soon as hosts without it have crashed."""
    detector, flags, doubts = Detector(FLEET, PolicySet()), dict[str, tuple[str, ...]](), set[str]()
    for partial in Stream(make(BY_NAME["date-bomb"], 2)).partials():
        decisions = detector.step(partial)
        flags |= {halt.product: halt.evidence.flags for halt in decisions.halts}
        doubts |= {name for verdict in decisions.verdicts if verdict.product in flags for name in verdict.doubted_for}
    assert flags
    assert all("inseparable" in flags[product] for product in flags if product != "guilty")
    assert doubts == {"vendor/guilty/1"}


@pytest.mark.timeout(300)
def test_what_any_halted_update_explains_is_not_laid_to_one_that_another_hides() -> None:
    """Of eight on the same hosts one innocent is halted with the guilty one; a second was, which the first hides and
    the guilty one explains."""
    score = run(BY_NAME["eight-on-the-same-hosts"]._replace(hours=1.5), 5, ["andon"])[0]
    assert (score.found, score.innocents + score.beside) == (1, 1)
