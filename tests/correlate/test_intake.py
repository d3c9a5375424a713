"""What the correlator takes from `fleet.partials`: times and counts such as one micro-batch can have, and no others."""

import asyncio
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from support.correlate_worker import partial
from support.correlate_world import UPDATE, Clock, World, correlator, epochs, record
from support.folding import partials_all

from pipeline.bench.latency_load import TrialFleet
from pipeline.correlate.check import BROKERS_APART_MS, check_partial
from pipeline.correlate.ports import Bounds
from pipeline.correlate.records import PartialReader
from pipeline.correlate.shipped import ShippedDetectors
from pipeline.correlate.view import health
from pipeline.wire.deadletter import DeadLetter
from pipeline.wire.decode import decode_event
from pipeline.wire.events import MAX_SKEW_MS
from pipeline.wire.partials import BUCKET_MS, MAX_PARTIAL_BYTES, CrashRecord, Notes, Partial, encode_partial
from pipeline.wire.seal import SEAL_BYTES, Seal
from pipeline.wire.spans import DAY_MS, MINUTE_MS
from pipeline.wire.verdicts import CLOCKS_AHEAD, STREAM_TIME_AHEAD, decode_heartbeat

NOW = 1_790_000_000_000
LATEST = NOW + MAX_SKEW_MS + BROKERS_APART_MS
YEAR_2477 = 16_000_000_000_000


