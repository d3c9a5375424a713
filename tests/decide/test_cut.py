"""Crashes that were cut from a partial: counted by the combiner, no evidence, and the verdict says so."""

from support.folding import partials_all

from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet
from pipeline.decide.verdicts import flags_of
from pipeline.wire.events import Crash, Signature, Update
from pipeline.wire.partials import MAX_PARTIAL_CRASHES
from pipeline.wire.spans import MINUTE_MS

AT = 1_700_000_000_000


def test_a_cut_crash_list_is_flagged() -> None:
    """A mass crash beyond what a partial lists marks the update as capped."""
    updates = (Update("v", "p", "1", AT - MINUTE_MS),)
    common = {"v": 1, "fleet": "f", "ts": AT, "ring": "r", "os": "o", "model": "m", "updates": updates}
    events = [
        Crash(**common, id=str(i), host=f"h{i}", signature=Signature("0x50", "m.sys"))  # type: ignore[arg-type]
        for i in range(MAX_PARTIAL_CRASHES + 100)
    ]
    detector = Detector("f", PolicySet())
    for partial in partials_all(events, AT):
        detector.step(partial)
    assert detector.weighed is not None
    assert "capped" in flags_of(detector.weighed, 0)
    assert detector.state.counts.crashed.sum() == MAX_PARTIAL_CRASHES
