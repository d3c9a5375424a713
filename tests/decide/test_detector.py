"""The detector over a small fleet: what halts, what does not, and that nothing depends on how it is run."""

import json

import pytest
from support.decide_world import (
    GUILTY,
    KERNEL_FAULT,
    ORDINARY,
    RINGS,
    T0,
    boot_after,
    crash,
    fault,
    feed,
    heartbeat,
    installed,
    life,
)
from support.folding import partials_all

from pipeline.decide.detector import Detector
from pipeline.decide.name_index import MAX_UPDATES
from pipeline.decide.policy import Policy, PolicySet
from pipeline.wire.events import AnyEvent, Signature, Update
from pipeline.wire.partials import BUCKET_MS, UpdateId
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

KEY = (GUILTY.vendor, GUILTY.product, GUILTY.version)


@pytest.fixture(scope="module")
def ordinary_morning() -> bytes:
    """The snapshot of a detector that has seen three ordinary hours, until T0."""
    detector = Detector("acme", PolicySet())
    assert feed(detector, life(T0 - 3 * HOUR_MS, T0), MINUTE_MS).halts == []
    return detector.snapshot()


@pytest.fixture(scope="module")
def rollout() -> list[AnyEvent]:
    """Twenty minutes in which a tenth of the hosts get the update."""
    return life(T0, T0 + 20 * MINUTE_MS, GUILTY)


def after(raw: bytes, **policy: object) -> Detector:
    return Detector.restore(raw, PolicySet(default=Policy(**policy)))  # type: ignore[arg-type]


def outbreak(hosts: int = 40) -> list[AnyEvent]:
    return fault(hosts, T0 + 10 * MINUTE_MS, T0 + 14 * MINUTE_MS, GUILTY)


def test_what_is_usual_is_told_of_each_ring(ordinary_morning: bytes) -> None:
    """Crashed hosts per trial, from history: of the rings that there are, and no others."""
    usual = after(ordinary_morning).summary()["baseline"]
    assert isinstance(usual, dict)
    assert usual.keys() == set(RINGS)
    assert 0 < sum(usual.values()) < 0.1


def test_a_harmful_update_is_halted_and_no_other(ordinary_morning: bytes, rollout: list[AnyEvent]) -> None:
    """One halt, of the guilty update, decided by one of its crashes, with the signature as its explanation."""
    fed = feed(after(ordinary_morning), rollout + outbreak())
    assert fed.halted == {KEY}
    (halt,) = fed.halts
    assert (halt.mode, halt.rings, halt.fleet) == ("enforce", ("*",), "acme")
    assert halt.evidence.log10_evidence >= halt.evidence.threshold == 6
    assert halt.evidence.stream_time in {event.ts for event in outbreak()}
    assert (halt.evidence.explanation.code, halt.evidence.explanation.module) == ("0x50", "csagent.sys")
    assert halt.evidence.crashed_hosts <= 30
    assert {v.state for v in fed.verdicts if v.version == "291"} >= {"halted"}


def test_without_a_fault_nothing_halts(ordinary_morning: bytes, rollout: list[AnyEvent]) -> None:
    """The same rollout without the outbreak."""
    assert feed(after(ordinary_morning), rollout).halts == []


@pytest.mark.parametrize("cut_ms", [2_000, 40_000])
def test_how_the_stream_was_cut_does_not_matter(cut_ms: int, ordinary_morning: bytes, rollout: list[AnyEvent]) -> None:
    """Other partials of the same events: the same halts, and nearly the same evidence when there is none."""
    assert feed(after(ordinary_morning), rollout + outbreak(), cut_ms).halted == {KEY}
    few = rollout + outbreak(5)
    detectors = after(ordinary_morning), after(ordinary_morning)
    one, other = feed(detectors[0], few), feed(detectors[1], few, cut_ms)
    assert one.halts == other.halts == []
    totals = [d.weighed.explained.total[d.state.names.updates.get(UpdateId(*KEY))] for d in detectors if d.weighed]
    assert totals[0] == pytest.approx(totals[1], abs=1.0)


