"""Takes partials in, gives verdicts and signed halts out, keeps its state in checkpoints.

Exactness: a partial counts as handled once all that it gave rise to is acknowledged; a checkpoint holds handled
partials only; beside them, in the same table, stands where reading goes on, and a recovery begins there and nowhere
else. So a kill at any instant repeats at most the partials since the checkpoint, on state that does not hold them yet,
and their halts are already in the register.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from pipeline.correlate import records
from pipeline.correlate.checkpoint import Entry, Restored, pack, places, unpack
from pipeline.correlate.commander import Commander
from pipeline.correlate.config import STAGE
from pipeline.correlate.fleets import NONE, FleetProgress, Fleets
from pipeline.correlate.halt_keeper import HaltKeeper
from pipeline.correlate.heartbeats import Heartbeats
from pipeline.correlate.ports import Bounds, PartialRecord, Ports
from pipeline.correlate.reading import MARKER, Reading
from pipeline.decide.orders import Decisions
from pipeline.halt.issuer import HaltIssuer
from pipeline.runtime import metrics

PLACED_MS = 60_000  # so often at least a table is written to: who else writes there is noticed


class Correlator:
    """One per process. `recover` comes before the first `handle`, and again whenever partitions change hands."""

    def __init__(
        self,
        fleets: Fleets,
        issuer: HaltIssuer,
        ports: Ports,
        clock: Callable[[], int],
        log: structlog.typing.FilteringBoundLogger,
        partials: records.PartialReader | None = None,
    ) -> None:
        self.fleets, self.issuer, self.reading = fleets, issuer, Reading()
        self.halts = HaltKeeper(issuer, ports, clock, log)
        self.commander = Commander(fleets, self.reading, self.halts, ports, self._publish, clock, log)
        self.beats = Heartbeats(fleets, self.halts, ports, clock, log)
        self.partials = partials or records.PartialReader()
        self.ready = False
        self.changelog_bytes = 0
        self._ports, self._clock, self._log = ports, clock, log
        self._turn = asyncio.Lock()  # one thing at a time on fleets and issuer
        self._saving = asyncio.Lock()  # one checkpoint at a time; `_turn` is free while it is being written
        self.session = 0  # counts recoveries: what was begun in an earlier one must not be finished
        metrics.from_zero(metrics.LOST, [STAGE], [records.TOPIC])
        metrics.CHECKPOINT_AGE.set_function(lambda: fleets.unsaved_seconds(clock()))
        self._recovers_since = time.monotonic()  # since it was made, or partitions went
        self._committed: dict[int, int] = {}
        self._told: dict[int, tuple[int, int]] = {}  # by partition: what the table was last told, and when (unix ms)
        self._refused: set[int] = set()  # partitions whose group took no offset
        self._disturbed: set[int] = set()  # partitions in whose changelog others have written

    # -- partials

    async def handle(self, message: PartialRecord, session: int) -> None:
        """Take in one partial that was read in this session; returns when its verdicts and halts are acknowledged.

        Raises:
            Skipped: partials before it never came.
        """
        async with self._turn:
            if session != self.session or not self.reading.accepts(message):
                return  # it will be read again, from where the recovered state ends
            await self.commander.catch_up(message.partition, message.offset)
            found = self._placed(message, self.partials.read(message))
            if isinstance(found, records.DeadLetter):
                await self._refuse(found)
            else:
                await self._step(message, found)
            self.fleets.handled(message.partition, message.offset)
            self.reading.taken(message)

    def _placed(self, message: PartialRecord, found: records.Read) -> records.Read:
        """A genuine partial repeated on another partition would count twice. Where they are is where their fleet's
        state is, or where its name belongs now: partitions may have been added since."""
        if isinstance(found, records.DeadLetter):
            return found
        fleet, place = self.fleets.by_name.get(found.fleet), self._ports.partition_of(found.fleet)
        if place in (None, message.partition) or (fleet is not None and fleet.partition == message.partition):
            return found
        return records.misplaced(message)

    async def _step(self, message: PartialRecord, partial: records.Partial) -> None:
        start = time.perf_counter()
        decisions = self.fleets.step(message.partition, message.offset, partial, self._clock())
        if decisions is None:
            return
        metrics.STEP_SECONDS.observe(time.perf_counter() - start)
        metrics.EVENTS.labels(STAGE).inc(partial.events)
        metrics.BATCHES.labels(STAGE).inc()
        await self._publish(decisions, message.offset + 1)

    async def _refuse(self, letter: records.DeadLetter) -> None:
        metrics.REJECTED.labels(STAGE, letter.reason.value).inc()
        self._log.error("partial refused", reason=letter.reason.value, detail=letter.detail, offset=letter.offset)
        await self._ports.publish(records.letter_record(letter))
        metrics.DEADLETTERS.labels(STAGE).inc()

    # -- decisions

    async def _publish(self, decisions: Decisions, following: int | None = None) -> None:
        for order in decisions.halts:  # halts first: they are what people wait for
            if not self.commander.is_ahead(order.fleet, order.key):
                await self.halts.obey(order)
        flagged = (records.with_loss(verdict, self._lost_at_ms(verdict.fleet)) for verdict in decisions.verdicts)
        words = (*flagged, *((decisions.alarm,) if decisions.alarm else ()))
        signed = map(self.issuer.signed, words)
        await asyncio.gather(*map(self._ports.publish, map(records.verdict_record, signed)))
        if decisions.halts:
            await self.commander.note(following)

    def _lost_at_ms(self, fleet: str) -> int:
        return self.fleets.by_name[fleet].lost_at_ms

    # -- timers

    async def heartbeat(self) -> None:
        """Say of every fleet that its detector lives, how far it has read, and what stands halted; signed."""
        await self.beats.beat(lambda: self.ready)

    async def obey(self) -> None:
        """Take in what people command."""
        if self.ready:
            await self.commander.obey(self._turn, self._is_ours)

    async def watch_halts(self) -> None:
        """Hold `fleet.halts` against what was said, and put back what it has lost."""
        await self.halts.watch(self._turn, self._is_ours)

    async def renew(self) -> None:
        """Renew halts at half of their life."""
        await self.halts.renew(self._turn, self._is_ours)

    def _is_ours(self, fleet: str) -> bool:
        place = self._ports.partition_of(fleet)
        return self.ready and (fleet in self.fleets.by_name if place is None else place in self._committed)

    # -- checkpoints

    async def checkpoint(self, dirty_seconds: float) -> None:
        """Write every fleet that has been dirty for so long, then where reading goes on, as far as checkpoints reach.

        First of all a session says where it began: an earlier one may have said more than its table held, and what
        this one writes would be taken for that.
        """
        async with self._saving:
            session = self.session
            due = self.fleets.due(self._clock(), int(dirty_seconds * 1000))
            for partition in self._committed.keys() - self._told.keys():
                await self._place(partition, session)
            is_saved = await self._save_all(due, session)
            self.beats.show_sizes()
            if not is_saved:
                return
            for partition in list(self._committed):
                await self._place(partition, session)
            disturbed, self._disturbed = self._disturbed, set()
            for partition in disturbed:
                if await self._save_all(self.fleets.of_partition(partition), session):
                    await self._place(partition, session)

    async def _save_all(self, fleets: Iterable[FleetProgress], session: int) -> bool:
        for fleet in fleets:
            if not await self._save(fleet, session):
                return False
        return True

    async def _save(self, fleet: FleetProgress, session: int) -> bool:
        async with self._turn:
            if session != self.session:
                return False
            image = self.fleets.image(fleet, self.issuer.register.of_fleet(fleet.name))
        try:
            start = time.perf_counter()
            checkpoint = await asyncio.to_thread(pack, image.state, image.side)
            for entries in (checkpoint.chunks, (checkpoint.header,)):
                if session != self.session:
                    return False
                await self._store(fleet.partition, entries)
        except BaseException:  # cancelled, too: the last checkpoint before a stop must still find it dirty
            self.fleets.undo(fleet, image)
            raise
        fleet.side, fleet.state_bytes = checkpoint.side, sum(len(value) for _, value in checkpoint.chunks)
        metrics.CHECKPOINT_SECONDS.observe(time.perf_counter() - start)
        return True

    async def _store(self, partition: int, entries: Sequence[Entry]) -> None:
        """A process that was cut off may write its last checkpoint after its successor's first: then all is due."""
        if not await self._ports.store(partition, entries):
            self._log.warning("others have written to the state: every fleet is written anew", partition=partition)
            self._disturbed.add(partition)
        size = sum(len(key) + len(value) for key, value in entries)
        self.changelog_bytes += size
        metrics.CHANGELOG_BYTES.inc(size)

    async def _place(self, partition: int, session: int) -> None:
        """Say where reading goes on: in the table, and to the group for those who watch it."""
        async with self._turn:
            offset = self.fleets.commit_offset(partition) if session == self.session else None
        if offset is None:
            return
        placed, placed_ms = self._told.get(partition, (NONE, 0))
        if offset != placed or self._clock() - placed_ms > PLACED_MS:
            await self._store(partition, (self.fleets.place_entry(partition, offset),))
            self._told[partition] = offset, self._clock()
        if offset != self._committed[partition]:
            await self._commit(partition, offset)

    async def _commit(self, partition: int, offset: int) -> None:
        if await self._ports.commit(partition, offset):
            self._committed[partition] = offset
            self._refused.discard(partition)
        elif partition not in self._refused:
            self._refused.add(partition)
            self._log.warning("offset not taken by the group: its lag shows too much", partition=partition)

    # -- reading

    def began(self, partition: int, committed: int | None, low: int) -> int:
        """Reading begins, at the offset that is returned, or goes back there; given what the group has committed, and
        the first offset that the log holds."""
        place = self.reading.following(partition)
        if place is None:
            place = self.fleets.begins_at(partition, committed)
            self.fleets.handled(partition, max(place or 0, low) - 1)
            if place is not None:
                self._look_for_loss(partition, place, low)
            if (place or 0) < (committed or 0):
                self._log.warning("state older than committed", partition=partition, committed=committed, place=place)
        start = max(place or 0, low)
        self.reading.began(partition, start)
        return start

    def _look_for_loss(self, partition: int, place: int, low: int) -> None:
        """What was deleted before it was read is lost."""
        lost = low - place
        if lost > MARKER:
            metrics.LOST.labels(STAGE, records.TOPIC).inc(lost)
            self._log.error("partials deleted before they were read", partition=partition, at_most=lost, upto=low)
            self.fleets.lost(partition, low, self._clock())

    # -- recovery

    def let_go(self) -> None:
        """Partitions go: a recovery follows."""
        self._recovers_since = time.monotonic()

    async def recover(self, assigned: Mapping[int, Bounds], table: Mapping[bytes, bytes]) -> None:
        """Begin anew from the table, for the partitions that are ours now."""
        self.ready = False
        async with self._turn:
            self.session += 1
            self.fleets.reset(assigned, places(table))
            self.reading.reset()
            self.beats.ahead.clear()
            self.beats.clocks.clear()
            self._committed = dict.fromkeys(assigned, NONE)
            self._told.clear()
            self._disturbed.clear()
            await self.halts.begin_anew()
            for restored in unpack(table):
                if restored.header.partition in assigned:
                    await self._take_up(restored, assigned[restored.header.partition])
            await self.commander.begin_anew()
        self.ready = True
        metrics.RECOVERIES.labels(STAGE).inc()
        metrics.RECOVERY_SECONDS.labels(STAGE).set(time.monotonic() - self._recovers_since)
        self._log.info("recovered", partitions=sorted(assigned), fleets=len(self.fleets.by_name))

    async def _take_up(self, restored: Restored, bounds: Bounds) -> None:
        header, state, why = restored
        if state is not None:
            self.halts.recall(state.halts)
        try:
            if state is None:
                raise ValueError(why)
            fleet = self.fleets.restore(state, header.side, self._clock())
        except ValueError as error:
            self._log.error("state not usable: reading all retained partials", fleet=header.fleet, why=str(error))
            self.fleets.read_all(header.partition)
            return
        if not bounds.has_been_at(fleet.offset + 1, fleet.log_id):
            self._log.error("fleet.partials began anew: its offsets are not the state's", fleet=fleet.name)
            self.fleets.forget_place(fleet, self._clock())
            self.fleets.read_all(header.partition)
        fleet.log_id = bounds.log_id
