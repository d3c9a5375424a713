"""What is to be obeyed, looked at only where something has changed: the same as from all records read anew, at every
moment, in any order of records, disturbances, heartbeats and time, be it that clocks go back."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.rollout_world import DETECTOR, HOUR_MS, NOW, STRANGER, Message, beat, feed, gate_of, halt, instead

from consumers.rollout.orders import Order, Orders
from pipeline.halt.safety import MISSING, UNNAMED, SafetyRecord
from pipeline.wire.record_keys import fleet_of, update_key

VERSIONS = ["a", "b", "c"]
KEYS = {version: update_key("acme", "crowdstrike", "falcon-content", version) for version in VERSIONS}
VERSION = st.sampled_from(VERSIONS)
RINGS = st.sampled_from([("*",), ("*",), ("canary",), ("broad", "canary")])
STEP = st.one_of(
    st.tuples(st.sampled_from(["halt", "resume", "resume", "forged", "old", "spoilt"]), VERSION, RINGS),
    st.tuples(st.just("beat"), st.sets(VERSION), st.integers(0, 2)),
    st.tuples(st.sampled_from(["old beat", "other beat", "no beat"]), st.sets(VERSION), st.integers(0, 2)),
    st.tuples(st.just("time"), st.sampled_from([1, 31, 31, 600, 3_601, -31, -3_601]), st.none()),  # seconds
)
BACK_AND_FORTH = [("time", seconds, None) for seconds in (12, -5, 6)]  # around the end of a resume


class History:
    """What is said, each step at its time. A halt or resume stands for an hour."""

    def __init__(self) -> None:
        self.now, self.epochs = NOW, dict.fromkeys(VERSIONS, 0)

    def after(self, what: str, about: Any, more: Any) -> list[Message]:
        """The records of one step."""
        if what == "time":
            self.now += about * 1000
            return []
        if "beat" in what:
            at = self.now - 60_000 if what == "old beat" else self.now
            named = [(KEYS[version], max(1, self.epochs[version])) for version in sorted(about)]
            fleet = "other" if what == "other beat" else "acme"
            said = beat(at, *named, fleet=fleet, standing_total=len(named) + more)
            return [instead(said, None) if what == "no beat" else said]
        action = "resume" if what == "resume" else "halt"
        times = {"issued_at": self.now, "expires_at": self.now + HOUR_MS}
        if what in ("halt", "resume"):
            self.epochs[about] += 1 + (action == "resume" and not self.epochs[about])
        epoch = max(1, self.epochs[about] - (what == "old"))
        key = STRANGER if what == "forged" else DETECTOR
        said = halt(epoch, action, key, version=about, rings=more, **times)
        return [instead(said, None) if what == "spoilt" else said]


def told(orders: Mapping[str, tuple[Order, ...]]) -> dict[str, list[Order]]:
    """All but the words, which tell how long ago something was when it was first seen."""
    return {key: [msgspec.structs.replace(each, reason="") for each in held] for key, held in orders.items() if held}


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=14))
@example([("beat", set(), 2), ("time", 1, None), ("resume", "a", ("*",)), ("beat", set(), 2)])
@example([("resume", "a", ("*",)), ("time", 3_590, None), ("beat", set(), 0), *BACK_AND_FORTH])
def test_what_has_changed_is_all_that_has(steps: list[tuple[str, Any, Any]]) -> None:
    """One who follows changes, and one who begins anew, have the same orders, and the same doubts."""
    followed, log, history = gate_of(), list[Message](), History()
    orders, held = Orders(followed.record, ["acme"]), dict[str, tuple[Order, ...]]()
    for step in steps:
        for message in history.after(*step):
            log.append(message)
            feed(followed, message)
        held |= orders.changes(history.now)
        assert orders.changes(history.now) == {}
        assert told(held) == told(Orders(gate_of(*log).record, ["acme"]).changes(history.now))
        assert {doubt.key: doubt.reason for doubt in followed.record.doubts()} == walked(followed.record)


def walked(record: SafetyRecord) -> dict[str, str]:
    """The doubts by their definition: what a heartbeat names must be shown, and what it counts without a name be
    accounted for by others that may have stood then."""
    spoilt = dict(record._doubts)
    found = dict(spoilt)
    for fleet, heard in record.beats.items():
        named = {each.key: each.epoch for each in heard.standing or ()}
        for key, epoch in named.items():
            held = record.halts.get(key)
            if held is None or held.rank[:2] < (epoch, True):
                found.setdefault(key, MISSING)
        others = {key for key in spoilt if fleet_of(key.encode()) == fleet} | {
            key
            for key, held in record.halts.items()
            if held.fleet == fleet and (held.action == "halt" or held.issued_at > heard.at)
        }
        if len(others - named.keys()) < heard.standing_total - len(named):
            found.setdefault(fleet, UNNAMED)
    return found


def test_nothing_is_looked_at_that_has_not_changed() -> None:
    """Of ten thousand halts a new one, a heartbeat and a resume concern one each; time concerns those that end."""
    gate = gate_of(*(halt(version="a", epoch=1), halt(version="b", expires_at=NOW + 90_000)))
    orders = Orders(gate.record, ["acme"])
    assert sorted(orders.changes(NOW)) == [KEYS["a"], KEYS["b"]]
    feed(gate, halt(version="c"))
    assert list(orders.changes(NOW)) == [KEYS["c"]]
    feed(gate, beat(NOW, *((key, 1) for key in KEYS.values())))
    assert orders.changes(NOW) == {}
    (ended,) = orders.changes(NOW + 90_000).items()
    assert ended[0] == KEYS["b"]
    assert "was not renewed" in ended[1][0].reason


@pytest.mark.parametrize("hours", [-30, -5, -1, 1, 5, 30])
def test_a_clock_that_is_hours_off_lets_nothing_go_on(hours: int) -> None:
    """A halt is one whatever the time; a resume needs a detector that is heard now, and ends when the detector's clock
    says so, though this one's be behind."""
    wrong = NOW + hours * HOUR_MS
    resumed = gate_of(beat(), halt(version="a"), halt(2, "resume", version="b"))
    held = Orders(resumed.record, ["acme"]).changes(wrong)
    assert [order.action for order in held[KEYS["a"]]] == ["halt"]
    assert [order.action for order in held.get(KEYS["b"], ())] == (["halt"] if hours > 0 else [])
    late = gate_of(beat(NOW + 2 * HOUR_MS), halt(2, "resume"))
    ((ended,),) = Orders(late.record, ["acme"]).changes(min(wrong, NOW)).values()
    assert (ended.action, "stands again" in ended.reason) == ("halt", True)