def test_a_restored_detector_goes_on_as_if_nothing_had_been(ordinary_morning: bytes, rollout: list[AnyEvent]) -> None:
    """After any snapshot: the same decisions, and the same bytes at the end."""
    events = sorted(rollout + outbreak(), key=lambda e: e.ts)
    places = [e.ts for e in events].index(T0 + 10 * MINUTE_MS), [e.ts for e in events].index(T0 + 13 * MINUTE_MS)
    straight = after(ordinary_morning)
    for place in places:
        feed(straight, [e for e in events[:place] if e.ts > straight.state.bucket * BUCKET_MS + BUCKET_MS - 1])
        again = Detector.restore(straight.snapshot(), PolicySet())
        assert again.snapshot() == straight.snapshot()
        one, other = Detector.restore(straight.snapshot(), PolicySet()), straight
        ahead = events[place : place + 200]
        assert feed(one, ahead).halts == feed(other, ahead).halts
        assert one.snapshot() == other.snapshot()


def test_a_brief_step_decides_as_a_whole_one(ordinary_morning: bytes, rollout: list[AnyEvent]) -> None:
    """The same halts and state, and of the updates that verdicts are on the evidence that they give."""
    whole, brief = after(ordinary_morning), after(ordinary_morning)
    events, halted = sorted(rollout + outbreak(), key=lambda event: event.ts), 0
    for first in range(0, len(events), 50):
        for partial in partials_all(events[first : first + 50], events[first].ts):
            decisions, found = whole.step(partial), brief.step_briefly(partial)
            verdicts = {UpdateId(v.vendor, v.product, v.version): v.log10_evidence for v in decisions.verdicts}
            assert found[:2] == (verdicts, decisions.halts)
            halted += len(found.halts)
    assert halted == 1
    assert brief.snapshot() == whole.snapshot()


def test_foreign_bytes_are_no_snapshot() -> None:
    """A snapshot of another version is refused, not guessed at."""
    with pytest.raises(ValueError, match="snapshot version"):
        Detector.restore(b"\x81\xa7version\x63", PolicySet())


def test_a_renamed_module_is_no_fault(ordinary_morning: bytes) -> None:
    """The update's hosts crash no more often than others, but under a new name: no halt."""
    renamed = Update("vendor", "driver", "2", T0)
    ordinary = life(T0, T0 + 2 * HOUR_MS, renamed, share=2)
    crashes: list[AnyEvent] = []
    for n in range(60):
        host, at = 7 * n, T0 + (n + 10) * 100_000
        has = installed(host, at, renamed, 2)
        crashes.append(crash(host, at, has, Signature("0x1a", "new.sys") if renamed in has else ORDINARY))
    assert feed(after(ordinary_morning), ordinary + crashes, MINUTE_MS).halts == []


def test_a_boot_loop_of_one_host_halts_nothing(ordinary_morning: bytes, rollout: list[AnyEvent]) -> None:
    """1,500 crashes of one host with the update are one crashed host, whatever signatures it shows."""
    has = installed(0, T0 + 1, GUILTY, 10)
    loop: list[AnyEvent] = [
        crash(0, T0 + 5 * MINUTE_MS + 500 * n, has, Signature(f"0x{n % 3}", "csagent.sys")) for n in range(1_500)
    ]
    detector = after(ordinary_morning)
    assert feed(detector, rollout + loop).halts == []
    crashed = detector.state.counts.crashed[detector.state.names.updates.get(UpdateId(*KEY))].sum()
    assert 1 <= crashed <= 4  # itself, and ordinary crashes among the update's hosts


def test_one_fast_clock_does_not_drag_the_fleet_along(ordinary_morning: bytes, rollout: list[AnyEvent]) -> None:
    """A crash dated two days ahead moves no stream time, and the outbreak is found."""
    detector = after(ordinary_morning)
    ahead = crash(5, T0 + 48 * HOUR_MS, (), ORDINARY)
    halts = feed(detector, rollout[:400], HOUR_MS).halts
    now = detector.state.bucket
    for partial in partials_all([*rollout[400:800], ahead], T0):
        halts += detector.step(partial).halts
    assert halts == []
    assert now <= detector.state.bucket <= (T0 + 20 * MINUTE_MS) // BUCKET_MS


def test_one_fast_clock_drags_no_small_fleet_along(ordinary_morning: bytes) -> None:
    """One host of fifty that is hours ahead, in partials of a single event, moves no stream time either."""
    detector = after(ordinary_morning)
    for minute in range(10):
        ts = T0 + minute * MINUTE_MS
        for event in [*(heartbeat(host, ts, ()) for host in range(50)), heartbeat(77, ts + 9 * HOUR_MS, ())]:
            feed(detector, [event])
    assert detector.state.bucket * BUCKET_MS == T0 + 9 * MINUTE_MS


