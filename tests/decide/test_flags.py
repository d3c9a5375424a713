"""Flags of a verdict, each where it belongs, and only there: no_history, overdue, vetoed_by_shock, inseparable."""

import msgspec
import pytest
from support.decide_world import (
    GUILTY,
    HOSTS,
    KERNEL_FAULT,
    T0,
    Fed,
    crash,
    fault,
    feed,
    heartbeat,
    installed,
    life,
)

from pipeline.decide.attribution import INSEPARABLE_CRASHES
from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet
from pipeline.wire.events import AnyEvent, Crash, Update
from pipeline.wire.partials import BUCKET_MS
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

TRAVELLER = Update("crowdstrike", "falcon-sensor", "7.16", T0)


@pytest.fixture(scope="module")
def ordinary_morning() -> bytes:
    """The snapshot of a detector that has seen three ordinary hours, until T0."""
    detector = Detector("acme", PolicySet())
    feed(detector, life(T0 - 3 * HOUR_MS, T0), MINUTE_MS)
    return detector.snapshot()


def go_on(raw: bytes, events: list[AnyEvent], cut_ms: int = MINUTE_MS) -> Fed:
    """What the detector of that snapshot says to these events."""
    return feed(Detector.restore(raw, PolicySet()), events, cut_ms)


def flags(fed: Fed, update: Update) -> tuple[str, ...]:
    """As last told."""
    return [verdict.flags for verdict in fed.verdicts if verdict.version == update.version][-1]


def test_an_update_of_a_fleet_without_a_past_has_no_history(ordinary_morning: bytes) -> None:
    """Twenty minutes after the first event there is no usual crash rate; after an ordinary morning there is."""
    rollout = life(T0, T0 + 20 * MINUTE_MS, GUILTY)
    new = Detector("acme", PolicySet())
    assert "no_history" in flags(feed(new, rollout, MINUTE_MS), GUILTY)
    assert "no_history" not in flags(go_on(ordinary_morning, rollout), GUILTY)


def test_hosts_that_fall_silent_after_an_update_are_overdue(ordinary_morning: bytes) -> None:
    """An hour of reports, then for two none of the update's hosts: it is `overdue`. The browser is not, nor an update
    whose hosts go on."""
    rollout = life(T0, T0 + 3 * HOUR_MS, GUILTY)
    silent = [event for event in rollout if event.ts < T0 + HOUR_MS or GUILTY not in event.updates]
    fed = go_on(ordinary_morning, silent)
    assert "overdue" in flags(fed, GUILTY)
    assert "overdue" not in {flag for v in fed.verdicts if v.product == "chrome" for flag in v.flags}
    assert all("overdue" not in v.flags for v in go_on(ordinary_morning, rollout).verdicts)


def pushed(host: int, ts: int) -> tuple[Update, ...]:
    """Four of five hosts get the update at once."""
    return installed(host, ts, GUILTY if host % 5 else None, 1)


@pytest.mark.parametrize("control_crashes", [True, False])
def test_a_shock_that_control_shows_vetoes_history(control_crashes: bool, ordinary_morning: bytes) -> None:
    """Crashes rise a hundredfold after a push to most hosts. If the others crash as much, history proves nothing: it is
    `vetoed_by_shock`, whatever the evidence. If none of them does, history halts, and nothing is vetoed."""
    moments = [(host, T0 + host * 1_201 * 997 % HOUR_MS) for host in range(HOSTS)]
    events: list[AnyEvent] = [heartbeat(host, ts, pushed(host, ts)) for host, ts in moments]
    for number in range(250):
        host, ts = number * 29 % HOSTS, T0 + 40 * MINUTE_MS + number * 1_600
        if control_crashes or host % 5:
            events.append(crash(host, ts, pushed(host, ts), KERNEL_FAULT))
    fed = go_on(ordinary_morning, events, BUCKET_MS)
    strong = [v for v in fed.verdicts if v.version == GUILTY.version and v.log10_evidence >= v.threshold]
    assert {v.basis for v in strong} >= {"historical"}
    assert {"vetoed_by_shock" in v.flags for v in strong} == {control_crashes}
    assert fed.halted == (set() if control_crashes else {(GUILTY.vendor, GUILTY.product, GUILTY.version)})
    assert all("vetoed_by_shock" not in halt.evidence.flags for halt in fed.halts)
    assert all(("historical, which assumes more" in h.reason) == (h.evidence.basis == "historical") for h in fed.halts)


