"""What counts as history, for how long an update is compared with it, and what the hosts without it leave open."""

import msgspec
import numpy as np
import pytest
from support.decide_world import GUILTY, KERNEL_FAULT, T0, boot_after, crash, feed, heartbeat

from pipeline.decide.arrays import Sizes
from pipeline.decide.detector import Detector
from pipeline.decide.evidence import SHOCK_LIMIT, common_crashes
from pipeline.decide.history import HISTORY_BUCKETS, WATCHED_BUCKETS, History, Past
from pipeline.decide.policy import PolicySet
from pipeline.decide.samples import Archive
from pipeline.decide.trials import Trials
from pipeline.decide.verdicts import flags_of
from pipeline.wire.events import AnyEvent, Signature
from pipeline.wire.partials import BUCKET_MS
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

ONE = np.zeros(1, dtype=np.int64)


def history(trials: float, crashes: float, from_ms: int, to_ms: int) -> History:
    """Of one stratum."""
    found = History()
    found.advance(from_ms)
    found.advance(to_ms)
    found.trials[0, found.place(to_ms)], found.crashes[0, found.place(to_ms)] = trials, crashes
    return found


@pytest.mark.parametrize(
    ("minutes", "trials", "ready"), [(38, 5_000, False), (119, 5_000, False), (120, 5_000, True), (120, 499, False)]
)
def test_history_is_time_spanned_and_needs_no_crash(minutes: int, trials: float, ready: bool) -> None:
    """38 minutes across a full hour are no two hours; many trials without a crash are history."""
    from_ms = T0 + 59 * MINUTE_MS
    assert history(trials, 0, from_ms, from_ms + minutes * MINUTE_MS).ready() == ready


def test_a_rate_without_a_crash_is_a_limit_that_trials_bring_down() -> None:
    """Some 2 to 5 in the number of trials."""
    for trials in (1_000.0, 100_000.0):
        found = history(trials, 0, T0, T0 + 3 * HOUR_MS)
        assert 2 < found.upper_rates()[0] * trials < 5


def test_each_ring_has_its_own_hours() -> None:
    """Trials and crashes count from an update's first exposure in a ring, for two hours; those of another ring that
    comes later have theirs. A signature never seen before the update counts for ever."""
    past, ready = Past(), history(10_000, 5, T0, T0 + 3 * HOUR_MS)
    past.resize(Sizes(2, 1, 0))
    past.begin(ONE, ready)
    rings = np.array([0, 1, *[0] * 6])

    def expose(bucket: int, stratum: int) -> None:
        at, ring = np.array([bucket]), rings[[stratum]]
        past.begin_rings(at, ONE, ring, rings, ready)
        past.expose(np.array([stratum]), ONE, np.array([10.0]), np.array([1.5]), past.is_young(at, ONE, ring), ONE > 0)

    expose(1_000, 0)
    expose(1_000 + HISTORY_BUCKETS, 0)
    assert past.trials[0] == 10
    expose(1_000 + HISTORY_BUCKETS, 1)
    assert past.trials[0] == 20
    assert past.expected[0] == pytest.approx(1.5 * past.usual[0])
    for ring, bucket in ((0, 1_000), (0, 1_000 + HISTORY_BUCKETS), (1, 1_000 + HISTORY_BUCKETS)):
        past.crash([0], ring, bucket)
        for place in (0, 15):
            slots = np.full((8, 16), -1)
            slots[0, place] = 7
            past.crash_named([0], slots, 7, ring, bucket)
    assert past.crashed[0] == 2
    assert (past.named[0, 0], past.named[0, 15]) == (3, 2)


def test_what_control_hosts_leave_open_of_a_common_cause() -> None:
    """Many calm ones leave little; none leave as large a shock as SHOCK_LIMIT; crashes of theirs leave their like."""

    def expected(crashes: float, control: float) -> float:
        counts = (np.array(each) for each in (crashes, 1_000.0, control, 0.5, 1e-4))
        return float(common_crashes(*counts))

    assert expected(0, 1e6) < 0.01
    assert expected(0, 0) == pytest.approx(SHOCK_LIMIT * 0.1, rel=0.1)
    assert 0.5 * 9 < expected(9, 0) == expected(9, 1e6) < 0.5 * 18


