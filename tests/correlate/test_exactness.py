"""The correlator on a world in memory that is killed at every single step: nothing lost, nothing said twice."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.correlate_worker import STREAM_START, partial
from support.correlate_world import LOG, SHADOW, UPDATE, Clock, Killed, World, correlator, epochs, facts, live, record

from pipeline.correlate.checkpoint import (
    MAX_CHUNK_BYTES,
    VERSION,
    Entry,
    FleetState,
    Place,
    pack,
    place_entry,
    reached,
    unpack,
)
from pipeline.correlate.correlator import PLACED_MS
from pipeline.correlate.halt_watch import DISTURBED
from pipeline.correlate.ports import Bounds
from pipeline.correlate.view import state
from pipeline.halt.safety import SafetyRecord
from pipeline.halt.signing import load_or_create, load_trusted, verify
from pipeline.wire.halts import encode_halt
from pipeline.wire.partials import UpdateId, encode_partial
from pipeline.wire.record_keys import is_heartbeat
from pipeline.wire.verdicts import decode_heartbeat


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_step(tmp_path: Path, after: bool) -> None:
    """A kill just before or just after any change to the outside leads to the state and halts of an undisturbed run."""
    calm = World(LOG)
    expected = facts(asyncio.run(live(calm, tmp_path)))
    assert epochs(calm) == [
        ("acme/v/p/1", 1, ("canary",)),
        ("zeta/v/p/1", 1, ("*",)),
        ("acme/v/p/1", 2, ("*",)),
    ]
    for fuse in range(200):
        world = World(LOG)
        world.fuse, world.after = fuse, after
        try:
            asyncio.run(live(world, tmp_path))
        except Killed:
            world.fuse = None
            assert facts(asyncio.run(live(world, tmp_path))) == expected
            assert epochs(world) == epochs(calm)
        else:
            assert fuse > 20
            return
    pytest.fail("the fuse never outlived a life")


def test_killed_again_and_again(tmp_path: Path) -> None:
    """Lives of a few steps each, killed also while they recover, still reach the end exactly."""
    calm = World(LOG)
    expected = facts(asyncio.run(live(calm, tmp_path)))
    for fuse in range(12, 16):
        world = World(LOG)
        for _ in range(50):
            world.fuse = fuse
            try:
                process = asyncio.run(live(world, tmp_path, checkpoint_every=1))
            except Killed:
                continue
            assert facts(process) == expected
            assert epochs(world) == epochs(calm)
            break
        else:
            pytest.fail("no life came to the end")


@pytest.mark.parametrize("kill", [None, 6, 23])
def test_any_part_of_the_changelog_is_of_one_moment(tmp_path: Path, kill: int | None) -> None:
    """A recovery that sees less of its changelog than was written, while the group has committed more (a session that
    wrote on while partitions changed hands; a broker that was cut off), loses nothing and counts nothing twice; nor
    does whoever recovers from the whole log afterwards, also when that life was killed early."""
    calm = World(LOG)
    expected = facts(asyncio.run(live(calm, tmp_path, checkpoint_every=1)))
    for seen in range(len(calm.changelog)):
        world = World(LOG)
        asyncio.run(live(world, tmp_path, checkpoint_every=1))
        world.fuse = kill
        try:
            life = live(world, tmp_path, checkpoint_every=1, table=dict(world.changelog[:seen]))
            assert facts(asyncio.run(life)) == expected
        except Killed:
            world.fuse = None
        assert facts(asyncio.run(live(world, tmp_path))) == expected
        assert epochs(world) == epochs(calm)


def test_a_checkpoint_that_comes_too_late_does_not_stay(tmp_path: Path) -> None:
    """Of a process that was cut off, written after its successor's: fleets that are idle since are written anew."""

    async def scene() -> None:
        world = World(LOG)
        await live(world, tmp_path, checkpoint_every=1)
        late = world.changelog[1:4]  # the first checkpoint of a fleet
        clock = Clock()
        process = correlator(world, tmp_path, clock)
        world.end = None
        await process.recover(world.bounds(), dict(world.table))
        process.began(0, world.committed, 0)
        await process.checkpoint(0)
        for entry in late:
            world.append(entry)
        clock.now += PLACED_MS + 1
        await process.checkpoint(30)  # though no fleet is dirty for so long
        assert facts(await live(world, tmp_path)) == facts(process)

    asyncio.run(scene())


