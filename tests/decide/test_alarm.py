"""The unattributed alarm: a fleet that crashes far more than it ever did, and nobody can be named."""

import random

import numpy as np
import pytest
from support.decide_world import GUILTY, HOSTS, KERNEL_FAULT, T0, crash, fault, feed, heartbeat, installed, life

from pipeline.decide.alarm.rise import BETS, log_rise
from pipeline.decide.alarm.telling import threshold_of
from pipeline.decide.alarm.watch import Alarm
from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet
from pipeline.wire.events import AnyEvent, Crash
from pipeline.wire.record_keys import is_alarm, is_of_fleet
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

BEGAN = T0 - 4 * HOUR_MS
OUTAGE_MINUTES = 30


def outage(hosts: int) -> list[AnyEvent]:
    """So many hosts crash within half an hour, whatever they have."""
    draw = random.Random(5)
    return [
        crash(host, T0 + draw.randrange(OUTAGE_MINUTES * MINUTE_MS), (), KERNEL_FAULT)
        for host in draw.sample(range(HOSTS), hosts)
    ]


def without_updates(from_ms: int, to_ms: int) -> list[AnyEvent]:
    """The fleet's life, of hosts that list nothing."""
    return [
        crash(int(event.host[1:]), event.ts, (), event.signature)
        if isinstance(event, Crash)
        else heartbeat(int(event.host[1:]), event.ts, ())
        for event in life(from_ms, to_ms)
    ]


@pytest.fixture(scope="module")
def quiet() -> bytes:
    """A detector that has seen four hours of a fleet that lists no updates."""
    detector = Detector("acme", PolicySet())
    assert not feed(detector, without_updates(BEGAN, T0)).alarms
    return detector.snapshot()