@cache
def honest(now_ms: int = NOW) -> Partial:
    """As the combiner writes it: trials, exposures, samples and two crashes."""
    fleet = TrialFleet(hosts=1_000, trials=10)
    raws = [fleet.heartbeat(host, now_ms)[1] for host in range(200)]
    raws += [fleet.crash(host, now_ms, "0x50")[1] for host in (300, 301)]
    (found,) = partials_all([decode_event(raw) for raw in raws], now_ms)
    return replace(found, cut=rows([now_ms // BUCKET_MS, 0, 1]), cut_exposures=rows([now_ms // BUCKET_MS, 0, 0, 1, 0]))


def rows(*numbers: list[int]) -> bytes:
    """As a partial has them."""
    return np.array(numbers, "<i4").tobytes()


def crash(**changes: object) -> Callable[[Partial], Partial]:
    """The partial with its first crash changed."""
    return lambda p: replace(p, crashes=(replace(p.crashes[0], **changes), *p.crashes[1:]))


def sample(**changes: object) -> Callable[[Partial], Partial]:
    """The partial with its first sample changed."""
    return lambda p: replace(p, samples=(replace(p.samples[0], **changes), *p.samples[1:]))


def fields(**changes: object) -> Callable[[Partial], Partial]:
    """The partial with other fields."""
    return lambda p: replace(p, **changes)


AHEAD = LATEST // BUCKET_MS + 1
BAD: dict[str, Callable[[Partial], Partial]] = {
    "crashes: at": crash(at=LATEST + 1),
    "crashes: at ": crash(at=2**64 - 1),
    "crashes: at  ": crash(at=-1),
    "crashes: place": crash(offset=2**64 - 1),
    "crashes: stratum": crash(stratum=10_000),
    "crashes: 65 updates": crash(exposed=(0,) * 65),
    "crashes: update": crash(excluded=(10_000,)),
    "crashes: update ": crash(later=(10_000,)),
    "samples: minute": sample(minute=LATEST // MINUTE_MS + 1),
    "samples: host_hash": sample(host_hash=-1),
    "samples: 65 updates": sample(exposed=(0,) * 65),
    "ingested_at_ms": fields(ingested_at_ms=LATEST + 1),
    "events": fields(events=50_001),
    "repeats, undated": fields(repeats=203),
    "trials: bucket": fields(trials=rows([AHEAD, 0, 1])),
    "trials: bucket ": fields(trials=rows([0, 0, 1])),
    "trials: count": fields(trials=rows([NOW // BUCKET_MS, 0, 50_001])),
    "trials and crashes": fields(trials=rows([NOW // BUCKET_MS, 0, 50_000])),
    "exposures: bucket": fields(exposures=rows([AHEAD, 0, 0, 1, 0])),
    "exposures: count": fields(exposures=rows([NOW // BUCKET_MS, 0, 0, 1, 50_001])),
    "exposures:": fields(exposures=rows([NOW // BUCKET_MS, 0, 0, 50_000, 50_000]) * 33),
    "cut: bucket": fields(cut=rows([AHEAD, 0, 1])),
    "cut: count": fields(cut=rows([NOW // BUCKET_MS, 0, 50_001])),
    "cut_exposures: bucket": fields(cut_exposures=rows([AHEAD, 0, 0, 1, 0])),
    "cut_exposures: count": fields(cut_exposures=rows([NOW // BUCKET_MS, 0, 0, 50_001, 0])),
    "characters of a text": crash(host="h" * 129),
    "notes: words": fields(tail=Notes({f"w{n}": 1 for n in range(65)})),
    "notes: counts": fields(tail=Notes({"updates_cut": -1})),
    "notes: hosts": fields(tail=Notes({}, {f"h{n}": 1 for n in range(101)})),
    "notes: ahead": fields(tail=Notes({}, {"h": -1})),
    "notes: characters": fields(tail=Notes({}, {"h" * 129: 1})),
    "installs: bucket": fields(tail=Notes({}, {}, rows([AHEAD, 0, 1]))),
    "installs: column 1": fields(tail=Notes({}, {}, rows([NOW // BUCKET_MS, 10_000, 1]))),
    "installs: a negative number": fields(tail=Notes({}, {}, rows([NOW // BUCKET_MS, 0, -1]))),
    "installs: 5 bytes": fields(tail=Notes({}, {}, b"12345")),
}


@pytest.mark.parametrize("name", BAD)
def test_what_no_batch_can_hold_is_refused(name: str) -> None:
    """Each time later than the record itself may have it, each count above a batch's: the letter names the field."""
    bad = BAD[name](honest())
    found = PartialReader().read(record(7, encode_partial(bad), NOW))
    assert isinstance(found, DeadLetter)
    assert (found.reason, found.offset, found.value) == ("malformed_partial", 7, encode_partial(bad))
    assert found.detail.startswith(name.strip())


def test_what_a_batch_can_hold_is_taken() -> None:
    """Also at the very edge: an event that its own broker let pass by a hair, under a broker whose clock is ahead."""
    assert PartialReader().read(record(0, encode_partial(honest()), NOW)) == honest()
    assert PartialReader().read(record(0, encode_partial(honest()), NOW + DAY_MS)) == honest()
    check_partial(crash(at=LATEST)(honest()), NOW)
    check_partial(fields(trials=rows([LATEST // BUCKET_MS, 0, 49_997]))(honest()), NOW)


def test_larger_than_any_partial_is_refused_unread() -> None:
    """Nobody decodes what no combiner writes."""
    found = PartialReader().read(record(0, b"\x9f" * (MAX_PARTIAL_BYTES + SEAL_BYTES), NOW))
    assert isinstance(found, DeadLetter)
    assert found.detail.startswith(f"{MAX_PARTIAL_BYTES + SEAL_BYTES} bytes")


def disaster(at_ms: int) -> list[bytes]:
    """Twenty seconds of a fleet, of which every host with update 3 crashes in the end."""
    fleet, log = TrialFleet(hosts=20_000, trials=10), list[bytes]()
    for batch in range(20):
        now = at_ms + batch * 1_000
        raws = [fleet.heartbeat(batch * 400 + host, now)[1] for host in range(400)]
        raws += [fleet.crash(batch * 100 + 3 + host, now, "0x50")[1] for host in (0, 10, 20) if batch >= 10]
        log += [encode_partial(p) for p in partials_all([decode_event(raw) for raw in raws], now, batch * 1_000)]
    return log


def forged() -> bytes:
    """One message from the year 2477, about hosts that never were."""
    crashes = tuple(
        CrashRecord(YEAR_2477 - j * 10_000, f"ghost-{j}", 0, "0x50", "x.sys", f"s{j}", (), (), 0, j) for j in range(200)
    )
    trials = rows(*([YEAR_2477 // BUCKET_MS - k, 0, 1_000] for k in range(30)))
    return encode_partial(replace(honest(), fleet="bench", trials=trials, crashes=crashes))


def test_one_partial_from_the_future_blinds_nobody(tmp_path: Path) -> None:
    """It becomes a dead letter, stream time stays, and the disaster after it is halted as if it had not been."""

    async def scene(log: list[bytes]) -> World:
        world = World(log)
        process = correlator(world, tmp_path, Clock(), ShippedDetectors.from_file(""))
        await process.recover(world.bounds(), {})
        process.began(0, None, 0)
        for offset, value in enumerate(log):
            await process.handle(record(offset, value, NOW + MINUTE_MS), process.session)
        summary = process.fleets.by_name["bench"].detector.summary()
        assert NOW <= summary["stream_time"] < NOW + MINUTE_MS
        return world

    calm = asyncio.run(scene(disaster(NOW)))
    assert epochs(calm) == [("bench/acme/agent-3/2.0", 1, ("*",))]
    world = asyncio.run(scene([forged(), *disaster(NOW)]))
    assert epochs(world) == epochs(calm)
    assert [letter["reason"] for letter in world.letters()] == [b"malformed_partial"]


def test_a_state_of_a_time_to_come_is_built_anew(tmp_path: Path) -> None:
    """A checkpoint that was written when such a partial was still believed is not taken up: what is retained is read
    again, the partial is refused, and the disaster after it is halted."""

    async def scene() -> None:
        world = World([forged(), *disaster(NOW)])
        detectors = ShippedDetectors.from_file("")
        before = correlator(world, tmp_path, Clock(), detectors)
        await before.recover(world.bounds(), {})
        before.began(0, None, 0)
        await before.handle(record(0, world.log[0], YEAR_2477 + MINUTE_MS), before.session)
        assert before.fleets.by_name["bench"].detector.summary()["stream_time"] > NOW + DAY_MS
        await before.checkpoint(0)
        assert world.committed == 1
        process = correlator(world, tmp_path, Clock(), detectors)
        await process.recover(world.bounds(), dict(world.table))
        assert process.fleets.by_name == {}
        assert process.began(0, world.committed, 0) == 0
        for offset, value in enumerate(world.log):
            await process.handle(record(offset, value, NOW + MINUTE_MS), process.session)
        assert epochs(world) == [("bench/acme/agent-3/2.0", 1, ("*",))]
        assert [letter["reason"] for letter in world.letters()] == [b"malformed_partial"]

    asyncio.run(scene())


def test_a_stream_time_ahead_of_the_clock_is_said(tmp_path: Path) -> None:
    """The heartbeat has the flag and the view names the fleet, for as long as it is ahead."""

    async def scene() -> None:
        world, clock = World([]), Clock()
        process = correlator(world, tmp_path, clock)  # whose detector's stream time stands still
        await process.recover(world.bounds(), {})
        process.began(0, None, 0)
        await process.handle(record(0, encode_partial(partial("acme", 1))), process.session)
        flags = []
        for clock.now in (NOW - 10 * MINUTE_MS, NOW - MINUTE_MS, NOW - DAY_MS):
            await process.heartbeat()
            flags.append(decode_heartbeat(world.records[-1][2]).flags)
            assert health(process, clock.now)["stream_time_ahead"] == ["acme"] * len(flags[-1])
        assert flags == [(STREAM_TIME_AHEAD,), (), (STREAM_TIME_AHEAD,)]

    asyncio.run(scene())


def test_clocks_of_many_hosts_are_said(tmp_path: Path) -> None:
    """Ten hosts whose clocks are ahead: the heartbeat has the flag, health the number; nine are their own trouble."""

    async def scene() -> None:
        world, clock = World([]), Clock()
        process = correlator(world, tmp_path, clock)
        await process.recover(world.bounds(), {})
        process.began(0, None, 0)
        for offset, (fleet, hosts) in enumerate([("acme", 10), ("beta", 9)]):
            ahead = Notes(clocks_ahead={f"h{number}": DAY_MS for number in range(hosts)})
            told = replace(partial(fleet, 1), tail=ahead)
            await process.handle(record(offset, encode_partial(told)), process.session)
        clock.now = NOW
        await process.heartbeat()
        beats = [decode_heartbeat(made[2]) for made in world.records if made[1].endswith(b"heartbeat")]
        assert {beat.fleet: CLOCKS_AHEAD in beat.flags for beat in beats} == {"acme": True, "beta": False}
        assert health(process, clock.now)["clocks_ahead"] == {"acme": 10}

    asyncio.run(scene())


def test_a_genuine_partial_on_another_partition_blinds_nobody(tmp_path: Path) -> None:
    """Repeated there, at a high offset, it is refused: what comes on the fleet's own partition still counts."""

    async def scene() -> None:
        genuine = encode_partial(partial("acme", 1))
        world = World([genuine, encode_partial(partial("acme", 2))])
        process = correlator(world, tmp_path, Clock())
        await process.recover(world.bounds() | {1: Bounds(0, 1_001)}, {})
        process.began(0, None, 0)
        process.began(1, None, 1_000)
        await process.handle(record(0, world.log[0]), process.session)
        await process.handle(record(1_000, genuine)._replace(partition=1, after=1_000), process.session)
        await process.handle(record(1, world.log[1]), process.session)
        assert process.fleets.by_name["acme"].events == 3
        assert [(letter["reason"], letter["partition"]) for letter in world.letters()] == [(b"malformed_partial", b"1")]

    asyncio.run(scene())


class Widened(World):
    """Partitions were added to `fleet.partials`: where a fleet belongs is another, or not known yet."""

    place: int | None = None

    def partition_of(self, fleet: str) -> int | None:
        """As told."""
        return self.place


@pytest.mark.parametrize("place", [None, 1], ids=["seen-by-others-first", "after-a-restart"])
def test_added_partitions_turn_nothing_genuine_away(tmp_path: Path, place: int | None) -> None:
    """What came before and what comes now counts, from either partition; the fleet's place in its log stays its own."""

    async def scene() -> None:
        world = Widened([encode_partial(partial("acme", events)) for events in (1, 2)])
        process = correlator(world, tmp_path, Clock())
        await process.recover(world.bounds() | {1: Bounds(0, 1_001)}, {})
        process.began(0, None, 0)
        process.began(1, None, 1_000)
        await process.handle(record(0, world.log[0]), process.session)
        world.place = place
        moved = encode_partial(partial("acme", 4))
        await process.handle(record(1_000, moved)._replace(partition=1, after=1_000), process.session)
        await process.handle(record(1, world.log[1]), process.session)
        assert world.letters() == []
        assert process.fleets.by_name["acme"].events == 7
        assert process.fleets.by_name["acme"].offset == 1
        await process.checkpoint(0)
        process.fleets.handled(0, 50)  # of other fleets
        await process.handle(record(1_001, moved)._replace(partition=1, after=1_001), process.session)
        assert process.fleets.commit_offset(0) == 51

    asyncio.run(scene())


SECRET = "s" * 32


def test_what_the_combiner_did_not_seal_is_not_believed(tmp_path: Path) -> None:
    """One message of whoever may write the topic halts nothing, and is counted; sealed, the same would."""
    guilty = encode_partial(partial("acme", 90, (UPDATE,)))
    sealed = Seal([SECRET]).sealed(guilty)

    async def scene() -> None:
        world = World([guilty, Seal(["x" * 32]).sealed(guilty), sealed[:-1], sealed])
        process = correlator(world, tmp_path, Clock(), partials=PartialReader(Seal([SECRET])))
        await process.recover(world.bounds(), {})
        process.began(0, None, 0)
        assert health(process, NOW)["partials_sealed"]
        for offset in range(3):
            await process.handle(record(offset, world.log[offset]), process.session)
        assert [letter["reason"] for letter in world.letters()] == [b"unsealed_partial"] * 3
        assert [value for topic, _, value, _ in world.records if topic == "fleet.deadletter"] == world.log[:3]
        assert health(process, NOW)["partials_unsealed"] == 3
        assert epochs(world) == []
        await process.handle(record(3, sealed), process.session)
        assert [key for key, _, _ in epochs(world)] == ["acme/v/p/1"]

    asyncio.run(scene())
