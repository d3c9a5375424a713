"""Stream time of a file, which has no times of ingestion: which events lie in its future. Pure.

The clock follows the median of what is read, so that one host's clock does not set everyone's. An event more than a day
ahead is held: it is refused when the stream goes on as before, and admitted when most of what follows says the same
(the file has a gap).
"""

from collections import deque
from collections.abc import Sequence

from pipeline.wire.events import AnyEvent
from pipeline.wire.spans import HOUR_MS

AHEAD_MS = 24 * HOUR_MS
GAP_EVENTS = 1_000  # so many more events ahead than not are a gap in the file,
LAST_EVENTS = 16  # and so many at its end
MAX_HOSTS = 100  # named whose clocks are ahead
NEWEST = 9  # events whose median is the time, where a day has few


class StreamClock:
    """`now_ms` is stream time (unix ms), 0 before the first event; `refused` counts events of the future, `first` is
    the first of them, and `ahead` says of hosts by how much (ms)."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.refused = 0
        self.first: AnyEvent | None = None
        self.ahead: dict[tuple[str, str], int] = {}
        self._held: list[AnyEvent] = []
        self._surplus = 0
        self._newest: deque[int] = deque(maxlen=NEWEST)

    def admit(self, events: Sequence[AnyEvent]) -> Sequence[AnyEvent]:
        """The events that may be used now, in order; some of those held before may be among them."""
        if not events:
            return events
        times = [event.ts for event in events]
        if not self.now_ms:
            self.now_ms = _median(times[:NEWEST])
        if not self._held and max(times) <= self.now_ms + AHEAD_MS:
            self.now_ms = max(self.now_ms, _median(times))
            self._newest.extend(times[-NEWEST:])
            return events
        return [admitted for event in events for admitted in self._judge(event)]

    def finish(self) -> Sequence[AnyEvent]:
        """The stream has ended: what is still held comes after a gap, or lies in its future."""
        if self._surplus >= LAST_EVENTS:
            return self._cross()
        self._drop()
        return ()

    def _judge(self, event: AnyEvent) -> list[AnyEvent]:
        if event.ts <= self.now_ms + AHEAD_MS:
            self._surplus -= 1
            if self._surplus <= 0:
                self._drop()
            self._go_on(event)
            return [event]
        self._held.append(event)
        self._surplus += 1
        return self._cross() if self._surplus >= GAP_EVENTS else []

    def _cross(self) -> list[AnyEvent]:
        """The time is theirs; what is ahead of even that is refused."""
        held, self._held, self._surplus = self._held, [], 0
        self.now_ms = _median([event.ts for event in held[:NEWEST]])
        self._newest.clear()
        admitted = []
        for event in held:
            if event.ts <= self.now_ms + AHEAD_MS:
                self._go_on(event)
                admitted.append(event)
            else:
                self._refuse([event])
        return admitted

    def _go_on(self, event: AnyEvent) -> None:
        self._newest.append(event.ts)
        self.now_ms = max(self.now_ms, _median([*self._newest]))

    def _drop(self) -> None:
        self._refuse(self._held)
        self._held.clear()
        self._surplus = 0

    def _refuse(self, events: Sequence[AnyEvent]) -> None:
        self.refused += len(events)
        for event in events:
            self.first = self.first or event
            host, ahead_ms = (event.fleet, event.host), event.ts - self.now_ms
            if host in self.ahead or len(self.ahead) < MAX_HOSTS:
                self.ahead[host] = max(ahead_ms, self.ahead.get(host, 0))


def _median(times: list[int]) -> int:
    return sorted(times)[len(times) // 2]
