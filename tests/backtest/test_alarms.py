"""A backtest counts alarms of a fleet and halts in doubt, as a line would have told them."""

import io

from support.decide_world import GUILTY, HOSTS, T0, fault, heartbeat, installed
from support.folding import partials_all

from pipeline.backtest.judging import Judging
from pipeline.decide.policy import PolicySet
from pipeline.runtime.console import console
from pipeline.wire.events import AnyEvent
from pipeline.wire.spans import MINUTE_MS


def test_an_alarm_is_in_the_summary() -> None:
    """All at once on a fleet that nobody knew: no halt, and the alarm for people and for programs."""
    events: list[AnyEvent] = [
        heartbeat(host, T0 + host * 400, installed(host, T0 + host * 400, GUILTY, 1)) for host in range(HOSTS)
    ]
    events += fault(HOSTS // 5, T0 + 2 * MINUTE_MS, T0 + 20 * MINUTE_MS, GUILTY, 5)
    judging, events = Judging(PolicySet()), sorted(events, key=lambda event: event.ts)
    for first in range(0, len(events), 200):
        for partial in partials_all(events[first : first + 200], events[min(first + 199, len(events) - 1)].ts):
            assert judging.step(partial) == ()
    judging.finish()
    (alarm,) = judging.notes.row()["alarms"]
    assert (alarm["fleet"], alarm["state"], alarm["flags"]) == ("acme", "sounding", ("no_history",))
    assert judging.notes.row()["doubtful"] == {"acme": {}}
    said = io.StringIO()
    judging.notes.show(console(said, width=400))
    assert "Fleet acme: UNATTRIBUTED ALARM: " in said.getvalue()
