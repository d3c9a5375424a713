"""Takes partials in, gives verdicts and signed halts out, keeps its state in checkpoints.

Exactness: a partial counts as handled once all that it gave rise to is acknowledged; a checkpoint holds handled
partials only; input offsets are committed only as far as checkpoints reach. So a kill at any instant repeats at most
the partials since the checkpoint, on state that does not hold them yet, and their halts are already in the register.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from pipeline.correlate import records
from pipeline.correlate.checkpoint import Checkpoint, Entry, Restored, pack, unpack
from pipeline.correlate.config import STAGE
from pipeline.correlate.fleets import NONE, FleetProgress, Fleets
from pipeline.correlate.ports import Bounds, PartialRecord, Ports
from pipeline.correlate.reading import MARKER, Reading
from pipeline.decide.orders import Decisions, HaltOrder
from pipeline.halt.issuer import HaltIssuer
from pipeline.runtime import metrics
from pipeline.wire.deadletter import DeadLetter
from pipeline.wire.halts import Halt, decode_halt
from pipeline.wire.partials import Partial


class Correlator:
    """One per process. `recover` comes before the first `handle`, and again whenever partitions change hands."""

    def __init__(
        self,
        fleets: Fleets,
        issuer: HaltIssuer,
        ports: Ports,
        clock: Callable[[], int],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self.fleets, self.issuer, self.reading = fleets, issuer, Reading()
        self.ready = False
        self.changelog_bytes = 0
        self._ports, self._clock, self._log = ports, clock, log
        self._turn = asyncio.Lock()  # one thing at a time on fleets and issuer
        self._saving = asyncio.Lock()  # one checkpoint at a time; `_turn` is free while it is being written
        self.session = 0  # counts recoveries: what was begun in an earlier one must not be finished
        self._committed: dict[int, int] = {}

    # -- partials

    async def handle(self, message: PartialRecord, session: int) -> None:
        """Take in one partial that was read in this session; returns when its verdicts and halts are acknowledged.

        Raises:
            Skipped: partials before it never came.
        """
        async with self._turn:
            if session != self.session or not self.reading.accepts(message):
                return  # it will be read again, from where the recovered state ends
            found = records.read_partial(message)
            if isinstance(found, DeadLetter):
                await self._refuse(found)
            else:
                await self._step(message, found)
            self.fleets.handled(message.partition, message.offset)
            self.reading.taken(message)

    async def _step(self, message: PartialRecord, partial: Partial) -> None:
        start = time.perf_counter()
        decisions = self.fleets.step(message.partition, message.offset, partial, self._clock())
        if decisions is None:
            return
        metrics.STEP_SECONDS.observe(time.perf_counter() - start)
        metrics.EVENTS.labels(STAGE).inc(partial.events)
        metrics.BATCHES.labels(STAGE).inc()
        await self._publish(decisions)

    async def _refuse(self, letter: DeadLetter) -> None:
        metrics.REJECTED.labels(STAGE, letter.reason.value).inc()
        self._log.warning("partial refused", reason=letter.reason.value, detail=letter.detail, offset=letter.offset)
        await self._ports.publish(records.letter_record(letter))

    # -- decisions

    async def _publish(self, decisions: Decisions) -> None:
        for order in decisions.halts:  # halts first: they are what people wait for
            await self._obey(order)
        flagged = (records.with_loss(verdict, self._lost_at_ms(verdict.fleet)) for verdict in decisions.verdicts)
        await asyncio.gather(*map(self._ports.publish, map(records.verdict_record, flagged)))

    def _lost_at_ms(self, fleet: str) -> int:
        return self.fleets.by_name[fleet].lost_at_ms

    async def _obey(self, order: HaltOrder) -> None:
        """Only an order to enforce becomes a record; a shadow or pending one shows in its verdict's state."""
        if order.mode != "enforce":
            metrics.HALTS.labels(order.mode).inc()
            self._log.warning("halt not enforced", mode=order.mode, halt=order.key, rings=",".join(order.rings))
            return
        halt = self.issuer.answer(order, self._clock())
        if halt is None:
            return
        await self._publish_halt(halt)
        metrics.HALTS.labels(order.mode).inc()
        self._log.warning("halt", halt=halt.key, rings=",".join(halt.rings), epoch=halt.epoch, reason=halt.reason)

    async def _publish_halt(self, halt: Halt) -> None:
        await self._ports.publish(records.halt_record(halt))
        self.issuer.register.put(halt)

    # -- timers

    async def heartbeat(self) -> None:
        """Say of every fleet that its detector lives, and how far it has read."""
        now = self._clock()
        live, newest, unwatched = 0, 0, 0
        for fleet in list(self.fleets.by_name.values()):
            summary = fleet.detector.summary()
            live, newest = live + summary["live_updates"], max(newest, summary["stream_time"])
            unwatched += summary["updates_unwatched"]
            await self._ports.publish(records.heartbeat_record(fleet, summary, now))
        metrics.LIVE_UPDATES.set(live)
        metrics.UNWATCHED_UPDATES.set(unwatched)
        metrics.STREAM_TIME.labels(STAGE).set(newest / 1000)

    async def renew(self) -> None:
        """Renew halts at half of their life, after a look at what the topic says by now."""
        if not self.ready or not self._renewals():
            return
        published = await self._ports.read_halts()
        async with self._turn:
            self._learn(published)
            for halt in self._renewals():
                await self._publish_halt(self.issuer.renewed(halt, self._clock()))
                self._log.info("halt renewed", halt=halt.key, epoch=halt.epoch)

    def _renewals(self) -> list[Halt]:
        due = self.issuer.due(self._clock())
        return [halt for halt in due if self._ports.partition_of(halt.fleet) in self._committed]

    # -- checkpoints

    async def checkpoint(self, dirty_seconds: float) -> None:
        """Write every fleet that has been dirty for so long, then commit input offsets as far as checkpoints reach."""
        async with self._saving:
            session = self.session
            for fleet in self.fleets.due(self._clock(), int(dirty_seconds * 1000)):
                if not await self._save(fleet, session):
                    return
            for partition in list(self._committed):
                await self._commit(partition, session)

    async def _save(self, fleet: FleetProgress, session: int) -> bool:
        async with self._turn:
            if session != self.session:
                return False
            image = self.fleets.image(fleet, self.issuer.register.of_fleet(fleet.name))
        try:
            checkpoint = await asyncio.to_thread(pack, image.state, image.side)
            for entries in (checkpoint.chunks, (checkpoint.header,)):
                if session != self.session:
                    return False
                await self._ports.store(fleet.partition, entries)
        except BaseException:  # cancelled, too: the last checkpoint before a stop must still find it dirty
            self.fleets.undo(fleet, image)
            raise
        fleet.side = checkpoint.side
        self._count(checkpoint)
        return True

    def _count(self, checkpoint: Checkpoint) -> None:
        size = sum(_size(entry) for entry in (*checkpoint.chunks, checkpoint.header))
        self.changelog_bytes += size
        metrics.CHANGELOG_BYTES.inc(size)

    async def _commit(self, partition: int, session: int) -> None:
        async with self._turn:
            offset = self.fleets.commit_offset(partition) if session == self.session else None
        if offset is not None and offset != self._committed[partition]:
            await self._ports.commit(partition, offset)
            self._committed[partition] = offset

    # -- reading

    def began(self, partition: int, committed: int | None, low: int) -> None:
        """Reading starts at what is committed, or at the log's first offset: what was deleted in between is lost."""
        known = [fleet.offset for fleet in self.fleets.of_partition(partition)]
        following = max([committed or 0, *(offset + 1 for offset in known)])
        if following and low - following > MARKER and not self.reading.has_begun(partition):
            lost = low - following
            metrics.LOST.labels(STAGE, records.TOPIC).inc(lost)
            self._log.error("partials deleted before they were read", partition=partition, at_most=lost, upto=low)
            self.fleets.lost(partition, low, self._clock())
        self.reading.began(partition, max(committed or 0, low))

    # -- recovery

    async def recover(self, assigned: Mapping[int, Bounds], table: Mapping[bytes, bytes]) -> None:
        """Begin anew from the table, for the partitions that are ours now."""
        self.ready = False
        async with self._turn:
            self.session += 1
            self.fleets.reset({partition: bounds.log_id for partition, bounds in assigned.items()})
            self.reading.reset()
            self._committed = dict.fromkeys(assigned, NONE)
            self.issuer.forget()
            self._learn(await self._ports.read_halts())
            for restored in unpack(table):
                if restored.header.partition in assigned:
                    await self._take_up(restored, assigned[restored.header.partition])
        self.ready = True
        self._log.info("recovered", partitions=sorted(assigned), fleets=len(self.fleets.by_name))

    def _learn(self, published: Sequence[Halt]) -> None:
        for halt in published:
            if refused := self.issuer.register.learn(halt):
                metrics.REJECTED.labels(STAGE, refused).inc()
                self._log.warning("halt record not believed", halt=halt.key, epoch=halt.epoch, why=refused)

    async def _take_up(self, restored: Restored, bounds: Bounds) -> None:
        header, state, why = restored
        try:
            if state is None:
                raise ValueError(why)
            fleet = self.fleets.restore(state, header.side)
        except ValueError as error:
            # Better everything retained once more than a fleet that nobody watches. Others skip what they hold.
            self._log.error("state unreadable: reading all retained partials", fleet=header.fleet, why=str(error))
            await self._ports.commit(header.partition, bounds.low)
            return
        for halt in map(decode_halt, state.halts):
            if self.issuer.recall(halt):
                self._log.error("fleet.halts had lost a record: published again", halt=halt.key, epoch=halt.epoch)
                await self._publish_halt(halt)
        if fleet.offset >= bounds.high or (fleet.log_id and bounds.log_id and fleet.log_id != bounds.log_id):
            self._log.error("fleet.partials began anew: its offsets are not the state's", fleet=fleet.name)
            fleet.offset = NONE
            await self._ports.commit(header.partition, bounds.low)
        fleet.log_id = bounds.log_id


def _size(entry: Entry) -> int:
    return len(entry[0]) + len(entry[1])
