"""Hosts whose clocks are behind have an update, by their own clocks, before anybody had it: that is no evidence."""

import numpy as np
import pytest

from pipeline.bakeoff.crashes import FRIDAY_MS
from pipeline.bakeoff.spec import Family, Fleet, Push, Telling
from pipeline.bakeoff.stream import FLEET, Stream
from pipeline.bakeoff.world import make
from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet
from pipeline.wire.spans import HOUR_MS

pytestmark = pytest.mark.service  # some ten seconds of a core

WARM_HOURS = 2
STORY = Family(
    "clocks-behind", "clock skew", Fleet(1500, models=2, crashes_a_day=0.8),
    (Push("innocent", over_minutes=10, share=0.85),), telling=Telling(skew_minutes=69), warm_hours=WARM_HOURS,
    hours=1.5, background=0,
)  # fmt: skip


def test_a_push_to_hosts_with_clocks_that_are_behind_is_no_evidence() -> None:
    """Dozens tell of a crash with it at a time before it came; no evidence comes of that."""
    world = make(STORY, 5)
    detector, evidence, early = Detector(FLEET, PolicySet()), [0.0], 0
    for partial in Stream(world).partials():
        brief = detector.step_briefly(partial)
        evidence += brief.evidence.values()
        early += sum(bool(crash.exposed) and crash.at < FRIDAY_MS + WARM_HOURS * HOUR_MS for crash in partial.crashes)
        assert not brief.halts
    assert early > 20
    assert np.max(evidence) < 1.0
