"""Lines in, halts out: decode, fold, cut into partials, step. The same code that runs live; no I/O and no clock.

Live, a partial is a twentieth of a second. A file is read much faster than it came about, so here a partial is cut
where it matters: at a host's first crash, as long as the budget for that lasts, and otherwise when it has grown large.
"""

from collections.abc import Iterator, Sequence

from pipeline.backtest.decoding import Decoding
from pipeline.backtest.judging import Judging
from pipeline.backtest.noted import InputNotes
from pipeline.backtest.order import Order
from pipeline.backtest.stream import StreamClock
from pipeline.combine.emit import partials_of
from pipeline.combine.event_batch import EventBatch
from pipeline.combine.memory import HostNames as HostNames
from pipeline.combine.memory import Memory
from pipeline.decide.orders import HaltOrder
from pipeline.decide.policy import PolicySet
from pipeline.wire.events import AnyEvent, Boot, Crash, Heartbeat
from pipeline.wire.partials import BUCKET_MS

AT_ONCE = 256  # lines decoded together
PARTIAL_EVENTS = 65_536
PARTIAL_MS = 300_000  # of stream time
# A partial costs as much as some thousand events, so cuts at crashes come from a budget: one for so many events, and
# enough of them in reserve that the first hosts of an incident are judged one by one.
EVENTS_PER_CUT = 2_000
RESERVED_CUTS = 128
# Partials are folded together, since most of a small one's time is calls into numpy, which take as long for a thousand
# events as for ten: so many events, or partials, at once. More events than this leave the processor's cache.
FOLDED_EVENTS = 4_096
FOLDED_PARTS = 64
KNOWN_HOSTS = 200_000  # crashed hosts remembered: another crash of the same host is hardly ever news


class Backtest:
    """One run over a stream of lines."""

    def __init__(self, policies: PolicySet, notes: InputNotes | None = None, hosts: HostNames | None = None) -> None:
        self.judging = Judging(policies, notes)
        self.notes = self.judging.notes
        self._decoding = Decoding(self.notes, lambda fleet, mends: self._batch.note(fleet, mends))
        self._memory = Memory(hosts=hosts)
        self._rest: list[bytes] = []  # too few yet to be decoded together
        self._clock = StreamClock()
        self._order = Order()
        self._batch = EventBatch(self._memory)
        self._pending = 0  # events since the last cut
        self._cuts_ms: list[int] = []  # stream time of each cut of the batch
        self._cut_events = 0  # before the last of them
        self._crashed = False  # whether a host is among them that had not crashed before
        self._known: set[str] = set()
        self._now_ms = self._cut_at_ms = 0
        self._budget = float(RESERVED_CUTS)

    def take(self, lines: Sequence[bytes]) -> Iterator[HaltOrder]:
        """Take in lines; the halts that follow from them. How many come at once makes no difference."""
        lines = [*self._rest, *lines]
        whole = len(lines) // AT_ONCE * AT_ONCE
        self._rest = lines[whole:]
        for start in range(0, whole, AT_ONCE):
            yield from self._take(lines[start : start + AT_ONCE])

    def _take(self, lines: Sequence[bytes]) -> Iterator[HaltOrder]:
        events = self._clock.admit(self._decoding.events(lines))
        for bucket in self._order.take(events, self._clock.now_ms):
            yield from self._enter(bucket)

    def finish(self) -> Iterator[HaltOrder]:
        """The stream has ended; the halts that are left."""
        yield from self._take(self._rest)
        for bucket in self._order.take(self._clock.finish(), self._clock.now_ms):
            yield from self._enter(bucket)
        for host in self._decoding.future(self._clock):
            self._batch.note_clock(*host)
        for bucket in self._order.finish():
            yield from self._enter(bucket)
        yield from self._cut()
        yield from self._fold()
        self.notes.out_of_order = self._order.late
        self.judging.finish()

    def _enter(self, bucket: Sequence[AnyEvent]) -> Iterator[HaltOrder]:
        """Where partials are cut depends on times, not on how the file brought them."""
        self._now_ms = max(self._now_ms, bucket[-1].ts // BUCKET_MS * BUCKET_MS)
        for start in range(0, len(bucket), PARTIAL_EVENTS):
            yield from self._fold_and_cut(bucket[start : start + PARTIAL_EVENTS])
            if self._is_due():
                yield from self._cut()

    def _fold_and_cut(self, events: Sequence[AnyEvent]) -> Iterator[HaltOrder]:
        self._budget = min(self._budget + len(events) / EVENTS_PER_CUT, RESERVED_CUTS)
        start = 0
        for place in [i for i, event in enumerate(events) if type(event) is not Heartbeat and is_crash(event)]:
            if not self._is_new(events[place]):
                continue
            self._crashed = True
            if self._budget >= 1:
                self._fold_in(events[start : place + 1])
                start = place + 1
                self._budget -= 1
                yield from self._cut()
        self._fold_in(events[start:])

    def _is_new(self, event: AnyEvent) -> bool:
        host = f"{event.fleet}/{self._memory.hosts.one(event.host)}"
        if host in self._known:
            return False
        if len(self._known) >= KNOWN_HOSTS:
            self._known.clear()
        self._known.add(host)
        return True

    def _fold_in(self, events: Sequence[AnyEvent]) -> None:
        offset = self.judging.events
        self._batch.add(events, lambda index: (0, offset + index))
        self.judging.events += len(events)
        self._pending += len(events)

    def _is_due(self) -> bool:
        if self._pending >= PARTIAL_EVENTS:
            return True
        return self._now_ms - self._cut_at_ms >= (BUCKET_MS if self._crashed else PARTIAL_MS)

    def _cut(self) -> Iterator[HaltOrder]:
        self._batch.cut()
        self._cuts_ms.append(self._now_ms)
        self._cut_events += self._pending
        self._pending, self._crashed = 0, False
        self._cut_at_ms = self._now_ms
        if self._cut_events >= FOLDED_EVENTS or len(self._cuts_ms) >= FOLDED_PARTS:
            yield from self._fold()

    def _fold(self) -> Iterator[HaltOrder]:
        """What has been cut is judged, partial by partial."""
        if not self._cuts_ms:
            return
        batch, cuts_ms = self._batch, self._cuts_ms
        self._batch, self._cuts_ms, self._cut_events = EventBatch(self._memory), [], 0
        for fold, now_ms in zip(batch.folds(), cuts_ms, strict=True):
            self._memory.commit(fold)
            for partial in partials_of(fold, "backtest", now_ms):
                yield from self.judging.step(partial)


def is_crash(event: AnyEvent) -> bool:
    """Whether the event reports a crash."""
    return type(event) is Crash or (type(event) is Boot and event.prior == "crash")
