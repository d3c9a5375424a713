"""State that a version leaves behind, as one packed file; and a life of its correlator on such a world."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.correlate.correlator import Correlator
from pipeline.correlate.records import PartialReader
from pipeline.correlate.shipped import ShippedDetectors
from pipeline.halt.signing import PRIVATE_NAME, SigningKey, load_or_create, private_pem
from pipeline.wire.halts import decode_halt
from pipeline.wire.partials import UpdateId
from pipeline.wire.seal import Seal
from support.correlate_world import Clock, World, correlator, record
from support.rollout_world import Operator, sent

SEAL = Seal(["a secret of tests, of more than 32 characters"])
FLEET = "acme"
Topic = tuple[str, str, int, dict[str, str]]  # name, key, partitions, settings


class Facts(msgspec.Struct, frozen=True):
    """What a correlator has come to: how much it took in, crashed hosts by update, and each halt's newest record."""

    events: int
    partials: int
    offset: int
    crashed: dict[str, int]
    halts: dict[str, tuple[int, str]]  # by key: epoch, action
    audit: int  # entries


class Left(msgspec.Struct, frozen=True):
    """`partials` stand on the topic from offset `first` on; those from `upto` on nobody has read yet, and `events` are
    what the combiner made them of, a list each. `following` is what the version itself came to after them."""

    version: str
    table: dict[bytes, bytes]
    records: list[tuple[str, bytes | None, bytes]]
    commands: list[bytes]
    committed: int
    first: int
    upto: int
    partials: list[bytes]
    events: list[list[bytes]]
    before: Facts
    following: Facts
    topics: list[Topic]
    migrations: list[tuple[int, str, str]]  # number, name, checksum
    intent: tuple[str, str]  # as the archive committed it, and its token
    tokens_file: str
    token: str
    settings_file: str
    policy_file: str


def read(path: Path) -> Left:
    """What `write` has written."""
    return msgspec.msgpack.decode(zstandard.decompress(path.read_bytes()), type=Left)


def write(left: Left, path: Path) -> None:
    """Packed."""
    path.write_bytes(zstandard.compress(msgspec.msgpack.encode(left), 19))


def key_of(name: str) -> SigningKey:
    """The same key in every version."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"a test's {name}".encode()).digest()))


def operator(name: str, keys: Path) -> Operator:
    """One whose key is the same in every version, and who is believed."""
    made = Operator(name)
    made.key = key_of(name)
    made.is_trusted_in(keys)
    return made


def detector_key(keys: Path) -> SigningKey:
    """The correlator's, in its place."""
    keys.mkdir(mode=0o700, parents=True)
    path = keys / PRIVATE_NAME
    path.write_bytes(private_pem(key_of("detector")._private))
    path.chmod(0o600)
    return load_or_create(keys)


def world_of(left: Left, upto: int | None = None) -> World:
    """The topics and the table that it left, with its partials as far as `upto`."""
    world = World([b""] * left.first + left.partials[: None if upto is None else upto - left.first])
    world.table, world.committed = dict(left.table), left.committed
    world.records = [(topic, key, value, {}) for topic, key, value in left.records]
    world.commands = [sent(raw, offset, Clock().now) for offset, raw in enumerate(left.commands)]
    world.sent = len(world.commands)
    return world


async def begun(world: World, keys: Path) -> Correlator:
    """A fresh process with the detectors that ship, recovered."""
    world.end = None
    process = correlator(world, keys, Clock(), ShippedDetectors.from_file(""), PartialReader(SEAL))
    await process.recover(world.bounds(), dict(world.table))
    return process


async def read_on(process: Correlator, world: World, upto: int | None = None) -> None:
    """As far as `upto`, or to the end."""
    first = process.began(0, world.committed, 0)
    for offset in range(first, len(world.log) if upto is None else upto):
        await process.handle(record(offset, world.log[offset]), process.session)
    await process.obey()


def facts_of(process: Correlator, world: World, updates: Sequence[UpdateId]) -> Facts:
    """What it has come to."""
    fleet = process.fleets.by_name[FLEET]
    state = fleet.detector.state
    crashed = {each.version: int(state.counts.crashed[state.names.updates.get(each)].sum()) for each in updates}
    halts = {halt.key: (halt.epoch, halt.action) for halt in world.halts()}
    audit = sum(topic == "fleet.audit" for topic, *_ in world.records)
    return Facts(fleet.events, fleet.partials, fleet.offset, crashed, halts, audit)


def newest_epoch(world: World, version: str) -> int:
    """Of the halts of a version."""
    found = [decode_halt(value) for topic, _, value, _ in world.records if topic == "fleet.halts"]
    return max(halt.epoch for halt in found if halt.version == version)
