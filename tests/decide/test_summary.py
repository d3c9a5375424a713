"""What people may look at while the detector works: after any partial, whatever it brought."""

from support.decide_world import ORDINARY, T0, crash, heartbeat
from support.folding import partials_all

from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet
from pipeline.wire.events import AnyEvent, Update


def test_updates_that_nobody_has_judged_yet_are_no_error() -> None:
    """Many updates appear in a partial that gives no cause to judge: the view shows what there is."""
    updates = [Update("v", f"p{n}", "1", T0) for n in range(40)]
    detector = Detector("acme", PolicySet())
    batches: list[list[AnyEvent]] = [
        [crash(1, T0 + 1, (updates[0],), ORDINARY)],
        [heartbeat(host, T0 + 2, (update,)) for host, update in enumerate(updates)],
    ]
    for batch in batches:
        for partial in partials_all(batch, batch[-1].ts):
            detector.step(partial)
            shown = detector.summary()
    assert shown["live_updates"] == 40
    assert "v/p0/1" in [update["update"] for update in shown["updates"]]  # type: ignore[attr-defined]
