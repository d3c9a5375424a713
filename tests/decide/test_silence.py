"""Hosts that fall silent after an update: what is evidence, what is vetoed, and what is taken back."""

from collections.abc import Callable, Iterable

import msgspec
import numpy as np
import pytest
from support.folding import fold_all

from pipeline.combine.emit import partials_of
from pipeline.decide.detector import Detector
from pipeline.decide.evidence import LN10, log_mixture
from pipeline.decide.orders import HaltOrder
from pipeline.decide.policy import PolicySet
from pipeline.decide.silence import silence
from pipeline.decide.silence.hosts import HOSTS_PER_STRATUM, Heard, Hosts
from pipeline.wire.events import Heartbeat, Update
from pipeline.wire.partials import UpdateId
from pipeline.wire.spans import DAY_MS, HOUR_MS, MINUTE_MS

T0 = 1_721_347_200_000  # midnight: when the update comes
HOSTS, CANARY = 240, 48
FROM = T0 - 33 * HOUR_MS
GUILTY = Update("crowdstrike", "falcon-content", "291", T0)
TRAVELLER = Update("crowdstrike", "falcon-sensor", "7.16", T0)
OLD = Update("google", "chrome", "126", T0 - 20 * HOUR_MS)
NAME = UpdateId(*(getattr(GUILTY, part) for part in ("vendor", "product", "version")))

Told = Callable[[int, int], bool]  # whether a host's heartbeat of then arrives


def has(host: int, at: int, update: Update) -> bool:
    """The canary ring has it within half an hour, nobody else."""
    return host < CANARY and at >= update.installed_at + host * MINUTE_MS // 2


def beat(host: int, at: int, updates: tuple[Update, ...]) -> Heartbeat:
    """Sites are of two regions, whatever the ring."""
    ring = "canary" if host < CANARY else "early" if host % 4 else "broad"
    site = f"site-{host % 12}"
    listed = tuple([update for update in updates if has(host, at, update)])
    return Heartbeat(
        v=1, id=f"{host}-{at}", fleet="acme", host=f"h{host}", ts=at, ring=ring, os="os", model=f"model-{host % 2}",
        region=f"region-{host % 2}", site=site, updates=listed,
    )  # fmt: skip


def beats(from_ms: int, to_ms: int, told: Told = lambda host, at: True, *updates: Update) -> list[Heartbeat]:
    """Every host's, hourly."""
    events = []
    for host in range(HOSTS):
        phase = host * 7_919 * 1_013 % HOUR_MS
        first = from_ms + (phase - from_ms) % HOUR_MS
        events += [beat(host, at, updates) for at in range(first, to_ms, HOUR_MS) if told(host, at)]
    return sorted(events, key=lambda event: event.ts)


