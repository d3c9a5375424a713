"""The record of halts, disturbed in every way: the correlator says so, and puts it back at a higher epoch."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client import REGISTRY
from support.brokers import AnyBroker
from support.correlate_world import LOG, Clock, World, correlator, record
from support.waiting import DEADLINE_SECONDS, until

from pipeline.correlate import halt_watch
from pipeline.correlate.correlator import Correlator
from pipeline.correlate.halt_watch import AGAIN_MS, DISTURBED, FLAG_MS, MAX_STRANGE
from pipeline.correlate.known_halts import HaltsFollower
from pipeline.halt.believe import believed_halt, believed_word
from pipeline.halt.safety import SafetyRecord
from pipeline.halt.signing import TrustedKeys, load_or_create, load_trusted
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, client_config, producer_config
from pipeline.wire import topics
from pipeline.wire.halts import Halt, decode_halt, encode_halt
from pipeline.wire.record_keys import heartbeat_key
from pipeline.wire.verdicts import FleetHeartbeat, StandingHalt

KEY = b"acme/v/p/1"


def disturbances(what: str) -> float:
    """How many the metric has counted."""
    return REGISTRY.get_sample_value("andon_halt_records_disturbed_total", {"what": what}) or 0.0


async def halted(world: World, keys: Path, clock: Clock) -> Correlator:
    """A process that has halted acme's update (twice: the second halt names more rings)."""
    process = correlator(world, keys, clock)
    await process.recover(world.bounds(), {})
    process.began(0, None, 0)
    for offset, raw in enumerate(LOG):
        await process.handle(record(offset, raw), process.session)
    await process.watch_halts()
    return process


def newest(world: World) -> bytes:
    """What compaction would leave of the key."""
    return [value for topic, key, value, _ in world.records if topic == "fleet.halts" and key == KEY][-1]


def put(world: World, value: bytes | None) -> None:
    """A record of somebody who may write to the topic."""
    world.records.append(("fleet.halts", KEY, value, {}))  # type: ignore[arg-type]


def lose(world: World) -> None:
    """The topic is deleted and made anew."""
    world.records = [record for record in world.records if record[0] != "fleet.halts"]


def replay(world: World) -> None:
    """The first halt, as it was signed, above the second."""
    put(world, next(value for topic, key, value, _ in world.records if topic == "fleet.halts" and key == KEY))


def resume(world: World) -> None:
    """Our own newest record, its action another, under its old signature."""
    put(world, newest(world).replace(b'"action":"halt"', b'"action":"resume"'))


def other_form(world: World) -> None:
    """Our own newest record with a member more: it decodes alike, but no subscriber can verify these bytes."""
    put(world, newest(world).replace(b'{"action"', b'{"a":1,"action"'))


@pytest.mark.parametrize(
    ("disturb", "why"),
    [
        (lambda world: put(world, None), "erased"),
        (lambda world: put(world, b'{"junk":1}'), "malformed"),
        (resume, "bad_signature"),
        (other_form, "bad_signature"),
        (replay, "replayed"),
        (lose, "missing"),
    ],
    ids=["tombstone", "junk", "resume", "other-form", "replay", "topic-made-anew"],
)
def test_what_the_topic_loses_is_put_back(tmp_path: Path, disturb: Callable[[World], None], why: str) -> None:
    """One look later the newest state stands there again, at a higher epoch (two looks, if there is nothing to be seen
    but that it is gone); it was counted, and heartbeats say so."""

    async def scene() -> None:
        world, clock = World(LOG), Clock()
        process = await halted(world, tmp_path, clock)
        before, counted = decode_halt(newest(world)), disturbances(why)
        disturb(world)
        await process.watch_halts()
        if why in ("missing", "replayed"):
            assert disturbances(why) == counted
            await process.watch_halts()
        back = believed_halt(KEY, newest(world), load_trusted(tmp_path))
        assert (back.action, back.rings, back.reason) == (before.action, before.rings, before.reason)
        assert back.epoch > before.epoch
        assert disturbances(why) > counted
        length = len(world.records)
        await process.watch_halts()
        assert len(world.records) == length  # once
        await process.heartbeat()
        assert beat_of(world, tmp_path).flags == (DISTURBED,)
        clock.now += FLAG_MS
        await process.watch_halts()
        await process.heartbeat()
        assert beat_of(world, tmp_path).flags == ()

    asyncio.run(scene())