def test_a_fleet_that_crashes_for_no_known_reason_sounds_until_it_does_so_no_more(quiet: bytes) -> None:
    """Without any listed update: an alarm with key FLEET/-/alarm and figures, no halt, and an end; also after a restart
    in between."""
    detector = Detector.restore(quiet, PolicySet())
    first = feed(detector, [*without_updates(T0, T0 + HOUR_MS // 2), *outage(150)])
    detector = Detector.restore(detector.snapshot(), PolicySet())
    assert detector.summary()["alarm"] == {"sounds": True, "since": first.alarms[0].since, "times": 1}
    then = feed(detector, without_updates(T0 + HOUR_MS // 2, T0 + 2 * HOUR_MS))
    told = first.alarms + then.alarms
    assert not first.halts
    assert not then.halts
    assert {alarm.key for alarm in told} == {"acme/-/alarm"}
    assert is_alarm(told[0].key.encode())
    assert is_of_fleet(told[0].key.encode())
    assert told[0].state == "sounding"
    assert T0 <= told[0].since < told[0].at < T0 + 25 * MINUTE_MS
    assert told[0].rise > told[0].tolerated_rise == 5
    assert told[0].log10_evidence > told[0].threshold > 6
    assert (told[0].signatures[0].code, told[0].signatures[0].module) == ("0x50", "csagent.sys")
    assert [alarm.state for alarm in told[:-1]] == ["sounding"] * (len(told) - 1)
    assert (told[-1].state, told[-1].ended) == ("over", "usual")
    assert told[-1].over_at < T0 + 75 * MINUTE_MS
    assert told[-1].crashed_hosts >= 100
    assert not detector.summary()["alarm"]["sounds"]


def test_one_host_that_flaps_is_no_alarm(quiet: bytes) -> None:
    """Four hundred crashes of one host and as many dirty boots are one crashed host."""
    detector = Detector.restore(quiet, PolicySet())
    flapping = [crash(7, T0 + n * 9_000, (), KERNEL_FAULT) for n in range(400)]
    assert not feed(detector, [*without_updates(T0, T0 + HOUR_MS), *flapping]).alarms


def test_one_host_that_flaps_keeps_no_alarm_up(quiet: bytes) -> None:
    """It goes on to crash, and the alarm ends all the same."""
    detector = Detector.restore(quiet, PolicySet())
    flapping = [crash(7, T0 + n * 20_000, (), KERNEL_FAULT) for n in range(400)]
    told = feed(detector, [*without_updates(T0, T0 + 2 * HOUR_MS), *outage(150), *flapping]).alarms
    assert told[-1].ended == "usual"


def test_what_a_halt_explains_is_no_alarm() -> None:
    """Every one of 300 exposed hosts crashes: the update is halted, and nothing is left to be alarmed about."""
    detector = Detector("acme", PolicySet())
    bad = fault(300, T0 + 5 * MINUTE_MS, T0 + 50 * MINUTE_MS, GUILTY)
    fed = feed(detector, [*life(BEGAN, T0 + HOUR_MS, GUILTY), *bad])
    assert fed.halted == {("crowdstrike", "falcon-content", "291")}
    assert not fed.alarms


def test_without_history_it_says_so() -> None:
    """All at once on a fleet that nobody knew: no update can be named, for all have it; a fifth of the hosts crash."""
    detector = Detector("acme", PolicySet())
    beats: list[AnyEvent] = [
        heartbeat(host, T0 + host * 400, installed(host, T0 + host * 400, GUILTY, 1)) for host in range(HOSTS)
    ]
    bad = fault(HOSTS // 5, T0 + 2 * MINUTE_MS, T0 + 20 * MINUTE_MS, GUILTY, 5)
    fed = feed(detector, [*beats, *bad])
    assert not fed.halts
    assert fed.alarms[0].flags == ("no_history",)
    assert fed.alarms[0].suspects[0].update == "crowdstrike/falcon-content/291"


def minutes(alarm: Alarm, rates: np.ndarray, trials: np.ndarray, seed: int) -> int:
    """How often it began, over minutes of these crashes and trials."""
    draw, first = np.random.default_rng(seed), 28_000_000
    for number, (rate, tried) in enumerate(zip(rates, trials, strict=True)):
        alarm.pass_minute(first + number, threshold_of(0.001))
        alarm.enter_trials(np.array([6 * (first + number)]), np.array([int(tried)]))
        alarm.enter_crashes(first + number, {0: int(draw.poisson(rate))})
    return alarm.times


DAYS = 4
TIME = np.arange(DAYS * 1_440) / 1_440
HARMLESS = {
    # as many trials all day, and crashes that swing by 5
    "daily cycle": (0.6 * (1 + 2 / 3 * np.sin(2 * np.pi * (TIME - 0.3))), np.full(len(TIME), 80.0)),
    "weekend": (0.5 * np.where((TIME > 1) & (TIME < 3), 0.2, 1.0), 80 * np.where((TIME > 1) & (TIME < 3), 0.2, 1.0)),
    "a fleet that grows": (0.02 * 40 ** (TIME / DAYS), 4 * 40 ** (TIME / DAYS)),
    "collectors that lose trials": (np.full(len(TIME), 0.5), np.where((TIME > 2) & (TIME < 2.3), 0.0, 80.0)),
    "what never crashed": (np.full(len(TIME), 0.002), np.full(len(TIME), 20.0)),
}


@pytest.mark.parametrize("what", sorted(HARMLESS))
def test_what_is_usual_is_no_alarm(what: str) -> None:
    """Days that differ, weekends, ramps and lost trials."""
    assert minutes(Alarm(), *HARMLESS[what], seed=1) == 0


def test_ten_times_the_worst_hour_is_one() -> None:
    """And it is one alarm, not several; what was crashed in it does not become usual."""
    alarm, rates, trials = Alarm(), *HARMLESS["daily cycle"]
    rates = rates.copy()
    rates[3 * 1_440 + 700 : 3 * 1_440 + 745] *= 10
    assert minutes(alarm, rates, trials, seed=2) == 1
    assert not alarm.sounds
    assert alarm.minutes.usual().per_minute < 2.5


def test_the_bound_holds_at_its_edge() -> None:
    """Crashes exactly as many as are tolerated: within so many minutes the detector reaches minutes / alpha in
    hardly more than alpha of the runs; and what is computed at once is the sum of what began at each minute."""
    alpha, runs, length, expected = 0.05, 2_000, 240, 1.5
    crashed = np.random.default_rng(3).poisson(expected, (runs, length)).astype(np.float64)
    sums, reached = np.zeros((runs, len(BETS))), np.zeros(runs, dtype=np.bool_)
    for minute in range(length):
        sums = (sums + 1.0) * BETS ** crashed[:, minute, None] * np.exp(-(BETS - 1.0) * expected)
        reached |= sums.mean(axis=1) >= length / alpha
    assert reached.mean() <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)
    whole, _ = log_rise(crashed[0], np.full(length, expected))
    assert whole == pytest.approx(float(np.log(sums[0].mean())))