def feed(
    detector: Detector, events: Iterable[Heartbeat], cut_ms: int = 10 * MINUTE_MS, slot: str = "0"
) -> list[HaltOrder]:
    """Partials of one combiner."""
    batches: dict[int, list[Heartbeat]] = {}
    for event in events:
        batches.setdefault(event.ts // cut_ms, []).append(event)
    halts: list[HaltOrder] = []
    for batch in batches.values():
        fold = fold_all(batch, lambda index: (0, index))
        for each in partials_of(fold, slot, batch[-1].ts):
            halts += detector.step(each).halts
    return halts


def evidence(detector: Detector, update: UpdateId = NAME) -> float:
    """log10 of what silence says."""
    log = detector.state.silence.logs.get(detector.state.names.updates.get(update))
    return 0.0 if log is None else float(log_mixture(log)) / LN10


def dies(host: int, at: int) -> bool:
    """Most of the canary ring, five minutes after it got the update: never heard of again."""
    return host < CANARY * 6 // 10 and has(host, at - 5 * MINUTE_MS, GUILTY)


def lives(host: int, at: int) -> bool:
    return not dies(host, at)


@pytest.fixture(scope="module")
def ordinary_days() -> bytes:
    """The snapshot of a detector that has followed all hosts for a day and a half."""
    detector = Detector("acme", PolicySet())
    assert feed(detector, beats(FROM, T0, lambda host, at: True, OLD)) == []
    return detector.snapshot()


def after(raw: bytes, told: Told, *updates: Update, hours: int = 4) -> tuple[Detector, list[HaltOrder]]:
    """The detector after these hours, and its halts."""
    detector = Detector.restore(raw, PolicySet())
    return detector, feed(detector, beats(T0, T0 + hours * HOUR_MS, told, *updates))


def test_hosts_that_never_tell_again_halt_what_has_just_come(ordinary_days: bytes) -> None:
    """Three of five canary hosts die and nobody reports a crash: the update halts within two hours, and it is said that
    this was inferred. What came the day before is not blamed; the same push without deaths is no evidence."""
    detector, halts = after(ordinary_days, lives, GUILTY, OLD)
    (halt,) = halts
    assert (halt.version, halt.evidence.explanation.kind, halt.evidence.crashed_hosts) == ("291", "silence", 0)
    assert halt.evidence.stream_time <= T0 + 2 * HOUR_MS
    assert "inferred" in halt.reason
    assert "falling_silent" in halt.evidence.flags
    assert halt.evidence.observed > 4 * halt.evidence.expected
    assert evidence(detector, UpdateId("google", "chrome", "126")) == 0
    detector, halts = after(ordinary_days, lambda host, at: True, GUILTY, OLD)
    assert (halts, evidence(detector)) == ([], 0)


def test_two_that_came_together_are_inseparable(ordinary_days: bytes) -> None:
    """Silence cannot tell them apart: both halt once twenty hosts are silent, and say so."""
    _, halts = after(ordinary_days, lives, GUILTY, TRAVELLER)
    assert {halt.version for halt in halts} == {"291", "7.16"}
    assert all("inseparable" in halt.evidence.flags and halt.evidence.observed >= 20 for halt in halts)


def within(at: int, from_minutes: int, to_minutes: int) -> bool:
    return T0 + from_minutes * MINUTE_MS <= at < T0 + to_minutes * MINUTE_MS


def highest(detector: Detector, events: list[Heartbeat]) -> float:
    """The most that silence said meanwhile, log10."""
    most = 0.0
    for first in range(0, len(events), 20):
        feed(detector, events[first : first + 20])
        most = max(most, evidence(detector))
    return most


CUT_OFF: dict[str, Callable[[int], bool]] = {
    "collectors": lambda host: True,
    "region": lambda host: host % 2 == 0 or host < CANARY,
    "site": lambda host: host < CANARY,
}


def moved(event: Heartbeat, to: str) -> Heartbeat:
    """The canary ring lies in one region, or makes up one site."""
    if event.ring == "canary" and to != "collectors":
        return msgspec.structs.replace(event, region="region-0", site="lab" if to == "site" else event.site)
    return event


@pytest.fixture(scope="module", params=CUT_OFF)
def elsewhere(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """What is cut off, and the snapshot of a fleet whose canary ring lies there."""
    detector = Detector("acme", PolicySet())
    feed(detector, [moved(event, request.param) for event in beats(FROM, T0)])
    return request.param, detector.snapshot()


@pytest.mark.parametrize("minutes", [10, 60, 180])
def test_who_cannot_be_heard_is_no_evidence(
    elsewhere: tuple[str, bytes], minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collectors down, a region or a site cut off, for minutes or hours after the push: no evidence, and it is said.
    Without the look at who is heard at all, what a region or a site does not say would be much."""
    name, raw = elsewhere

    def told(host: int, at: int) -> bool:
        return not (CUT_OFF[name](host) and within(at, 20, 20 + minutes))

    events = [moved(event, name) for event in beats(T0, T0 + 5 * HOUR_MS, told, GUILTY)]
    assert highest(Detector.restore(raw, PolicySet()), events) < 1
    detector = Detector.restore(raw, PolicySet())
    feed(detector, [event for event in events if event.ts < T0 + (45 + minutes) * MINUTE_MS])
    assert detector.state.silence.unheard()
    if minutes == 180 and name != "collectors":
        monkeypatch.setattr(silence, "DEAF_SHARE", 0.0)
        assert highest(Detector.restore(raw, PolicySet()), events) > 1


def test_a_combiner_that_is_behind_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two, the one that has the canary ring's hosts tells of the push, then stands still for hours. What it
    brings after that is heard."""
    first = Detector("acme", PolicySet())
    for slot, events in shares_of(beats(FROM, T0)):
        feed(first, events, slot=slot)
    raw = first.snapshot()
    late = shares_of(beats(T0, T0 + 4 * HOUR_MS, lambda host, at: True, GUILTY), T0 + 3 * HOUR_MS)
    for share, is_evidence in ((0.5, False), (0.0, True)):
        monkeypatch.setattr(silence, "DEAF_SHARE", share)
        detector, most = Detector.restore(raw, PolicySet()), 0.0
        for slot, events in late:
            feed(detector, events, slot=slot)
            most = max(most, evidence(detector))
        assert (most > 2) == is_evidence
        assert evidence(detector) < 1
        assert detector.summary()["silence"]["silent"] == 0  # type: ignore[index]


def shares_of(events: list[Heartbeat], stands_until: int = 0) -> list[tuple[str, list[Heartbeat]]]:
    """By ten minutes of arrival: slot and events. Slot 1 has the canary ring and as many others; from twenty
    minutes after the push until then it stands still."""
    found: dict[tuple[int, str], list[Heartbeat]] = {}
    for event in events:
        slot = "1" if int(event.host[1:]) < 2 * CANARY else "0"
        arrives = max(event.ts, stands_until) if slot == "1" and event.ts > T0 + 20 * MINUTE_MS else event.ts
        found.setdefault((arrives // (10 * MINUTE_MS), slot), []).append(event)
    return [(key[1], found[key]) for key in sorted(found)]


@pytest.mark.parametrize("is_usual", [True, False])
def test_machines_that_are_switched_off_at_night_are_not_missed(is_usual: bool) -> None:
    """The canary ring's are off from an hour after the push, as they were the night before: no evidence. Had they been
    on that night, it would be."""

    def told(host: int, at: int) -> bool:
        is_night = (at - T0) % DAY_MS // HOUR_MS in range(1, 11)
        return not (host < CANARY and is_night and (is_usual or at > T0))

    detector = Detector("acme", PolicySet())
    feed(detector, beats(FROM, T0, told))
    assert (highest(detector, beats(T0, T0 + 5 * HOUR_MS, told, GUILTY)) > 2) == (not is_usual)


def test_who_comes_back_takes_it_back(ordinary_days: bytes) -> None:
    """The dead hosts were only asleep for three hours."""

    def told(host: int, at: int) -> bool:
        return lives(host, at) or at > T0 + 3 * HOUR_MS

    detector = Detector.restore(ordinary_days, PolicySet())
    events = beats(T0, T0 + 5 * HOUR_MS, told, GUILTY)
    assert highest(detector, [event for event in events if event.ts < T0 + 3 * HOUR_MS]) > 6
    feed(detector, [event for event in events if event.ts >= T0 + 3 * HOUR_MS])
    assert evidence(detector) < 1
    assert detector.state.silence.of(detector.state.names.updates.get(NAME)).observed < 1


def fallen(detector: Detector, judged: int) -> dict[int, int]:
    """Silent hosts, by hash, and since which minute, as far as both have judged."""
    hosts = detector.state.silence.hosts
    pairs = zip(hosts.hash.tolist(), hosts.silent_since.tolist(), strict=True)
    return {host: since for host, since in pairs if 0 < since <= judged}


def test_silence_survives_a_snapshot_and_any_cut(ordinary_days: bytes) -> None:
    """Restored in between it comes to the same bytes; cut otherwise, the same hosts are silent, at the same minutes."""
    events = beats(T0, T0 + 3 * HOUR_MS, lives, GUILTY)
    straight = Detector.restore(ordinary_days, PolicySet())
    feed(straight, events)
    again, coarse = (Detector.restore(ordinary_days, PolicySet()) for _ in range(2))
    half = T0 + 90 * MINUTE_MS
    feed(again, [event for event in events if event.ts < half])
    again = Detector.restore(again.snapshot(), PolicySet())
    feed(again, [event for event in events if event.ts >= half])
    assert again.snapshot() == straight.snapshot()
    feed(coarse, events, 20 * MINUTE_MS)
    judged = min(each.state.silence.minute for each in (straight, coarse))
    assert fallen(coarse, judged) == fallen(straight, judged) != {}
    assert evidence(coarse) == pytest.approx(evidence(straight), rel=0.1)


def test_so_many_hosts_are_followed_and_no_more() -> None:
    """Of a stratum those with the smallest hashes; of a cell and minute that was full none with a larger hash than its
    sample could hold: it may have reported."""
    hosts, rows = Hosts(), HOSTS_PER_STRATUM + 500
    zeros, hashes = np.zeros(rows, np.int64), np.random.default_rng(1).permutation(rows).astype(np.uint64)
    minute = np.arange(rows, dtype=np.int64) // 10  # ten a minute: none is full
    hosts.hear(Heard(minute, zeros, zeros, hashes, zeros, zeros), rows)
    assert len(hosts) == HOSTS_PER_STRATUM
    assert hosts.hash.max() == HOSTS_PER_STRATUM - 1
    first = np.arange(20, dtype=np.int64)
    hosts.hear(Heard(first * 0 + 200, first * 0, first * 0, first.astype(np.uint64), first * 0, first * 0), 200)
    assert hosts.hash.tolist() == list(range(16))
