"""What a report counts for when a host sends several, and what outlives an upgrade."""

import numpy as np
import pytest
from support.decide_world import GUILTY, KERNEL_FAULT, T0, boot_after, crash, fault, feed, installed, life

from pipeline.decide.arrays import pack, unpack
from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet
from pipeline.decide.weighing import archived
from pipeline.wire.events import AnyEvent, Signature
from pipeline.wire.partials import UpdateId
from pipeline.wire.spans import MINUTE_MS

NAME = UpdateId(GUILTY.vendor, GUILTY.product, GUILTY.version)


@pytest.fixture(scope="module")
def rolled_out() -> bytes:
    """An hour before the update, and twenty minutes in which a tenth of the hosts get it."""
    detector = Detector("acme", PolicySet())
    feed(detector, life(T0 - 60 * MINUTE_MS, T0 + 20 * MINUTE_MS, GUILTY), MINUTE_MS)
    return detector.snapshot()


def counted(raw: bytes, events: list[AnyEvent]) -> list[float]:
    """Crashed hosts with the update, control ones, and those in history, after these reports."""
    detector = Detector.restore(raw, PolicySet())
    feed(detector, events)
    state, update = detector.state, detector.state.names.updates.get(NAME)
    return [float(x.sum()) for x in (state.counts.counted[update], state.counts.control[update], state.history.crashes)]


def test_a_boot_of_unknown_moment_and_the_crash_are_one_control_host(rolled_out: bytes) -> None:
    """Hosts without the update that send both, the boot first, count once, as if they had sent either."""
    ts = T0 + 20 * MINUTE_MS
    crashes = [
        crash(host, ts + 1_000 * host, installed(host, ts, GUILTY, 10), KERNEL_FAULT) for host in range(1, 40, 2)
    ]
    boots: list[AnyEvent] = [boot_after(event, event.ts - 500) for event in crashes]
    assert counted(rolled_out, [*boots, *crashes]) == counted(rolled_out, [*crashes]) == counted(rolled_out, boots)


def test_a_site_s_crash_counts_three_times_a_signature(rolled_out: bytes) -> None:
    """Of twelve hosts of a site that crash within a minute, half of them for the second time today, three are evidence
    for the signature that they share."""
    ts = T0 + 20 * MINUTE_MS
    hosts = [40 * n for n in range(12)]
    has = installed(0, ts, GUILTY, 10)
    before: list[AnyEvent] = [
        crash(host, ts + 70_000 * n, has, Signature("0x1", "a")) for n, host in enumerate(hosts[:6])
    ]
    cut: list[AnyEvent] = [crash(host, ts + 15 * MINUTE_MS + n, has, KERNEL_FAULT) for n, host in enumerate(hosts)]
    detector = Detector.restore(rolled_out, PolicySet())
    feed(detector, [*before, *cut])
    state, names = detector.state, detector.state.names
    update, signature = names.updates.get(NAME), names.signatures.get(("0x50", "csagent.sys"))
    assert detector.weighed is not None
    (place,) = np.flatnonzero(state.book.slots[update] == signature)
    assert 2 <= detector.weighed.totals.signature_exposed[update, place] <= 3  # the first gives it its place


def test_a_snapshot_of_an_earlier_version_goes_on(rolled_out: bytes) -> None:
    """Without what it had not yet, a snapshot is restored to full size, and can forget its updates."""
    larger = Detector.restore(rolled_out, PolicySet())
    for number in range(20):
        larger.state.names.updates.add(UpdateId("many", str(number), "1"))
    larger.state.resize()
    data = unpack(larger.snapshot())
    assert data["parts"]["book"]["slots"].shape == larger.state.book.slots.shape
    for part, name in (("clock", "recent"), ("ages", "unwatched"), ("counts", "masked")):
        del data["parts"][part][name]
    state = Detector.restore(pack(data), PolicySet()).state
    assert state.counts.masked.shape == state.ages.since.shape
    state.forget([update for update, _ in state.names.updates.live()])
    assert state.names.updates.live() == []


def test_whoever_gets_a_freed_place_begins_anew(rolled_out: bytes) -> None:
    """Nothing of the update that had the place is left, and the archive knows no share of the new one."""
    detector = Detector.restore(rolled_out, PolicySet())
    feed(detector, fault(3, T0 + 20 * MINUTE_MS, T0 + 21 * MINUTE_MS, GUILTY))
    state, update = detector.state, detector.state.names.updates.get(NAME)
    state.counts.masked[update] = 5.0
    state.forget([update])
    assert state.names.updates.add(UpdateId("new", "one", "1")) == update
    for by_update in (
        state.ages.since,
        state.ages.seen,
        state.counts.masked,
        state.counts.crashed,
        state.counts.control,
    ):
        assert not np.any(by_update[update])
    assert state.archive.shares
    assert all(np.isnan(share[:, update]).all() for _, share in state.archive.shares)
    assert np.isfinite(archived(state, state.archive.shares[-1][0])).all()
