"""People in command: takes operators' commands in, answers each of them once, and does what the answers say.

Exactness: an answer is appended to the fleet's audit before its effect, with the halt or resume that follows, signed,
and with the first partial that comes after it. So whoever takes the fleet over finds what was answered; does it again
at the same place among the partials, on state that does not hold it yet; and puts onto `fleet.halts` the very record
that was to go there, if it is not there. A command without an answer is answered anew.

It takes turns in `obey` only: whoever calls anything else has one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from pipeline.correlate import records
from pipeline.correlate.fleets import FleetProgress, Fleets
from pipeline.correlate.halt_keeper import HaltKeeper, IsOurs
from pipeline.correlate.ports import CommandRecord, Ports
from pipeline.correlate.reading import Reading
from pipeline.decide.orders import Decisions
from pipeline.halt.chain import FAULTS, Fault, Head, by_fleet
from pipeline.halt.clerk import Clerk, head_of, ruling_of
from pipeline.halt.errors import UntrustedRecord
from pipeline.runtime import metrics
from pipeline.runtime.errors import AndonError
from pipeline.wire.audit import AuditEntry, Place

AT_ONCE = 50  # commands of one look: partials wait meanwhile
LOGGED = 10  # faults of a fleet's audit

Publish = Callable[[Decisions], Awaitable[None]]


class Commander:
    """One per process. `publish` is told what rulings make news."""

    def __init__(
        self,
        fleets: Fleets,
        reading: Reading,
        halts: HaltKeeper,
        ports: Ports,
        publish: Publish,
        clock: Callable[[], int],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._fleets, self._reading, self._halts = fleets, reading, halts
        self._clerk = Clerk(halts.issuer)
        self._ports, self._publish, self._clock, self._log = ports, publish, clock, log
        self._again: set[str] = set()  # fleets that have effects to do again
        self._queue: list[CommandRecord] = []
        self._next: dict[int, int] = {}  # by partition of fleet.commands: read up to there
        self._life = 0  # counts recoveries

    # -- recovery

    async def begin_anew(self) -> None:
        """What was answered, and what of it is to be done again: after the fleets are as their state has them."""
        self._life += 1
        self._clerk.forget()
        self._again.clear()
        self._queue, self._next = [], {}
        audit = by_fleet(await self._ports.read_audit())
        for name in {*audit, *self._fleets.by_name}:
            fleet = self._fleets.by_name.get(name)
            held = Head() if fleet is None else fleet.audit
            self._alarm(name, self._clerk.take_up(name, audit.get(name, []), held))
            if self._clerk.ledger(name).again:
                self._again.add(name)
        self._halts.published.update(self._halts.issuer.register.all_newest())

    def _alarm(self, name: str, faults: list[Fault]) -> None:
        metrics.from_zero(metrics.AUDIT_FAULTS, FAULTS)
        for fault in faults:
            metrics.AUDIT_FAULTS.labels(fault.kind).inc()
        for fault in faults[:LOGGED]:
            self._log.error("the audit is not whole", fleet=name, entry=fault.seq, why=fault.words, where=fault.where)

    # -- partials

    async def catch_up(self, partition: int, following: int) -> None:
        """Before the partial at `following` is taken in: what people decided before it is done again."""
        for fleet in self._fleets_again():
            if fleet.partition == partition:
                await self._do_again(fleet, following)

    def _fleets_again(self) -> Iterable[FleetProgress]:
        known = self._fleets.by_name
        return [known[name] for name in sorted(self._again) if name in known]

    async def _do_again(self, fleet: FleetProgress, following: int) -> None:
        again = self._clerk.ledger(fleet.name).again
        while again and self._is_due(again[0].partials, fleet, following):
            await self._do(fleet, again[0], following)
            again.popleft()
        if not again:
            self._again.discard(fleet.name)

    def _is_due(self, place: Place, fleet: FleetProgress, following: int) -> bool:
        bounds = self._fleets.bounds(fleet.partition)
        return place.is_due(fleet.partition, bounds.log_id, bounds.high, following)

    def is_ahead(self, fleet: str, halt_key: str) -> bool:
        """Whether people decided on it later than what is read again now: then an order of before is answered."""
        return fleet in self._again and self._clerk.ledger(fleet).is_ahead(halt_key)

    async def note(self, following: int | None = None) -> None:
        """What was put onto `fleet.halts` goes into the audit, unless it is there; `following` is the partial that
        comes after it, when it is not the one that is waited for."""
        for key, halt in list(self._halts.published.items()):
            fleet = self._fleets.by_name.get(halt.fleet)
            if fleet is None:
                continue
            after = self._reading.following(fleet.partition) if following is None else following
            if after is not None:
                await self._note(fleet, key, after)
                del self._halts.published[key]

    async def _note(self, fleet: FleetProgress, halt_key: str, following: int) -> None:
        entry = self._clerk.issued(fleet.name, halt_key, self._clock())
        if entry is not None:
            written = await self._append(entry, following)
            if fleet.name not in self._again:
                self._fleets.ruled(fleet, head_of(written), following, self._clock())

    # -- commands

    async def obey(self, turn: asyncio.Lock, is_ours: IsOurs) -> None:
        """Read commands and answer them, in their order; and let halts stand again whose resume is over."""
        life, read = self._life, list[CommandRecord]()
        try:
            read += await self._ports.read_commands(dict(self._next))
        except AndonError as error:
            self._log.warning("fleet.commands cannot be read now", error=str(error))
        async with turn:
            if life != self._life:
                return  # they are read again
            for record in read:
                self._next[record.partition] = record.offset + 1
            self._queue += read
            for fleet in self._fleets_again():
                following = self._reading.following(fleet.partition)
                if following is not None:
                    await self._do_again(fleet, following)  # what no partial has to come for
            await self._take(is_ours)
            await self._lapse(is_ours)
            await self.note()

    async def _take(self, is_ours: IsOurs) -> None:
        """As many as may be: those of a fleet whose state is not what it was wait, in their order."""
        waiting: list[CommandRecord] = []
        taken = 0
        while self._queue and taken < AT_ONCE:
            record = self._queue[0]
            if not is_ours(record.fleet):
                pass  # another process's; whoever gets the fleet reads all again
            elif self._must_wait(record.fleet):
                waiting.append(record)
            else:
                taken += 1
                await self._answer(record)
            del self._queue[0]
        self._queue = [*waiting, *self._queue]

    def _must_wait(self, name: str) -> bool:
        fleet = self._fleets.by_name.get(name)
        return fleet is not None and (name in self._again or self._reading.following(fleet.partition) is None)

    async def _answer(self, record: CommandRecord) -> None:
        fleet = self._fleets.by_name.get(record.fleet)
        place = Place(record.partition, record.offset)
        stance_of = None if fleet is None else fleet.detector.stance
        sent = (record.key, record.value, record.appended_at_ms)
        try:
            found = self._clerk.command(record.fleet, sent, place, stance_of, self._clock())
        except UntrustedRecord as error:
            await self._set_aside(record, error)
            return
        if found is not None:
            answer, entry = found
            await self._carry_out(entry)
            metrics.COMMANDS.labels(answer.outcome, answer.why).inc()
            self._log.warning("command", fleet=record.fleet, outcome=answer.outcome, why=answer.why, what=answer.detail)

    async def _set_aside(self, record: CommandRecord, error: UntrustedRecord) -> None:
        if record.is_past(self._clock()):
            return  # it was set aside before, or nobody waits for it any more
        letter = records.untrusted_command(record, f"{error.reason}: {error}")
        metrics.REJECTED.labels(letter.stage, letter.reason.value).inc()
        self._log.warning("command not believed", why=error.reason, partition=record.partition, offset=record.offset)
        await self._ports.publish(records.letter_record(letter))

    async def _lapse(self, is_ours: IsOurs) -> None:
        for resume in self._halts.issuer.outdone(self._clock()):
            if resume.fleet in self._fleets.by_name and is_ours(resume.fleet) and not self._must_wait(resume.fleet):
                await self._carry_out(self._clerk.lapse(resume, self._clock()))
                self._log.warning("the halt stands again", halt=resume.key, epoch=resume.epoch, was=resume.decided_by)

    # -- entries

    async def _append(self, entry: AuditEntry, following: int) -> AuditEntry:
        fleet = self._fleets.by_name.get(entry.fleet)
        place = Place(0, 0) if fleet is None else Place(fleet.partition, following, fleet.log_id)
        written, raw = self._clerk.written(entry, place)
        await self._ports.publish(records.audit_record(written.key, raw))
        self._clerk.append(written)
        return written

    async def _carry_out(self, entry: AuditEntry) -> None:
        """Written down first, then done."""
        fleet = self._fleets.by_name.get(entry.fleet)
        following = 0 if fleet is None else self._reading.following(fleet.partition) or 0
        written = await self._append(entry, following)
        if fleet is not None:
            await self._do(fleet, written, following)

    async def _do(self, fleet: FleetProgress, entry: AuditEntry, following: int) -> None:
        """The effect of an entry, as often as it takes: what is on `fleet.halts` already is not said again."""
        await self._halts.say(entry.halt)
        if ruling := ruling_of(entry):
            await self._publish(fleet.detector.rule(ruling))
        self._fleets.ruled(fleet, head_of(entry), following, self._clock())