def test_a_late_crash_is_judged_at_the_largest_share_since_its_own_time() -> None:
    """Not at the largest of four hours; of all when it is older than all; an update that came since has that of now."""
    archive = Archive()
    for number, share in enumerate((0.1, 0.5, 0.2, 0.2, 0.2, 0.3), 10):
        archive.add(number, np.full((1, 1), share))
    found = [float(archive.largest(number, np.full((1, 1), 0.25))[0, 0]) for number in (12, 14, 15, 16, 9)]
    assert found == [0.3, 0.3, 0.3, 0.3, 0.5]
    archive.add(16, np.full((1, 1), np.nan))
    assert archive.largest(15, np.full((1, 2), 0.25)).tolist() == [[0.3, 0.25]]


def told(late: float, minutes: int = 160) -> Trials:
    """An update comes to nine tenths two hours into it; each minute one trial comes in time, and so many with times
    hours behind. A hundred hosts crash in 12,000 trials."""
    trials = Trials()
    trials.resize(Sizes(1, 1, 0))
    for minute in range(minutes):
        now = 12_000 + 6 * minute
        trials.advance(now)
        trials.listen(100.0, 12_000.0)
        for bucket, many in ((now, 1.0), (now - 900, late)):
            trials.add_trials(np.array([bucket]), ONE, ONE, np.array([many]))
            share = np.array([0.9 * many * (minute >= 120)])
            trials.add_listed(trials.exposed, np.array([bucket]), ONE, ONE, ONE, share)
    return trials


def test_the_share_lags_by_no_more_crashes_where_most_trials_come_late() -> None:
    """Trials of clocks that are wrong hardly weigh: as many of a full weight take twenty times as long to come, and
    twenty times as many hosts crash meanwhile."""
    trials, pools = told(late=20.0), np.ones((1, 8))
    slow = float(trials.exposed[2].sum() / trials.trials[2].sum())
    assert slow < 0.6
    assert np.all(trials.lags() < 6)
    trials.survey(pools)
    assert 0.85 < trials.shares(ONE, pools).upper[0, 0] < 0.95
    trials.arrived[:3] = trials.arrived[3]  # as if all had come in time
    trials.survey(pools)
    assert trials.shares(ONE, pools).upper[0, 0] < 0.75


def test_trials_in_time_weigh_in_full_however_the_stream_is_cut() -> None:
    """Late is what lies more than a minute before what the last partial reached, not before this one's end."""
    assert told(late=0.0).lags().tolist() == [40.0] * 3
    trials = told(late=0.0)
    trials.advance(trials.bucket + 60)
    trials.add_trials(np.array([trials.bucket - 60]), ONE, ONE, np.array([500.0]))
    assert trials.lags().tolist() == [40.0] * 3
    trials.add_trials(np.array([trials.bucket - 67]), ONE, ONE, np.array([500.0]))
    assert trials.lags()[0] < 40.0


def test_a_stratum_without_trials_takes_the_share_of_its_pools() -> None:
    """Of those that have trials; where none has, nothing is known: the share is 1."""
    trials, at = Trials(), np.array([1_000])
    trials.resize(Sizes(3, 1, 0))
    trials.advance(1_000)
    trials.add_trials(at, ONE, ONE, np.array([400.0]))
    trials.add_listed(trials.exposed, at, ONE, ONE, ONE, np.array([40.0]))
    strata = trials.trials.shape[2]
    pools = np.zeros((3, strata))
    pools[0, :2] = pools[1, 1] = pools[2, 2] = 1.0  # all but the third; the second; the third
    trials.survey(pools)
    for share in trials.shares(np.array([0, 1, 2]), pools):
        own, blind, alone = share[:, 0]
        assert own == pytest.approx(0.1, abs=0.005)
        assert blind == pytest.approx(0.1, abs=0.005)
        assert alone > 0.99


