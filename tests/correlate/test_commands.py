"""People in command, on a world in memory that is killed at every step: each command is answered once, takes effect
once and in order, at the place that its answer names."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.correlate_worker import STREAM_START, CountingDetector, partial
from support.correlate_world import LOG, UPDATE, Clock, Killed, World, correlator, epochs, facts, record
from support.rollout_world import ANN, BOB, CAROL, Operator, sent

from pipeline.correlate.correlator import Correlator
from pipeline.halt.chain import AuditRecord, examined
from pipeline.halt.clerk import ruling_of
from pipeline.halt.signing import load_or_create, load_trusted, verify
from pipeline.wire.audit import AuditEntry, decode_entry
from pipeline.wire.commands import decode_command
from pipeline.wire.halts import decode_halt, encode_halt
from pipeline.wire.partials import decode_partial, encode_partial
from pipeline.wire.spans import DAY_MS, HOUR_MS, MINUTE_MS

NOW = STREAM_START
RESUME = ANN.says("resume", NOW, rings=("canary",), epoch=1, expires_at=NOW + HOUR_MS)
OTHER = {"fleet": "zeta", "vendor": "v", "product": "p", "version": "9"}
FORCE = BOB.says("force", NOW, **OTHER, epoch=0, reason="we saw it \x1b[31m break")
# After which partial each is sent.
SENT: tuple[tuple[int, bytes], ...] = (
    (3, RESUME),
    (3, ANN.approves(RESUME, NOW)),  # an own proposal
    (3, b'{"kind":"force"}'),
    (3, BOB.approves(RESUME, NOW)),
    (4, FORCE),
    (4, FORCE),  # again
    (6, Operator("mallory").says("force", NOW)),
    (6, BOB.says("resume", NOW, epoch=2, expires_at=NOW + HOUR_MS)),  # what it names has been superseded
    (7, CAROL.says("force", NOW, reason="once more", epoch=3)),
)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A directory of trust with three operators and the detector."""
    for operator in (ANN, BOB, CAROL):
        operator.is_trusted_in(tmp_path)
    return tmp_path


async def commanded(
    world: World, keys: Path, schedule: Mapping[int, int], clock: Clock | None = None, checkpoint_every: int = 3
) -> Correlator:
    """One life in which so many commands have been sent once a partial has been taken in."""
    world.end = None
    process = correlator(world, keys, clock or Clock())
    await process.recover(world.bounds(), dict(world.table))
    for offset in range(process.began(0, world.committed, 0), len(world.log)):
        await process.handle(record(offset, world.log[offset]), process.session)
        world.sent = max([count for at, count in schedule.items() if at <= offset], default=0)
        await process.obey()
        if offset % checkpoint_every == checkpoint_every - 1:
            await process.checkpoint(0)
    await process.obey()
    return process


def world_with(*raws: bytes, log: list[bytes] | None = None) -> World:
    """With these commands, none of them sent yet."""
    world = World(LOG if log is None else log)
    world.commands = [sent(raw, offset, NOW) for offset, raw in enumerate(raws)]
    return world


SCHEDULE = {at: max(n for n, (other, _) in enumerate(SENT, 1) if other == at) for at, _ in SENT}


def entries(world: World) -> list[AuditEntry]:
    """The audit, in its order."""
    return [decode_entry(value) for topic, _, value, _ in world.records if topic == "fleet.audit"]


def answers(world: World) -> list[tuple[str, str, str]]:
    """Kind and outcome of each command that was answered, and why."""
    found = [entry for entry in entries(world) if entry.kind == "answer"]
    return [(decode_command(entry.command.encode()).kind, entry.outcome, entry.why) for entry in found]


def whole(world: World, keys: Path) -> None:
    """The chain of each fleet is, and says of each halt on the topic what stands there, once."""
    trusted = load_trusted(keys)
    for fleet in ("acme", "zeta"):
        found = [(key, value) for topic, key, value, _ in world.records if topic == "fleet.audit"]
        mine = [AuditRecord(key, value) for key, value in found if key == fleet.encode()]
        assert examined(fleet, mine, trusted).faults == []
    said = [(halt.key, halt.epoch) for e in entries(world) if e.halt for halt in [decode_halt(e.halt.encode())]]
    assert sorted(said) == sorted((key, epoch) for key, epoch, _ in epochs(world))
    assert len(said) == len(set(said))


def as_told(world: World) -> dict[str, tuple[int, bytes]]:
    """What state follows from the partials and the audit alone: each ruling at the place that its entry names."""
    detectors = {fleet: CountingDetector(fleet) for fleet in ("acme", "zeta")}
    rulings = [(e.partials.offset, e.fleet, ruling) for e in entries(world) if (ruling := ruling_of(e)) is not None]
    for offset in range(len(world.log) + 1):
        for at, fleet, ruling in rulings:
            if at == offset:
                detectors[fleet].rule(ruling)
        if offset < len(world.log):
            try:
                found = decode_partial(world.log[offset])
            except ValueError:
                continue
            detectors[found.fleet].step(found)
    return {fleet: (detector.events, detector.digest) for fleet, detector in detectors.items()}


