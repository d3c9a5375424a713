"""Whether what is halted still reaches hosts: what verdicts say of rollouts that obey, and of one that does not."""

from collections.abc import Iterator

import msgspec
import pytest
from support.decide_world import GUILTY, KERNEL_FAULT, T0, Fed, crash, heartbeat, life
from support.folding import partials_all

from pipeline.decide.arrays import pack, unpack
from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet
from pipeline.wire.events import AnyEvent, Update
from pipeline.wire.partials import NO_NOTES, UpdateId
from pipeline.wire.spans import MINUTE_MS
from pipeline.wire.verdicts import Verdict

NAME = UpdateId(GUILTY.vendor, GUILTY.product, GUILTY.version)
EVERY_MS = 6_000  # a host installs: ten a minute
CRASHING = 60  # of the first hosts
END_MS = T0 + 45 * MINUTE_MS


@pytest.fixture(scope="module")
def before() -> bytes:
    """The snapshot of a detector that has seen an ordinary hour, until T0."""
    detector = Detector("acme", PolicySet())
    play(detector, life(T0 - 60 * MINUTE_MS, T0))
    return detector.snapshot()


def rollout(stops_ms: int, every_ms: int = EVERY_MS) -> Iterator[AnyEvent]:
    """One host after the other installs the update until then, and says so 20 s later; the first ones crash."""
    for n, at in enumerate(range(T0, stops_ms, every_ms)):
        has = (Update(*NAME, at),)
        yield heartbeat(n, at + 20_000, has)
        if n < CRASHING:
            yield crash(n, at + 30_000, has, KERNEL_FAULT)


def play(detector: Detector, events: list[AnyEvent], told: bool = True) -> Fed:
    """Partials of ten seconds each; `told`: their combiner tells of installations."""
    fed = Fed([], [])
    batches: dict[int, list[AnyEvent]] = {}
    for event in sorted(events, key=lambda event: event.ts):
        batches.setdefault(event.ts // 10_000, []).append(event)
    for batch in batches.values():
        for partial in partials_all(batch, batch[-1].ts):
            given = partial if told else msgspec.structs.replace(partial, tail=NO_NOTES)
            decisions = detector.step(given)
            fed.halts += decisions.halts
            fed.verdicts += decisions.verdicts
    return fed


def verdicts(before: bytes, stops_ms: int, every_ms: int = EVERY_MS, told: bool = True) -> list[Verdict]:
    """What was said of the update by one of its rings, in order."""
    events = [*life(T0, END_MS), *rollout(stops_ms, every_ms)]
    fed = play(Detector.restore(before, PolicySet()), events, told)
    assert [halt.version for halt in fed.halts] == [GUILTY.version]
    return [verdict for verdict in fed.verdicts if verdict.version == GUILTY.version and verdict.ring == "broad"]


def test_a_halt_that_is_obeyed_goes_flat(before: bytes) -> None:
    """Ten minutes after the last installation the verdict says so at once, with that installation's moment; before, it
    does not, and while it was watched it said nothing of it."""
    last = T0 + 12 * MINUTE_MS - EVERY_MS
    told = verdicts(before, T0 + 12 * MINUTE_MS)
    assert {(v.spreading_hosts_per_minute, v.flat_since) for v in told if v.state == "watching"} <= {(None, 0)}
    flat = [v for v in told if v.flat_since]
    assert flat
    assert last + 10 * MINUTE_MS - 10_000 <= flat[0].at <= last + 11 * MINUTE_MS + 10_000
    assert {v.flat_since for v in flat} == {v.last_install for v in flat} == {last // 10_000 * 10_000}
    assert {v.spreading_hosts_per_minute for v in flat} == {0.0}
    assert not [v for v in told if v.flat_since and v.at < flat[0].at]


def test_a_halt_that_nobody_obeys_is_spreading(before: bytes) -> None:
    """Ten hosts a minute go on to install it, and the verdicts say so, to a host or so, and never flat."""
    halted = [v for v in verdicts(before, END_MS) if v.state == "halted"]
    rates = [v.spreading_hosts_per_minute or 0.0 for v in halted if v.at > T0 + 25 * MINUTE_MS]
    assert rates
    assert all(9.0 <= rate <= 10.5 for rate in rates)
    assert not any(v.flat_since for v in halted)
    assert END_MS - halted[-1].last_install < 6 * MINUTE_MS


def test_more_hosts_than_are_told_apart_are_estimated(before: bytes) -> None:
    """Two hundred hosts a minute, of which a partial names the 64 smallest hashes of each: within a third."""
    told = verdicts(before, T0 + 14 * MINUTE_MS, 300)
    rates = [v.spreading_hosts_per_minute or 0.0 for v in told if T0 + 6 * MINUTE_MS < v.at < T0 + 14 * MINUTE_MS]
    assert rates
    assert all(140 < rate < 260 for rate in rates)


def test_what_spreads_again_is_said(before: bytes) -> None:
    """Flat is no promise: an installation that is reported later makes it spread again."""
    late = END_MS - 3 * MINUTE_MS
    again = [heartbeat(2_900 + n, late + n * 1_000, (Update(*NAME, late),)) for n in range(30)]
    detector = Detector.restore(before, PolicySet())
    fed = play(detector, [*life(T0, END_MS), *rollout(T0 + 12 * MINUTE_MS), *again])
    told = [v for v in fed.verdicts if v.version == GUILTY.version and v.ring == "broad" and v.state == "halted"]
    assert any(v.flat_since for v in told)
    assert not told[-1].flat_since
    assert (told[-1].spreading_hosts_per_minute or 0) > 0
    assert told[-1].last_install == late // 10_000 * 10_000


def test_without_word_of_installations_it_is_unknown_and_nothing_else_changes(before: bytes) -> None:
    """A combiner of an earlier version tells of none: unknown, never flat; what is decided is the same either way."""
    data = unpack(before)
    data["parts"]["spreading"]["installs_told"] = False
    unknown = verdicts(pack(data), T0 + 12 * MINUTE_MS, told=False)
    assert {(v.spreading_hosts_per_minute, v.flat_since, v.last_install) for v in unknown} == {(None, 0, 0)}
    events = [*life(T0, END_MS), *rollout(END_MS)]
    with_word = play(Detector.restore(before, PolicySet()), events)
    without = play(Detector.restore(before, PolicySet()), events, told=False)
    assert with_word.halts == without.halts


def test_a_snapshot_from_before_goes_on(before: bytes) -> None:
    """State that had no word of installations is restored, says unknown, and then learns."""
    data = unpack(before)
    del data["parts"]["spreading"]
    told = verdicts(pack(data), END_MS)
    assert [v for v in told if v.spreading_hosts_per_minute]