def beat_of(world: World, keys: Path) -> FleetHeartbeat:
    """The fleet's newest heartbeat, verified."""
    key = heartbeat_key("acme").encode()
    raw = [value for _, found, value, _ in world.records if found == key][-1]
    beat = believed_word(key, raw, load_trusted(keys))
    assert isinstance(beat, FleetHeartbeat)
    return beat


def test_a_quiet_topic_is_left_alone(tmp_path: Path) -> None:
    """Looks at a topic that says what was said change nothing, and halts of another trusted slot are learnt."""

    async def scene() -> None:
        world, clock = World(LOG), Clock()
        process = await halted(world, tmp_path, clock)
        length = len(world.records)
        await process.watch_halts()
        assert len(world.records) == length
        later = msgspec.structs.replace(decode_halt(newest(world)), epoch=9)
        put(world, encode_halt(load_or_create(tmp_path).sign(later)))
        await process.watch_halts()
        known = process.issuer.register.newest(KEY.decode())
        assert known is not None
        assert known.epoch == 9
        assert len(world.records) == length + 1

    asyncio.run(scene())


def test_a_strangers_halt_is_an_alarm(tmp_path: Path) -> None:
    """A halt of an innocent update under an unknown key: counted, its fleet's heartbeats flagged, nothing believed."""

    async def scene() -> None:
        world, clock = World(LOG), Clock()
        process = await halted(world, tmp_path / "own", clock)
        counted = disturbances("unknown_key")
        forged = msgspec.structs.replace(decode_halt(newest(world)), version="2")
        forged = load_or_create(tmp_path / "other").sign(forged)
        world.records.append(("fleet.halts", forged.key.encode(), encode_halt(forged), {}))
        await process.watch_halts()
        await process.watch_halts()
        assert disturbances("unknown_key") == counted + 1
        assert process.issuer.register.newest(forged.key) is None
        assert process.issuer.register.floor(forged.key) == forged.epoch
        await process.heartbeat()
        assert DISTURBED in beat_of(world, tmp_path / "own").flags

    asyncio.run(scene())


def test_a_flood_of_junk_costs_no_turn_and_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys without end and tombstones on a halted one: signatures are verified beside the loop that decides, so many
    keys are remembered and no more, and the halt is put back once."""
    judged_in: set[threading.Thread] = set()

    def noted(key: bytes | None, raw: bytes, trusted: TrustedKeys) -> Halt:
        judged_in.add(threading.current_thread())
        return believed_halt(key, raw, trusted)

    async def scene() -> None:
        world, clock = World(LOG), Clock()
        process = await halted(world, tmp_path, clock)
        before, counted, erased = decode_halt(newest(world)), disturbances("malformed"), disturbances("erased")
        monkeypatch.setattr(halt_watch, "believed_halt", noted)
        for number in range(MAX_STRANGE + 500):
            put(world, None)
            world.records.append(("fleet.halts", b"acme/v/junk/%d" % number, b"{}", {}))
        await process.watch_halts()
        assert decode_halt(newest(world)).epoch == before.epoch + 1
        assert disturbances("malformed") == counted + MAX_STRANGE
        assert disturbances("erased") == erased + 1
        assert threading.main_thread() not in judged_in
        assert judged_in

    asyncio.run(scene())


def test_a_record_that_does_not_show_is_not_put_back_all_the_time(tmp_path: Path) -> None:
    """When what is published is hidden, by somebody's open transaction say, it is said again every six seconds."""

    async def scene() -> None:
        world, clock = World(LOG), Clock()
        process = await halted(world, tmp_path, clock)
        for _ in range(3):
            lose(world)
            while all(topic != "fleet.halts" for topic, *_ in world.records):
                await process.watch_halts()
            lose(world)
            length = len(world.records)
            for _ in range(3):
                await process.watch_halts()
            assert len(world.records) == length
            clock.now += AGAIN_MS

    asyncio.run(scene())