def state_of(process: Correlator) -> dict[str, tuple[int, bytes]]:
    """The same of a process."""
    return {fleet: (events, digest) for fleet, (events, _, digest) in facts(process).items()}


def calm_run(keys: Path) -> tuple[World, Correlator]:
    """Nobody is killed."""
    world = world_with(*(raw for _, raw in SENT))
    return world, asyncio.run(commanded(world, keys, SCHEDULE))


def test_commands_are_obeyed(keys: Path) -> None:
    """A resume by two, a force by one; refusals say why; what nobody signed is set aside; all is in the audit."""
    world, process = calm_run(keys)
    assert answers(world) == [
        ("resume", "applied", ""),
        ("approve", "refused", "not_approved"),
        ("approve", "applied", ""),
        ("force", "applied", ""),
        ("force", "refused", "replayed"),
        ("resume", "refused", "superseded"),
        ("force", "applied", ""),
    ]
    assert epochs(world) == [
        ("acme/v/p/1", 1, ("canary",)),
        ("acme/v/p/1", 2, ("canary",)),
        ("zeta/v/p/1", 1, ("*",)),
        ("zeta/v/p/9", 1, ("*",)),
        ("acme/v/p/1", 3, ("canary",)),  # what came after the resume
        ("acme/v/p/1", 4, ("*",)),
    ]
    halts = world.halts()
    assert [halt.action for halt in halts] == ["halt", "resume", "halt", "halt", "halt", "halt"]
    assert halts[1].decided_by == "operator:ann, operator:bob"
    assert halts[3].reason.isprintable()
    for halt in halts:
        verify(halt, load_trusted(keys))
    assert [letter["reason"] for letter in world.letters()] == [
        b"malformed_partial",
        b"untrusted_command",
        b"untrusted_command",
    ]
    whole(world, keys)
    assert state_of(process) == as_told(world)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_step(keys: Path, after: bool) -> None:
    """A kill just before or after any change outside, between command, answer and halt as well, leads to the answers,
    halts and state of an undisturbed run."""
    calm, undisturbed = calm_run(keys)
    expected = facts(undisturbed)
    for fuse in range(300):
        world = world_with(*(raw for _, raw in SENT))
        world.fuse, world.after = fuse, after
        try:
            asyncio.run(commanded(world, keys, SCHEDULE))
        except Killed:
            world.fuse = None
            again = asyncio.run(commanded(world, keys, SCHEDULE))
            assert facts(again) == expected
            assert epochs(world) == epochs(calm)
            assert answers(world) == answers(calm)
            whole(world, keys)
        else:
            assert fuse > 40
            return
    pytest.fail("the fuse never outlived a life")


@settings(max_examples=60, deadline=None)
@given(
    order=st.lists(st.integers(0, len(SENT) - 1), max_size=9),
    times=st.lists(st.integers(0, 8), min_size=9, max_size=9),
    fuses=st.lists(st.integers(1, 60), max_size=4),
    after=st.booleans(),
    every=st.sampled_from([1, 3, 5]),
)
def test_any_commands_at_any_time(
    tmp_path_factory: pytest.TempPathFactory,
    order: list[int],
    times: list[int],
    fuses: list[int],
    after: bool,
    every: int,
) -> None:
    """Whatever is sent whenever, and whoever is killed: one answer each, a whole chain, and the state that follows from
    partials and audit alone."""
    directory = tmp_path_factory.getbasetemp() / "people"
    for operator in (ANN, BOB, CAROL):
        operator.is_trusted_in(directory)
    world = world_with(*(SENT[at][1] for at in order))
    schedule = {at: sum(other <= at for other in times[: len(order)]) for at in times[: len(order)]}
    world.after = after
    for fuse in fuses:
        world.fuse = fuse
        try:
            asyncio.run(commanded(world, directory, schedule, checkpoint_every=every))
        except Killed:
            continue
    world.fuse = None
    process = asyncio.run(commanded(world, directory, schedule, checkpoint_every=every))
    places = [entry.command_place for entry in entries(world) if entry.command_place is not None]
    assert len(places) == len({(place.partition, place.offset) for place in places})
    whole(world, directory)
    assert state_of(process) == as_told(world)


def test_a_lost_table_does_all_again(keys: Path) -> None:
    """State that is gone is built from the partials, each ruling at its place; nothing is said twice."""
    world, process = calm_run(keys)
    before = list(world.records)
    world.table, world.committed = {}, 0
    again = asyncio.run(commanded(world, keys, SCHEDULE))
    assert state_of(again) == state_of(process)
    said = ("fleet.halts", "fleet.audit")
    assert [r for r in world.records[len(before) :] if r[0] in said] == []


