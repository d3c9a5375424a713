"""The correlator's keys change: what another one signed is signed anew, what a revoked one signed holds no more."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from support.correlate_world import LOG, Clock, World, correlator, live
from support.rollout_world import ANN, BOB, ordered

from pipeline.halt import keyring
from pipeline.halt.believe import believed_halt
from pipeline.halt.safety import SafetyRecord
from pipeline.halt.signing import SigningKey, load_or_create, load_trusted
from pipeline.runtime.errors import FatalStageError
from pipeline.wire.halts import Halt, encode_halt

KEY = "acme/v/p/1"


def other_detector(place: Path, keys: Path) -> SigningKey:
    """Another slot's key, which this one trusts."""
    key = load_or_create(place)
    (keys / f"{key.kid}.pub.pem").write_bytes((place / f"{key.kid}.pub.pem").read_bytes())
    return key


def newest(world: World, key: str = KEY) -> Halt:
    """What compaction would leave of a key."""
    return [halt for halt in world.halts() if halt.key == key][-1]


def put(world: World, halt: Halt) -> None:
    """A record on the topic."""
    world.records.append(("fleet.halts", halt.key.encode(), encode_halt(halt), {}))


def test_after_a_rotation_all_that_stands_is_signed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same epochs, same rings, same times, so many at a time; then the old key can be revoked, and no reader that did
    so is in doubt of anything."""
    world, keys = World(LOG), tmp_path / "keys"
    asyncio.run(live(world, keys))
    before = {halt.key: halt for halt in world.halts()}
    old = load_or_create(keys).kid
    keyring.make_next("detector", "", keys)
    keyring.switch(keys)
    monkeypatch.setattr("pipeline.correlate.halt_keeper.SIGNED_ANEW", 1)

    async def scene() -> None:
        process = await live(world, keys)
        for signed in range(len(before) + 1):
            newer = [halt for halt in world.halts() if halt.kid != old]
            assert len(newer) == signed
            await process.renew()
        for _ in range(2):
            await process.watch_halts()

    asyncio.run(scene())
    after = {halt.key: halt for halt in world.halts()}
    kid = load_or_create(keys).kid
    for key, halt in before.items():
        assert after[key] == msgspec.structs.replace(halt, kid=kid, sig=after[key].sig)
    keyring.revoke(old, keys, dry_run=False)
    reader = SafetyRecord(load_trusted(keys))
    for topic, name, value, _ in world.records:
        if topic == "fleet.halts":
            reader.take_halt(name, value)
    assert reader.doubts() == []
    assert reader.halts.keys() == before.keys()


@pytest.mark.parametrize("action", ["halt", "resume"])
def test_what_a_revoked_key_signed_does_not_stand(tmp_path: Path, action: str) -> None:
    """A halt of it is put back under the correlator's own key; of a resume, the halt that it lifted, and never that."""
    world, keys = World(LOG), tmp_path / "keys"

    async def scene() -> None:
        process = await live(world, keys)
        mine, other = newest(world), other_detector(tmp_path / "other", keys)
        for operator in (ANN, BOB):
            operator.is_trusted_in(keys)
        changed = msgspec.structs.replace(mine, action=action, epoch=9)
        put(world, other.sign(ordered(changed) if action == "resume" else changed))
        await process.watch_halts()
        known = process.issuer.register.newest(KEY)
        assert known is not None
        assert (known.action, known.epoch, known.kid) == (action, 9, other.kid)
        keyring.revoke(other.kid, keys, dry_run=False)
        await process.watch_halts()
        await process.obey()
        back = newest(world)
        assert (back.action, back.epoch, back.kid, back.rings) == ("halt", 10, mine.kid, mine.rings)
        length = len(world.records)
        await process.watch_halts()
        await process.renew()
        assert len(world.records) == length

    asyncio.run(scene())


def test_a_key_that_is_trusted_later_is_no_alarm_any_more(tmp_path: Path) -> None:
    """Its record was a stranger's, and is believed once its key lies there: the whole topic is judged again."""
    world, keys = World(LOG), tmp_path / "keys"

    async def scene() -> None:
        process = await live(world, keys)
        other = load_or_create(tmp_path / "other")
        put(world, other.sign(msgspec.structs.replace(newest(world), version="2", epoch=3)))
        await process.watch_halts()
        assert process.issuer.register.newest("acme/v/p/2") is None
        other_detector(tmp_path / "other", keys)
        await process.watch_halts()
        found = process.issuer.register.newest("acme/v/p/2")
        assert found is not None
        assert found.epoch == 3

    asyncio.run(scene())


def test_a_correlator_whose_own_key_is_revoked_ends(tmp_path: Path) -> None:
    """It has nothing to say that anybody would believe."""
    world = World(LOG)

    async def scene() -> None:
        process = await live(world, tmp_path)
        keyring.revoke(load_or_create(tmp_path).kid, tmp_path, dry_run=False)
        with pytest.raises(FatalStageError, match="revoked"):
            await process.watch_halts()

    asyncio.run(scene())


@pytest.mark.parametrize("name", ["epoch", "issued_at"])
@pytest.mark.parametrize("number", [b"18446744073709551616", b"-1", b"0", b"9007199254740992", b"1.0", b"1e0"])
def test_a_forged_number_does_not_keep_it_from_starting(tmp_path: Path, name: str, number: bytes) -> None:
    """Whoever may write to the topic leaves an epoch or a time that no encoder takes: refused, and put right."""
    world = World(LOG)
    asyncio.run(live(world, tmp_path))
    mine = newest(world)
    member = f'"{name}":'.encode()
    raw = encode_halt(mine).replace(member + b"%d" % getattr(mine, name), member + number)
    assert raw != encode_halt(mine)
    world.records.append(("fleet.halts", mine.key.encode(), raw, {}))

    async def scene() -> None:
        process = correlator(world, tmp_path, Clock())
        await process.recover(world.bounds(), dict(world.table))
        process.began(0, None, 0)
        await process.watch_halts()
        await process.renew()

    asyncio.run(scene())
    topic, key, value, _ = world.records[-1]
    back = believed_halt(key, value, load_trusted(tmp_path))
    assert (topic, back.key, back.epoch) == ("fleet.halts", KEY, mine.epoch + 1)