def test_late_reports_do_not_hold_stream_time_back(ordinary_morning: bytes) -> None:
    """In partials with hundreds of reports of an hour ago, the newest ones say what time it is."""
    detector = after(ordinary_morning)
    for minute in range(10):
        ts = T0 + minute * MINUTE_MS
        late = [heartbeat(host, ts - HOUR_MS - host, ()) for host in range(400)]
        feed(detector, [*late, *(heartbeat(1_000 + host, ts, ()) for host in range(400))], 2 * HOUR_MS)
        assert detector.state.bucket * BUCKET_MS == ts


def test_a_report_older_than_a_day_is_no_evidence(ordinary_morning: bytes, rollout: list[AnyEvent]) -> None:
    """Crashes of two days ago count for nothing."""
    old = Update("old", "update", "1", T0 - 60 * HOUR_MS)
    detector = after(ordinary_morning)
    feed(detector, rollout, MINUTE_MS)
    late: list[AnyEvent] = [crash(n, T0 - 48 * HOUR_MS + n, (old,), KERNEL_FAULT) for n in range(50)]
    assert feed(detector, late, HOUR_MS).halts == []
    assert detector.state.counts.crashed[detector.state.names.updates.get(UpdateId("old", "update", "1"))].sum() == 0
    assert detector.summary()["noted"]["crashes_late"] == 50  # type: ignore[index]


@pytest.mark.parametrize("cut_ms", [10_000, HOUR_MS])
def test_a_boot_that_does_not_know_when_hides_no_crash(
    cut_ms: int, ordinary_morning: bytes, rollout: list[AnyEvent]
) -> None:
    """Hosts that come up, say `prior: crash` without a moment, and send the crash itself later, count as without that
    boot; the boot alone exposes nobody."""
    vague: list[AnyEvent] = [boot_after(event, event.ts - 30_000) for event in outbreak()]
    detector, without = after(ordinary_morning), after(ordinary_morning)
    found, expected = feed(detector, rollout + vague + outbreak(), cut_ms), feed(without, rollout + outbreak(), cut_ms)
    assert [h.evidence.crashed_hosts for h in found.halts] == [h.evidence.crashed_hosts for h in expected.halts]
    assert found.halted == {KEY}
    assert feed(after(ordinary_morning), rollout + vague, cut_ms).halts == []


def test_a_crash_of_last_week_hides_none_of_today(ordinary_morning: bytes, rollout: list[AnyEvent]) -> None:
    """Queued reports of one host that come in one batch each count for their own day."""
    week = 7 * 24 * HOUR_MS
    queued: list[AnyEvent] = [crash(10 * n, T0 - week + n, (), KERNEL_FAULT) for n in range(40)]
    detector = after(ordinary_morning)
    feed(detector, rollout, MINUTE_MS)
    halts = [halt for partial in partials_all([*queued, *outbreak()], T0) for halt in detector.step(partial).halts]
    assert [(h.version, h.evidence.crashed_hosts >= 40) for h in halts] == [("291", True)]


def test_two_reports_of_a_crash_are_one_of_its_site(ordinary_morning: bytes, rollout: list[AnyEvent]) -> None:
    """Three hosts of a site that each report by a boot and by the crash itself are within what counts of a site."""
    crashes = [crash(40 * n, T0 + 15 * MINUTE_MS + n, installed(0, T0, GUILTY, 10), KERNEL_FAULT) for n in range(3)]
    boots: list[AnyEvent] = [boot_after(event, event.ts - 1_000, event.ts - 1_000) for event in crashes]
    detector = after(ordinary_morning)
    feed(detector, [*rollout, *boots, *crashes])
    update, counts = detector.state.names.updates.get(UpdateId(*KEY)), detector.state.counts
    assert counts.capped[update] == 0
    assert counts.counted[update].sum() == counts.crashed[update].sum() >= 3


def test_invented_updates_hide_none(ordinary_morning: bytes, rollout: list[AnyEvent]) -> None:
    """One sender that names more updates than there are places, before and during a rollout, keeps nobody from
    watching it."""
    detector = after(ordinary_morning)
    invented: list[AnyEvent] = [
        heartbeat(1, T0 - MINUTE_MS + BUCKET_MS * n, tuple(Update("x", f"{n}-{k}", "1", T0) for k in range(64)))
        for n in range(90)
    ]
    halts = feed(detector, invented[:50]).halts
    assert len(detector.state.names.updates) == MAX_UPDATES
    fed = feed(detector, rollout + invented[50:] + outbreak())
    assert halts == []
    assert fed.halted == {KEY}
    assert fed.halts[0].evidence.crashed_hosts <= 30
    assert detector.summary()["updates_unwatched"] == 0