def test_an_order_is_obeyed_with_its_evidence(keys: Path) -> None:
    """What waits for a person is released by one operator, and stays named for that."""

    async def scene() -> None:
        waiting = UPDATE._replace(vendor="pending")
        world = world_with(BOB.says("approve", NOW, vendor="pending", epoch=0), log=[LOG[0]])
        world.log = [encode_partial(partial("acme", 60, (waiting,)))]
        clock = Clock()
        process = await commanded(world, keys, {0: 1}, clock)
        (halt,) = world.halts()
        assert (halt.decided_by, halt.rings, halt.evidence is not None) == ("operator:bob", ("*",), True)
        clock.now += DAY_MS // 2
        await process.renew()
        assert [each.epoch for each in world.halts()] == [1, 1]
        assert [entry.effect for entry in entries(world)] == ["released"]

    asyncio.run(scene())


def test_when_a_resume_ends_the_halt_stands_again(keys: Path) -> None:
    """At a higher epoch, in the rings that it had, once, also after a kill; an extension by two puts that off."""

    async def scene() -> None:
        world = world_with(RESUME, BOB.approves(RESUME, NOW), log=LOG[:4])
        clock = Clock()
        process = await commanded(world, keys, {3: 2}, clock)
        later = NOW + 50 * MINUTE_MS
        extend = BOB.says("extend", later, rings=("canary",), epoch=2, expires_at=NOW + 5 * HOUR_MS)
        more = [extend, CAROL.approves(extend, later)]
        world.commands += [sent(raw, 2 + n, later) for n, raw in enumerate(more)]
        clock.now, world.sent = later, 4
        await process.obey()
        clock.now = NOW + 2 * HOUR_MS
        await process.obey()
        assert [(halt.action, halt.epoch) for halt in world.halts()] == [
            ("halt", 1),
            ("resume", 2),
            ("resume", 3),
        ]
        clock.now = NOW + 6 * HOUR_MS
        for _ in range(2):
            await process.obey()
        halt = world.halts()[-1]
        assert (halt.action, halt.epoch, halt.rings, halt.orders) == ("halt", 4, ("canary",), ())
        assert "has ended" in halt.reason
        again = await commanded(world, keys, {3: 4}, clock)
        assert len(world.halts()) == 4
        assert state_of(again) == state_of(process)
        whole(world, keys)

    asyncio.run(scene())


def test_a_resume_that_was_overtaken_does_not_come_back(keys: Path) -> None:
    """Erased, it is put back as two signed it; where a higher epoch was shown, forged even, the halt stands again."""

    async def scene() -> None:
        world = world_with(RESUME, BOB.approves(RESUME, NOW), log=LOG[:4])
        process = await commanded(world, keys, {3: 2})
        resume = next(value for topic, _, value, _ in world.records if topic == "fleet.halts" and b'"resume"' in value)
        world.records = [r for r in world.records if r[0] != "fleet.halts"]
        for _ in range(2):
            await process.watch_halts()
        assert [value for topic, _, value, _ in world.records if topic == "fleet.halts"] == [resume]
        stranger = load_or_create(keys.parent / "stranger")
        forged = stranger.sign(decode_halt(resume.replace(b'"epoch":2', b'"epoch":7')))
        world.records.append(("fleet.halts", b"acme/v/p/1", encode_halt(forged), {}))
        await process.watch_halts()
        await process.obey()
        halt = world.halts()[-1]
        assert (halt.action, halt.epoch) == ("halt", 8)
        verify(halt, load_trusted(keys))

    asyncio.run(scene())


@pytest.mark.parametrize("minutes", [-6, 61])
def test_only_commands_of_the_last_hour(keys: Path, minutes: int) -> None:
    """One that is older, or dated in the future, is refused, and that is said."""
    world = world_with(ANN.says("force", NOW - minutes * MINUTE_MS), log=LOG[:1])
    asyncio.run(commanded(world, keys, {0: 1}))
    assert answers(world) == [("force", "refused", "too_old" if minutes > 0 else "ahead")]
    assert epochs(world) == []


def test_a_command_for_another_fleet_is_not_moved(keys: Path) -> None:
    """The fleet is signed: under another fleet's key it is none, and nobody is halted."""
    world = world_with(ANN.says("force", NOW, fleet="zeta"), log=LOG[:2])
    world.commands = [world.commands[0]._replace(key=b"acme/v/p/1")]
    asyncio.run(commanded(world, keys, {0: 1}))
    assert (answers(world), epochs(world)) == ([], [])
    assert world.letters()[0]["detail"].startswith(b"wrong_key")


def test_an_audit_that_lost_entries_is_an_alarm(keys: Path) -> None:
    """State that holds more than the topic says so in the log, and what comes is chained behind what was lost."""
    world, _ = calm_run(keys)
    asyncio.run(commanded(world, keys, SCHEDULE, checkpoint_every=1))
    last = [r for r in world.records if r[0] == "fleet.audit" and r[1] == b"acme"][-1]
    world.records.remove(last)
    world.commands.append(sent(CAROL.says("force", NOW, version="8", epoch=0), len(SENT), NOW))
    asyncio.run(commanded(world, keys, {8: len(SENT) + 1}, checkpoint_every=1))
    mine = [AuditRecord(key, value) for topic, key, value, _ in world.records if topic == "fleet.audit"]
    faults = examined("acme", [each for each in mine if each.key == b"acme"], load_trusted(keys)).faults
    assert [fault.kind for fault in faults] == ["missing"]