def test_an_explanation_names_something_or_is_none(ordinary_morning: bytes) -> None:
    """While nothing speaks against an update, no ring or stratum without a name is what explains it."""
    events = life(T0, T0 + HOUR_MS, GUILTY, 3)
    crashed = [event for event in events if GUILTY not in event.updates and int(event.host[1:]) % 14 in (3, 6)]
    events += [crash(int(event.host[1:]), event.ts + 1, event.updates, KERNEL_FAULT) for event in crashed]
    fed = go_on(ordinary_morning, events)
    found = {verdict.explanation for verdict in fed.verdicts}
    assert not [each for each in found if each.kind in ("ring", "stratum") and not each.strata]
    assert not [part for each in found for part in each.strata if part.endswith("=")]


@pytest.mark.parametrize(("share", "halted", "flag"), [(1, {GUILTY, TRAVELLER}, True), (2, {GUILTY}, False)])
def test_updates_on_the_same_hosts_are_inseparable(
    share: int, halted: set[Update], flag: bool, ordinary_morning: bytes
) -> None:
    """Two that the same hosts have both halt, and say `inseparable`; where half of the hosts have only one of them,
    that one halts alone, and is sure of itself."""
    events = life(T0, T0 + 20 * MINUTE_MS, GUILTY)
    events += fault(40, T0 + 10 * MINUTE_MS, T0 + 14 * MINUTE_MS, GUILTY)
    fed = go_on(ordinary_morning, [with_traveller(event, share) for event in events], BUCKET_MS)
    assert fed.halted == {(update.vendor, update.product, update.version) for update in halted}
    assert {"inseparable" in halt.evidence.flags for halt in fed.halts} == {flag}
    if flag:  # no host has one alone: nothing is gained by waiting for it
        assert {halt.evidence.crashed_hosts < INSEPARABLE_CRASHES for halt in fed.halts} == {True}


def test_what_crashes_only_with_another_halts_with_it(ordinary_morning: bytes) -> None:
    """A third of the hosts has both, as many have one alone, and by now those would have told: neither is at fault
    alone."""
    events = life(T0, T0 + HOUR_MS, GUILTY)
    events += fault(60, T0 + 20 * MINUTE_MS, T0 + 50 * MINUTE_MS, GUILTY)
    events = [with_traveller(each, 3) if int(each.host[1:]) // 10 % 3 != 1 else other(each) for each in events]
    both = {GUILTY, TRAVELLER}
    kept = [e for e in events if not isinstance(e, Crash) or e.signature != KERNEL_FAULT or both <= {*e.updates}]
    fed = go_on(ordinary_morning, kept, BUCKET_MS)
    halted = {halt.product: halt.evidence for halt in fed.halts}
    assert halted.keys() == {update.product for update in both}
    assert {found.crashed_hosts < INSEPARABLE_CRASHES for found in halted.values()} == {True}


def other(event: AnyEvent) -> AnyEvent:
    """The event of a host that has got the other update instead."""
    return msgspec.structs.replace(event, updates=tuple(TRAVELLER if u == GUILTY else u for u in event.updates))


def with_traveller(event: AnyEvent, share: int) -> AnyEvent:
    """The event of a host that, if it is a `share`-th of those with the update, has got another one with it."""
    if GUILTY not in event.updates or int(event.host.removeprefix("h")) // 10 % share:
        return event
    return msgspec.structs.replace(event, updates=(*event.updates, TRAVELLER))
