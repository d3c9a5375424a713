"""A world in memory for the correlator: what outlives its process, and lives lived on it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from pipeline.correlate.checkpoint import Entry
from pipeline.correlate.correlator import Correlator
from pipeline.correlate.detectors import Detectors
from pipeline.correlate.fleets import Fleets
from pipeline.correlate.ports import AuditRecord, Bounds, CommandRecord, HaltRecord, HaltsRead, OutRecord, PartialRecord
from pipeline.correlate.records import PartialReader
from pipeline.halt.issuer import HaltIssuer
from pipeline.halt.signing import load_or_create
from pipeline.halt.trust import TrustedDirectory
from pipeline.wire.halts import Halt, decode_halt
from pipeline.wire.partials import Partial, UpdateId, encode_partial
from pipeline.wire.spans import DAY_MS, MINUTE_MS
from support.correlate_worker import STREAM_START, CountingDetector, CountingDetectors, partial

UPDATE = UpdateId("v", "p", "1")
SHADOW = UpdateId("shadow", "p", "2")


class Killed(BaseException):
    """The process is gone."""


class World:
    """What outlives the process: topics, table, committed offsets. Dies at its nth change, before or after it."""

    def __init__(self, log: list[bytes]) -> None:
        self.log = log
        self.table: dict[bytes, bytes] = {}
        self.changelog: list[Entry] = []
        self.end: int | None = None  # of the changelog, as its newest writer knows it
        self.committed = 0
        self.records: list[tuple[str, bytes | None, bytes, dict[str, bytes]]] = []
        self.fuse: int | None = None
        self.after = False
        self.commands: list[CommandRecord] = []
        self.sent = 0  # how many of them there are by now

    async def _change(self, act: Callable[[], Any]) -> None:
        await asyncio.sleep(0)
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                if self.after:
                    act()
                raise Killed
        act()

    async def publish(self, record: OutRecord) -> None:
        """Append."""
        topic, key, value, headers = record
        await self._change(lambda: self.records.append((topic, key, value, dict(headers))))

    async def store(self, partition: int, entries: Sequence[Entry]) -> bool:
        """Entry by entry, as a log takes them."""
        alone = self.end in (None, len(self.changelog))
        for entry in entries:
            await self._change(lambda entry=entry: self.append(entry))
        self.end = len(self.changelog)
        return alone

    def append(self, entry: Entry) -> None:
        """To the changelog."""
        self.changelog.append(entry)
        self.table.update([entry])

    async def commit(self, partition: int, offset: int) -> bool:
        """Remember."""
        await self._change(lambda: setattr(self, "committed", offset))
        return True

    def halts(self) -> list[Halt]:
        """All."""
        return [decode_halt(value) for topic, _, value, _ in self.records if topic == "fleet.halts"]

    async def read_halts(self) -> list[HaltRecord]:
        """All."""
        return [HaltRecord(key, value) for topic, key, value, _ in self.records if topic == "fleet.halts"]

    async def follow_halts(self, anew: bool) -> HaltsRead:
        """All, every time."""
        return HaltsRead(True, await self.read_halts())

    async def read_audit(self) -> list[AuditRecord]:
        """All."""
        found = [(key, value) for topic, key, value, _ in self.records if topic == "fleet.audit"]
        return [AuditRecord(key, value, 0, offset) for offset, (key, value) in enumerate(found)]

    async def read_commands(self, since: Mapping[int, int]) -> list[CommandRecord]:
        """What was sent so far."""
        return self.commands[since.get(0, 0) : self.sent]

    def partition_of(self, fleet: str) -> int | None:
        """One partition."""
        return 0

    def bounds(self) -> dict[int, Bounds]:
        """Of the partials."""
        return {0: Bounds(0, len(self.log))}

    def letters(self) -> list[dict[str, bytes]]:
        """Headers of the dead letters."""
        return [headers for topic, _, _, headers in self.records if topic == "fleet.deadletter"]


def record(offset: int, value: bytes, appended_at_ms: int = STREAM_START + MINUTE_MS) -> PartialRecord:
    """A record of `fleet.partials`."""
    return PartialRecord(0, offset, b"k", value, appended_at_ms)


class Clock:
    """Moves when told."""

    def __init__(self) -> None:
        self.now = STREAM_START

    def __call__(self) -> int:
        return self.now


def correlator(
    world: World,
    keys: Path,
    clock: Clock,
    detectors: Detectors | None = None,
    partials: PartialReader | None = None,
) -> Correlator:
    """A fresh process on this world; it counts unless given other detectors."""
    log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[])
    key = load_or_create(keys)
    issuer = HaltIssuer(key, TrustedDirectory(keys, own=key), DAY_MS)
    return Correlator(Fleets(detectors or CountingDetectors()), issuer, world, clock, log, partials)


async def live(
    world: World, keys: Path, checkpoint_every: int = 3, table: Mapping[bytes, bytes] | None = None
) -> Correlator:
    """One life: recover, from the whole table unless another is given, read to the end of the log, checkpoint now and
    then."""
    clock, world.end = Clock(), None
    process = correlator(world, keys, clock)
    await process.recover(world.bounds(), dict(world.table if table is None else table))
    for offset in range(process.began(0, world.committed, 0), len(world.log)):
        await process.handle(record(offset, world.log[offset]), process.session)
        if offset % checkpoint_every == checkpoint_every - 1:
            await process.checkpoint(0)
    return process


LOG = [
    encode_partial(p) if isinstance(p, Partial) else p
    for p in (
        partial("acme", 20, (UPDATE,), 0),
        partial("zeta", 20, (UPDATE, SHADOW), 1),
        b"no partial",
        partial("acme", 35, (UPDATE,), 2),
        partial("zeta", 90, (UPDATE, SHADOW), 3),
        partial("acme", 5, (), 4),
        partial("acme", 60, (UPDATE,), 5),
        partial("zeta", 1, (), 6),
        partial("acme", 2, (UPDATE,), 7),
    )
]


def facts(process: Correlator) -> dict[str, tuple[int, int, bytes]]:
    """What a fleet's state amounts to."""
    found = {}
    for name, fleet in process.fleets.by_name.items():
        assert isinstance(fleet.detector, CountingDetector)
        found[name] = (fleet.events, fleet.offset, fleet.detector.digest)
    return found


def epochs(world: World) -> list[tuple[str, int, tuple[str, ...]]]:
    """Key, epoch and rings of every halt record, in order."""
    halts = [decode_halt(value) for topic, _, value, _ in world.records if topic == "fleet.halts"]
    return [(halt.key, halt.epoch, halt.rings) for halt in halts]
