"""The correlator's side of `fleet.halts`: what is ordered goes out once, is renewed, and stays what the topic says.

It takes no turns: whoever calls it does, but for `watch` and `renew`, which read the topic before they take one.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice

import structlog

from pipeline.correlate import records
from pipeline.correlate.config import STAGE
from pipeline.correlate.halt_watch import HaltWatch, Judged
from pipeline.correlate.ports import HaltsRead, Ports
from pipeline.decide.orders import HaltOrder
from pipeline.halt.issuer import SIGNED_ANEW, HaltIssuer
from pipeline.halt.safety import ERASED
from pipeline.runtime import metrics
from pipeline.runtime.clock import Clock
from pipeline.runtime.errors import AndonError, FatalStageError
from pipeline.wire.halts import Halt, decode_halt
from pipeline.wire.verdicts import FleetHeartbeat

IsOurs = Callable[[str], bool]  # whether a fleet's halts are this process's to publish, now


class HaltKeeper:
    """One per process, on the issuer that knows what has been said."""

    def __init__(
        self, issuer: HaltIssuer, ports: Ports, clock: Clock, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self.issuer = self._issuer = issuer
        self.published: dict[str, Halt] = {}  # by key: what went out and has not been noted elsewhere
        self._ports, self._clock, self._log = ports, clock, log
        self._watch = HaltWatch(issuer, log)
        self._kids = frozenset(issuer.trusted)  # whom the last look believed

    # -- orders

    async def obey(self, order: HaltOrder) -> None:
        """Only an order to enforce becomes a record; a shadow or pending one shows in its verdict's state."""
        if order.mode != "enforce":
            metrics.HALTS.labels(order.mode).inc()
            self._log.warning("halt not enforced", mode=order.mode, halt=order.key, rings=",".join(order.rings))
            return
        halt = self._issuer.answer(order, self._clock())
        if halt is None:
            return
        await self._publish(halt)
        metrics.HALTS.labels(order.mode).inc()
        self._log.warning("halt", halt=halt.key, rings=",".join(halt.rings), epoch=halt.epoch, reason=halt.reason)

    async def _publish(self, halt: Halt) -> None:
        await self._ports.publish(records.halt_record(halt))
        self._issuer.register.put(halt)
        self.published[halt.key] = halt

    async def say(self, text: str) -> None:
        """A record that was written down before, "" for none; unless the topic has it, or a newer one of its key."""
        if not text:
            return
        halt = decode_halt(text.encode())
        known = self._issuer.register.newest(halt.key)
        if known is None or known.rank < halt.rank:
            await self._publish(halt)
            metrics.HALTS.labels(halt.action).inc()
            self._log.warning(halt.action, halt=halt.key, epoch=halt.epoch, by=halt.decided_by, reason=halt.reason)

    # -- what was said stays said

    async def renew(self, turn: asyncio.Lock, is_ours: IsOurs) -> None:
        """Renew halts at half of their life, and what another key signed, after a look at what the topic says now."""
        if not self._renewals(is_ours):
            return
        published = await self._judged()
        async with turn:
            self._learn(published)
            for halt in self._renewals(is_ours):
                await self._publish(self._issuer.renewed(halt, self._clock()))
                self._log.info("halt renewed", halt=halt.key, epoch=halt.epoch)

    def _renewals(self, is_ours: IsOurs) -> list[Halt]:
        due = [halt for halt in self._issuer.due(self._clock()) if is_ours(halt.fleet)]
        keys = {halt.key for halt in due}
        others = (halt for halt in self._issuer.of_other_keys() if is_ours(halt.fleet) and halt.key not in keys)
        return due + list(islice(filter(self._issuer.believes, others), SIGNED_ANEW))

    async def watch(self, turn: asyncio.Lock, is_ours: IsOurs) -> None:
        """Hold the topic against what was said, and put back what it has lost, halts at a higher epoch. When others are
        believed than at the last look, all of it is judged again.

        Raises:
            FatalStageError: when the key that signs here was revoked.
        """
        if self._issuer.is_revoked:
            raise FatalStageError("the key that signs here is revoked: nobody believes what is said with it")
        kids = frozenset(self._issuer.trusted)
        if kids != self._kids:
            gone, come = sorted(self._kids - kids), sorted(kids - self._kids)
            self._log.warning("other keys are trusted than before", gone=gone, come=come)
        expected = self._watch.expected()
        try:
            read = await self._ports.follow_halts(kids != self._kids)
            judged = await asyncio.to_thread(self._watch.judge, read)
        except AndonError as error:
            self._log.warning("fleet.halts cannot be read now", error=str(error))
            return
        self._kids = kids
        async with turn:
            for halt, reason in self._watch.look(expected, judged, read.is_whole, self._clock()):
                is_over = halt.action == "resume" and self._issuer.why_over(halt, self._clock())
                if is_ours(halt.fleet) and not is_over:  # of such a resume the halt stands again
                    await self._put_back(halt, reason)

    async def _put_back(self, halt: Halt, reason: str) -> None:
        back = self._issuer.restored(halt, self._clock())
        await self._publish(back)
        self._watch.put_back(back, self._clock())
        self._log.error("put back on fleet.halts", halt=back.key, epoch=back.epoch, why=reason)

    def complete(self, beat: FleetHeartbeat) -> FleetHeartbeat:
        """The heartbeat with what it says of halts, signed."""
        return self._issuer.signed(self._watch.complete(beat, beat.at))

    # -- recovery

    async def begin_anew(self) -> None:
        """Know what the topic says, and nothing else."""
        self._issuer.forget()
        self.published.clear()
        self._learn(await self._judged())
        self._watch.began(self._clock())

    async def _judged(self) -> list[Judged]:
        """What every record of the topic says. Signatures take their time: others have their turn meanwhile."""
        return await asyncio.to_thread(self._watch.judge, HaltsRead(True, await self._ports.read_halts()))

    def _learn(self, published: Iterable[Judged]) -> None:
        for key, said, claimed in published:
            if claimed is not None:
                self._issuer.register.pass_epoch(claimed)
            if isinstance(said, Halt):
                self._issuer.register.put(said)
            elif said != ERASED:
                metrics.REJECTED.labels(STAGE, said).inc()
                self._log.warning("halt record not believed", halt=key, why=said)

    def recall(self, stored: Iterable[bytes]) -> None:
        """Take in a fleet's records of own state. What the topic seems to have lost is what `watch` looks for: a
        partition's new leader may show it a moment later."""
        for halt in map(decode_halt, stored):
            self._issuer.recall(halt)
