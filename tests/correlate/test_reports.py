"""What a fleet reports is counted by kind: who sends boots and no heartbeats is seen."""

from support.decide_world import KERNEL_FAULT, T0, boot_after, crash, heartbeat
from support.folding import partials_all

from pipeline.correlate.fleets import reports_in


def test_reports_are_counted_by_kind() -> None:
    """Heartbeats are trials; crashes are all there are, told by a boot or by themselves."""
    fault = crash(7, T0, (), KERNEL_FAULT)
    events = [
        heartbeat(1, T0, ()),
        heartbeat(2, T0, ()),
        fault,
        boot_after(fault, T0 + 60_000),
    ]
    (partial,) = partials_all(events, T0 + 60_000)
    assert reports_in(partial)[1:] == (2, len(partial.crashes))
    (beats,) = partials_all(events[:1], T0)
    assert reports_in(beats) == (0, 1, 0)