@pytest.mark.parametrize(("high", "log_id", "known"), [(9, "a", True), (8, "a", False), (9, "b", False), (9, "", True)])
def test_a_place_is_known_by_topic_and_end(high: int, log_id: str, known: bool) -> None:
    """A log that ends before it may only be late to say so; one of another id is another."""
    bounds = Bounds(0, high, log_id)
    assert bounds.has_been_at(9, "a") is known
    assert bounds.is_behind(Place(VERSION, 0, 9, "a")) is (high < 9)


def test_how_far_reading_has_come_is_told_by_fleets_too(tmp_path: Path) -> None:
    """A place waits for the slowest fleet: a log that ends between it and the newest checkpoint is behind."""
    state = FleetState(VERSION, "acme", 0, 100, 1, 1, (), b"")
    entries = [place_entry(0, 50, "a"), place_entry(1, 7, "a"), pack(state, "A").header]
    assert [(place.partition, place.offset) for place in reached(dict(entries))] == [(0, 50), (1, 7), (0, 101)]
    assert [Bounds(0, 80, "a").is_behind(place) for place in reached(dict(entries))] == [False, False, True]


def test_a_checkpoint_cut_off_by_cancellation_is_made_again(tmp_path: Path) -> None:
    """Stopping in the middle of a checkpoint leaves the fleet dirty, so offsets stay behind and the last one counts."""

    async def scene() -> None:
        world = World(LOG[:2])
        process = await live(world, tmp_path)
        store, hang = world.store, asyncio.Event()

        async def never(partition: int, entries: Sequence[Entry]) -> bool:
            hang.set()
            return await asyncio.Event().wait()

        world.store = never  # type: ignore[method-assign]
        task = asyncio.create_task(process.checkpoint(0))
        await hang.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        world.store = store  # type: ignore[method-assign]
        assert world.committed == 0
        await process.checkpoint(0)
        assert world.committed == 2
        assert {restored.header.fleet for restored in unpack(world.table)} == {"acme", "zeta"}

    asyncio.run(scene())


def test_malformed_partials_become_dead_letters(tmp_path: Path) -> None:
    """Garbage, a foreign version, columns that point outside: set aside with their reason, and the next one counts."""
    good = partial("acme", 1, (UPDATE,))
    bad = [
        b"",
        b"\x80",
        encode_partial(msgspec.structs.replace(good, version=9)),
        encode_partial(msgspec.structs.replace(good, trials=b"123")),
        encode_partial(msgspec.structs.replace(good, trials=b"\x00\x00\x00\x00" * 3)),
        encode_partial(msgspec.structs.replace(good, exposures=b"\xff" * 20)),
        encode_partial(msgspec.structs.replace(good, events=-1)),
    ]
    world = World([*bad, encode_partial(good)])
    process = asyncio.run(live(world, tmp_path))
    assert facts(process)["acme"][:2] == (1, len(bad))
    letters = world.letters()
    assert [letter["reason"] for letter in letters] == [b"malformed_partial"] * len(bad)
    assert [int(letter["offset"]) for letter in letters] == list(range(len(bad)))
    assert letters[0]["topic"] == b"fleet.partials"