def test_only_crash_reports_list_updates() -> None:
    """Heartbeats list nothing: nobody knows who else has the update, so no halt, and the verdict says `unlisted`."""
    detector = Detector("acme", PolicySet())
    events: list[AnyEvent] = [heartbeat(host, T0 + host * 900, ()) for host in range(2_000)]
    events += [crash(host, T0 + HOUR_MS // 2 + host * 997, (GUILTY,), KERNEL_FAULT) for host in range(60)]
    fed = feed(detector, events, MINUTE_MS)
    assert fed.halts == []
    assert detector.weighed is not None
    assert detector.weighed.explained.total.max() > 14
    assert "unlisted" in flags_of(detector.weighed, 0)


def test_heartbeats_that_list_no_updates_are_no_trials() -> None:
    """Boots list them, heartbeats do not, and half of the hosts have it: it is held until that is known, then boots
    alone are trials; no history. Once heartbeats list something they count again."""
    detector, boots = Detector("acme", PolicySet()), range(0, 2_000, 5)
    events: list[AnyEvent] = [heartbeat(host, T0 + minute * MINUTE_MS + host, ()) for minute in range(0, 120, 30)
                              for host in range(2_000)]  # fmt: skip
    listed = [(heartbeat(host, T0 + host * 3_000, (GUILTY,) * (host % 2)), T0 + host * 3_000) for host in boots]
    events += [msgspec.structs.replace(boot_after(*each), prior="clean", prior_ended_at=None) for each in listed]
    events += [crash(host, T0 + host * 3_600, (GUILTY,) * (host % 2), KERNEL_FAULT) for host in range(1, 2_000, 33)]
    fed = feed(detector, events, MINUTE_MS)
    assert fed.halts == []
    assert detector.weighed is not None
    assert detector.state.trials.deaf.tolist() == [False, True]
    assert detector.weighed.explained.log10[0] < 1
    assert detector.state.book.exposed[0] > 10
    assert "no_history" in flags_of(detector.weighed, 0)
    restored = Detector.restore(detector.snapshot(), PolicySet())
    feed(restored, [heartbeat(1, T0 + 2 * HOUR_MS, (GUILTY,)), heartbeat(2, T0 + 2 * HOUR_MS + MINUTE_MS, ())])
    assert not restored.state.trials.deaf.any()


def test_dirty_boots_without_site_and_signature_are_one_event() -> None:
    """Forty in a minute count like one site's; with a signature each counts."""
    for signature, counted in ((Signature("", ""), 3), (KERNEL_FAULT, 40)):
        detector = Detector("acme", PolicySet())
        crashes = [crash(host, T0 + host, (GUILTY,), signature) for host in range(40)]
        feed(detector, [msgspec.structs.replace(each, site="") for each in crashes])
        assert detector.state.counts.counted.sum() == counted


@pytest.mark.parametrize(
    ("past_hours", "control_trials", "crashes_elsewhere", "lasts"),
    [
        (21, 100.0, 0.0, WATCHED_BUCKETS),
        (19, 100.0, 0.0, HISTORY_BUCKETS),
        (21, 99.0, 0.0, HISTORY_BUCKETS),
        (21, 100.0, 9.0, HISTORY_BUCKETS),
    ],
)
def test_a_ring_has_a_day_while_enough_others_show_that_nothing_comes_to_all(
    past_hours: int, control_trials: float, crashes_elsewhere: float, lasts: int
) -> None:
    """It takes a past of a day, as many trials without the update as with it, and no rise among those."""
    past, before = Past(), history(10_000.0, 10.0, T0 - past_hours * HOUR_MS, T0)
    past.resize(Sizes(1, 1, 1))
    first = T0 // BUCKET_MS
    past.begin(ONE, before)
    past.begin_rings(np.array([first]), ONE, ONE, np.zeros(len(past.rates), dtype=np.int64), before)
    assert past.of_a_day(first + HISTORY_BUCKETS - 1).tolist() == []
    some = past.of_a_day(first + HISTORY_BUCKETS)
    assert some.tolist() == ([0] if past_hours > 20 else [])
    past.elsewhere[:] = crashes_elsewhere
    control = np.zeros((len(past.rates), len(some)))
    control[0] = control_trials
    past.watch_elsewhere(some, control, np.full(len(some), 100.0))
    young = [bool(past.is_young(np.array([first + at]), ONE, ONE)[0]) for at in (lasts - 1, lasts)]
    assert young == [True, False]


@pytest.mark.parametrize(("boots", "surge"), [(10_000.0, 1.0), (4_000.0, 2.5), (0.0, 10.0)])
def test_a_push_that_makes_hosts_boot_is_expected_to_bring_what_boots_bring(boots: float, surge: float) -> None:
    """Ten exposed boots are expected to crash as often as all the trials that there were for as many in the past."""
    past, before = Past(), history(10_000.0, 10.0, T0 - 3 * HOUR_MS, T0)
    before.boots[before.place(T0)] = boots
    past.resize(Sizes(1, 1, 1))
    at = np.array([T0 // BUCKET_MS])
    past.begin(ONE, before)
    past.begin_rings(at, ONE, ONE, np.zeros(len(past.rates), dtype=np.int64), before)
    past.expose(ONE, ONE, np.array([10.0]), np.array([1.5]), ONE == 0, ONE == 0)
    assert past.surge()[0] == pytest.approx(surge, rel=0.01)
    past.expose(ONE, ONE, np.array([990.0]), np.array([1.5]), ONE == 0, ONE > 0)
    assert past.surge()[0] == pytest.approx(max(1.0, surge / 100), rel=0.01)
