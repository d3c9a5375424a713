"""What one Alertmanager is told, and how often: at once what changes, the same now and then, and nothing for ever."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from consumers.notify.alerts import Alert
from consumers.notify.outbox import Outbox, Pace

PACE = Pace(resend_seconds=60.0, resolved_seconds=300.0)


def alert(version: str, fires: bool = True) -> Alert:
    """Of one update."""
    return Alert(labels={"alertname": "AndonHalt", "version": version}, annotations={}, starts_at=1, fires=fires)


def told(outbox: Outbox, now: float, *alerts: Alert) -> list[tuple[str, bool]]:
    """What is sent now, and taken."""
    due = outbox.due(alerts, now)
    outbox.sent(due, now)
    return [(each.labels["version"], each.fires) for each in due]


def test_what_fires_is_said_again_each_minute_and_what_is_resolved_for_five() -> None:
    """And then no more; a halt that comes anew is said at once."""
    outbox = Outbox(PACE)
    assert [now for now in range(200) if told(outbox, now, alert("1"))] == [0, 60, 120, 180]
    resolved = [now for now in range(200, 700) if told(outbox, now, alert("1", fires=False))]
    assert resolved == [200, 260, 320, 380, 440]
    assert told(outbox, 700, alert("1")) == [("1", True)]


def test_what_is_gone_is_resolved_and_forgotten() -> None:
    """An alert that nobody names any more does not fire for ever, nor is it kept in mind."""
    outbox = Outbox(PACE)
    assert told(outbox, 0, alert("1")) == [("1", True)]
    assert [now for now in range(1, 500) if told(outbox, now) == [("1", False)]] == [1, 61, 121, 181, 241]
    assert outbox.due([], 900) == []
    assert not outbox._told


def test_a_start_says_what_does_not_fire() -> None:
    """The resume may have come while nobody told."""
    assert told(Outbox(PACE), 0, alert("1", fires=False)) == [("1", False)]


steps = st.lists(
    st.tuples(st.floats(0.0, 90.0), st.dictionaries(st.sampled_from("abc"), st.booleans(), max_size=3), st.booleans()),
    max_size=60,
)


@given(steps)
def test_never_the_same_twice_a_minute_and_every_change_as_soon_as_it_can_be(
    story: list[tuple[float, dict[str, bool], bool]],
) -> None:
    """Whatever comes and goes, and whenever the Alertmanager is away: invariants `seldom` and `true`."""
    outbox, now = Outbox(PACE), 0.0
    sent: dict[tuple[str, bool], float] = {}
    known: defaultdict[str, bool] = defaultdict(bool)
    for seconds, states, is_there in story:
        now += seconds
        due = outbox.due([alert(version, fires) for version, fires in states.items()], now)
        if not is_there:
            continue
        outbox.sent(due, now)
        for each in due:
            version = each.labels["version"]
            is_change = known[version] != each.fires
            assert is_change or now - sent.get((version, each.fires), -1e9) >= PACE.resend_seconds  # seldom
            sent[version, each.fires] = now
            known[version] = each.fires
        assert all(known[version] == fires for version, fires in states.items())  # true
        assert not any(fires for version, fires in known.items() if version not in states)