@given(raw=st.binary(max_size=200))
def test_no_bytes_stop_the_stream(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """Whatever stands on the topic, the correlator goes on."""
    world = World([raw])
    asyncio.run(live(world, tmp_path_factory.getbasetemp() / "keys"))
    assert len(world.letters()) == 1


def test_shadow_orders_are_not_published(tmp_path: Path) -> None:
    """Only an order to enforce becomes a record on fleet.halts."""
    world = World([encode_partial(partial("acme", 500, (SHADOW,)))])
    asyncio.run(live(world, tmp_path))
    assert epochs(world) == []
    assert [topic for topic, *_ in world.records] == ["fleet.verdicts"]


def test_an_alarm_is_a_signed_word_and_no_halt(tmp_path: Path) -> None:
    """It goes onto fleet.verdicts under its own key, the next heartbeat says so too, and fleet.halts has nothing."""

    async def scene() -> World:
        world = World([encode_partial(partial("acme", 5, (UpdateId("alarmed", "p", "1"),)))])
        process = await live(world, tmp_path)
        await process.heartbeat()
        return world

    world = asyncio.run(scene())
    record = SafetyRecord(load_trusted(tmp_path))
    assert [topic for topic, *_ in world.records] == ["fleet.verdicts"] * 3
    assert world.records[1][1] == b"acme/-/alarm"
    assert [record.take_word(key, value) for _, key, value, _ in world.records] == ["", "", ""]
    assert record.is_alarmed("acme")
    assert record.alarm_of("acme") is not None


def test_unreadable_state_is_built_again_from_what_is_retained(tmp_path: Path) -> None:
    """A damaged chunk sends the input back to its beginning; the other fleet skips what it holds."""
    world = World(LOG)
    expected = facts(asyncio.run(live(world, tmp_path)))
    assert world.committed == len(LOG)
    for key in [key for key in world.table if key.startswith(b"acme/") and not key.endswith(b"header")]:
        world.table[key] = b"damaged"
    before = epochs(world)
    assert facts(asyncio.run(live(world, tmp_path))) == expected
    assert epochs(world) == before


def test_partials_that_began_anew_are_read(tmp_path: Path) -> None:
    """When the topic was created again, its small offsets are not mistaken for ones already taken in."""
    world = World(LOG)
    asyncio.run(live(world, tmp_path))
    world.log, world.committed = [encode_partial(partial("acme", 7))], 0
    process = asyncio.run(live(world, tmp_path))
    assert process.fleets.by_name["acme"].events == 20 + 35 + 5 + 60 + 2 + 7


def test_a_lost_halts_topic_is_restored_from_state(tmp_path: Path) -> None:
    """Own state gives back the halts at higher epochs than any before, signed, once, and heartbeats say so."""
    world = World(LOG)
    asyncio.run(live(world, tmp_path))
    before = epochs(world)[1:]  # the first was overtaken
    world.records = []
    process = asyncio.run(live(world, tmp_path))
    assert epochs(world) == []
    for _ in range(2):
        asyncio.run(process.watch_halts())
    back = [("zeta/v/p/1", 2, ("*",)), ("acme/v/p/1", 3, ("*",))]
    assert sorted(epochs(world)) == sorted((key, epoch + 1, rings) for key, epoch, rings in before) == sorted(back)
    for halt in world.halts():
        verify(halt, load_trusted(tmp_path))
    world_is = len(world.records)
    asyncio.run(process.watch_halts())
    asyncio.run(live(world, tmp_path))
    assert len(world.records) == world_is
    asyncio.run(process.heartbeat())
    beats = [decode_heartbeat(value) for _, key, value, _ in world.records if is_heartbeat(key)]
    assert [beat.flags for beat in beats] == [(DISTURBED,)] * 2


def test_a_halts_topic_that_lags_at_recovery_is_not_lost(tmp_path: Path) -> None:
    """A partition's new leader may show the newest records a moment later: no new epoch, no alarm."""
    world = World(LOG)
    asyncio.run(live(world, tmp_path))
    shown, world.records = world.records, []
    process = asyncio.run(live(world, tmp_path))
    world.records = [*shown]
    for _ in range(2):
        asyncio.run(process.watch_halts())
    assert world.records == shown
    asyncio.run(process.heartbeat())
    beats = [decode_heartbeat(value) for _, key, value, _ in world.records[len(shown) :] if is_heartbeat(key)]
    assert [beat.flags for beat in beats] == [()] * 2


def test_an_erased_halt_comes_back_above_a_forged_one(tmp_path: Path) -> None:
    """What stood there last, when nobody looked, was a stranger's record of a high epoch: own state goes above it."""
    world = World(LOG)
    asyncio.run(live(world, tmp_path / "own"))
    mine = next(halt for halt in reversed(world.halts()) if halt.fleet == "acme")
    forged = load_or_create(tmp_path / "other").sign(msgspec.structs.replace(mine, action="resume", epoch=40))
    world.records = [("fleet.halts", forged.key.encode(), encode_halt(forged), {})]
    process = asyncio.run(live(world, tmp_path / "own"))
    asyncio.run(process.watch_halts())
    assert ("acme/v/p/1", 41, ("*",)) in epochs(world)


def test_a_lost_table_cannot_go_back_in_time(tmp_path: Path) -> None:
    """Without table and offsets everything is decided again, and what the topic has is not said twice."""
    world = World(LOG)
    asyncio.run(live(world, tmp_path))
    before = epochs(world)
    world.table, world.committed = {}, 0
    asyncio.run(live(world, tmp_path))
    assert epochs(world) == before
    keys = tmp_path / "new-keys"
    asyncio.run(live(world, keys))
    world.table, world.committed = {}, 0
    asyncio.run(live(world, keys))
    assert [epoch for key, epoch, _ in epochs(world) if key == "acme/v/p/1"] == [1, 2, 3, 4]


def test_messages_of_an_earlier_session_are_not_taken_in(tmp_path: Path) -> None:
    """What was read before partitions changed hands is read again, from where the recovered state ends."""

    async def scene() -> None:
        world = World(LOG)
        process = correlator(world, tmp_path, Clock())
        await process.recover(world.bounds(), {})
        await process.handle(record(1, LOG[1]), process.session - 1)
        assert process.fleets.by_name == {}

    asyncio.run(scene())


def test_halts_are_renewed_at_half_life(tmp_path: Path) -> None:
    """Same epoch, later times, one record a half life; nothing before."""

    async def scene() -> None:
        world, clock = World(LOG[:4]), Clock()
        process = correlator(world, tmp_path, clock)
        await process.recover(world.bounds(), {})
        process.began(0, None, 0)
        await process.handle(record(3, encode_partial(partial("acme", 55, (UPDATE,)))), process.session)
        await process.checkpoint(0)
        await process.renew()
        assert len(epochs(world)) == 1
        clock.now += 86_400_000 // 2
        await process.renew()
        await process.renew()
        first, second = world.halts()
        assert (first.epoch, second.epoch) == (1, 1)
        assert second.expires_at == clock.now + 86_400_000
        assert process.issuer.register.newest(first.key) == second

    asyncio.run(scene())


def test_heartbeats_and_view(tmp_path: Path) -> None:
    """Every fleet says how far it has read; the view shows halts with epoch and expiry."""

    async def scene() -> Mapping[str, Any]:
        world = World(LOG)
        process = await live(world, tmp_path)
        world.records = []
        await process.heartbeat()
        beats = [decode_heartbeat(value) for _, _, value, _ in world.records]
        assert [(beat.fleet, beat.offset) for beat in beats] == [("acme", 8), ("zeta", 7)]
        assert [key for _, key, _, _ in world.records] == [b"acme/-/heartbeat", b"zeta/-/heartbeat"]
        return state(process, STREAM_START, STREAM_START + 90_000_000)

    shown = asyncio.run(scene())
    acme = shown["fleets"][0]
    assert (acme["offset"], acme["events"], acme["halts"][0]["epoch"]) == (8, 122, 2)
    assert acme["halts"][0]["expired"]
    assert shown["changelog_bytes_per_second"] > 0


@given(size=st.integers(0, 3 * MAX_CHUNK_BYTES), fleet=st.text(min_size=1, max_size=10))
def test_checkpoints_come_back_whole(size: int, fleet: str) -> None:
    """Any size and any fleet's name; every entry small enough for a broker, none falsy."""
    noise = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    before = FleetState(VERSION, fleet, 0, 7, 3, 9, (), noise)
    checkpoint = pack(before, "A")
    entries = [*checkpoint.chunks, checkpoint.header]
    assert all(0 < len(value) <= MAX_CHUNK_BYTES for _, value in entries)
    (restored,) = unpack(dict(entries))
    assert restored.state == before