def test_heartbeats_name_what_stands(tmp_path: Path) -> None:
    """The signed digest has the fleet's own halts with their epochs: whoever misses one knows that it does."""

    async def scene() -> None:
        world, clock = World(LOG), Clock()
        process = await halted(world, tmp_path, clock)
        await process.heartbeat()
        beat = beat_of(world, tmp_path)
        assert (beat.standing, beat.standing_total) == ((StandingHalt(KEY.decode(), 2),), 1)
        reader = SafetyRecord(load_trusted(tmp_path))
        for topic, key, value, _ in world.records:
            if topic == "fleet.verdicts":
                assert reader.take_word(key, value) == ""
        assert [(doubt.key, doubt.reason) for doubt in reader.doubts()] == [
            (KEY.decode(), "missing"),
            ("zeta/v/p/1", "missing"),
        ]
        for topic, key, value, _ in world.records:
            if topic == "fleet.halts":
                reader.take_halt(key, value)
        assert reader.doubts() == []

    asyncio.run(scene())


# -- the topic itself


@pytest.fixture
def place(broker: AnyBroker, tmp_path: Path) -> KafkaConfig:
    """A cluster with the topic of halts, and nothing else of ours."""
    config = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix=f"{tmp_path.name}.")
    create(config)
    return config


def create(kafka: KafkaConfig) -> None:
    """The topic, compacted as it is."""
    new = NewTopic(kafka.topic_prefix + topics.HALTS.name, 1, 1, config=topics.HALTS.config)
    admin = AdminClient(client_config(kafka, "test"))
    for created in admin.create_topics([new]).values():
        created.result(DEADLINE_SECONDS)


def delete(kafka: KafkaConfig) -> None:
    """The topic is gone."""
    name = kafka.topic_prefix + topics.HALTS.name
    admin = AdminClient(client_config(kafka, "test"))
    admin.delete_topics([name])[name].result(DEADLINE_SECONDS)


def produce(kafka: KafkaConfig, *records: tuple[bytes, bytes | None]) -> None:
    """By anybody."""
    producer = Producer(producer_config(kafka, "test"))
    for key, value in records:
        producer.produce(kafka.topic_prefix + topics.HALTS.name, value, key)
    assert producer.flush(DEADLINE_SECONDS) == 0


def test_the_topic_is_followed_and_known_again(place: KafkaConfig) -> None:
    """First all of it, then what comes, tombstones too; made anew with as many records, all of it again."""
    follower = HaltsFollower(place)
    try:
        assert follower.read() == (True, [])
        produce(place, (b"a", b"1"), (b"b", b"2"))
        assert follower.read() == (False, [(b"a", b"1"), (b"b", b"2")])
        assert follower.read() == (False, [])
        produce(place, (b"a", None))
        assert follower.read() == (False, [(b"a", None)])
        delete(place)
        until("the topic is gone", lambda: _refused(follower))
        create(place)
        produce(place, (b"c", b"3"), (b"d", b"4"), (b"a", None))
        read = until("it is read again", lambda: _read(follower))
        assert read == (True, [(b"c", b"3"), (b"d", b"4"), (b"a", None)])
    finally:
        follower.close()


def test_a_topic_made_anew_between_two_looks_is_another(place: KafkaConfig) -> None:
    """Nobody looked while it was gone: that its last record is another one is enough."""
    follower = HaltsFollower(place)
    try:
        produce(place, (b"a", b"1"))
        assert follower.read() == (True, [(b"a", b"1")])
        delete(place)
        until("it is made anew", lambda: _created(place))
        produce(place, (b"a", b"1"), (b"b", b"2"))
        read = until("it is read again", lambda: _read(follower))
        assert read == (True, [(b"a", b"1"), (b"b", b"2")])
    finally:
        follower.close()


def _created(kafka: KafkaConfig) -> bool:
    try:
        create(kafka)
    except Exception:  # the old one is still being deleted
        return False
    return True


def _refused(follower: HaltsFollower) -> bool:
    try:
        follower.read()
    except AndonError:
        return True
    return False


def _read(follower: HaltsFollower) -> object:
    try:
        return follower.read()
    except AndonError:
        return None