def test_a_partial_with_more_updates_than_places_says_so(ordinary_morning: bytes) -> None:
    """What finds no place is counted, and nothing else suffers."""
    detector = after(ordinary_morning)
    flood: list[AnyEvent] = [
        heartbeat(1, T0 + n, tuple(Update("x", f"{n}-{k}", "1", T0 - 1) for k in range(64))) for n in range(40)
    ]
    assert feed(detector, flood).halts == []
    assert detector.summary()["updates_unwatched"] == 40 * 64 - (MAX_UPDATES - 1)
    assert detector.state.names.updates.get(UpdateId("google", "chrome", "126")) >= 0


def test_below_the_minimum_of_crashed_hosts_nothing_halts(ordinary_morning: bytes, rollout: list[AnyEvent]) -> None:
    """However strong the evidence is."""
    fed = feed(after(ordinary_morning, minimum_crashed_hosts=100), rollout + outbreak())
    assert fed.halts == []
    assert fed.evidence(GUILTY) > 6


def test_a_shadow_policy_decides_but_does_not_enforce(ordinary_morning: bytes, rollout: list[AnyEvent]) -> None:
    """The order and the verdicts say that it would have been halted."""
    fed = feed(after(ordinary_morning, mode="shadow"), rollout + outbreak())
    assert [h.mode for h in fed.halts] == ["shadow"]
    assert "shadow_halted" in {v.state for v in fed.verdicts}
    assert "halted" not in {v.state for v in fed.verdicts}


def test_past_the_limit_of_halts_a_person_is_asked(ordinary_morning: bytes, rollout: list[AnyEvent]) -> None:
    """With no halt allowed in an hour, the first one waits."""
    fed = feed(after(ordinary_morning, max_halts_per_hour=0), rollout + outbreak())
    assert [h.mode for h in fed.halts] == ["pending"]
    assert "pending" in {v.state for v in fed.verdicts}


def test_a_harmless_update_is_cleared_when_it_has_earned_it(ordinary_morning: bytes) -> None:
    """The browser, on every other host, is cleared of large risks; before, the record says what is missing."""
    detector = after(ordinary_morning, clear_risk=10.0, reporting_delay_minutes=0.0)
    fed = feed(detector, life(T0, T0 + 4 * HOUR_MS), MINUTE_MS)
    states = [v.state for v in fed.verdicts if v.product == "chrome"]
    assert "cleared" in states
    assert any(v.needs_trials > 0 for v in fed.verdicts if v.state == "watching")
    assert fed.halts == []


def test_nothing_is_cleared_before_late_reports_may_have_come(ordinary_morning: bytes) -> None:
    """With a reporting delay of a day, four good hours clear nothing."""
    detector = after(ordinary_morning, clear_risk=10.0, reporting_delay_minutes=1_440.0)
    assert "cleared" not in {v.state for v in feed(detector, life(T0, T0 + 2 * HOUR_MS), MINUTE_MS).verdicts}


HOSTILE = [
    "'; DROP TABLE events; --",
    "<script>alert(1)</script>",
    "\x1b[2J\x00\r\n",
    "../../etc/passwd",
    "𝕌\u202e" + "x" * 120,
    "a/b/c/*",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_data(text: str, ordinary_morning: bytes) -> None:
    """Names are kept as they are, through snapshot, halt and verdict."""
    bad = Update(text, text, text, T0)
    events = life(T0, T0 + 12 * MINUTE_MS, bad) + [
        crash(10 * n, T0 + 8 * MINUTE_MS + 5_000 * n, installed(10 * n, T0 + 1 + n, bad, 10), Signature(text, text))
        for n in range(40)
    ]
    detector = after(ordinary_morning)
    fed = feed(detector, events)
    assert fed.halted == {(text, text, text)}
    assert fed.halts[0].evidence.explanation.code == text
    assert Detector.restore(detector.snapshot(), PolicySet()).snapshot() == detector.snapshot()
    json.dumps(detector.summary())
