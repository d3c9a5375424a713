"""Stream time of a file, which has no times of ingestion: which events lie in its future. Pure.

The clock follows the median of what is read, so that one host's clock does not set everyone's. An event more than a day
ahead is held: it is refused when the stream goes on as before, and admitted when most of what follows says the same
(the file has a gap).
"""

from collections.abc import Sequence

from pipeline.wire.events import AnyEvent

AHEAD_MS = 24 * 3_600_000
GAP_EVENTS = 1_000  # so many more events ahead than not are a gap in the file


class StreamClock:
    """`now_ms` is stream time (unix ms), 0 before the first event; `refused` counts events of the future."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.refused = 0
        self._held: list[AnyEvent] = []
        self._surplus = 0

    def admit(self, events: Sequence[AnyEvent]) -> Sequence[AnyEvent]:
        """The events that may be used now, in order; some of those held before may be among them."""
        if not events:
            return events
        times = [event.ts for event in events]
        if not self.now_ms:
            self.now_ms = _median(times)
        if not self._held and max(times) <= self.now_ms + AHEAD_MS:
            self.now_ms = max(self.now_ms, _median(times))
            return events
        kept = [admitted for event in events for admitted in self._judge(event)]
        if kept:
            self.now_ms = max(self.now_ms, _median([event.ts for event in kept]))
        return kept

    def finish(self) -> None:
        """The stream has ended: what is still held lies in its future."""
        self._drop()

    def _judge(self, event: AnyEvent) -> list[AnyEvent]:
        if event.ts <= self.now_ms + AHEAD_MS:
            self._surplus -= 1
            if self._surplus <= 0:
                self._drop()
            return [event]
        self._held.append(event)
        self._surplus += 1
        if self._surplus < GAP_EVENTS:
            return []
        held, self._held, self._surplus = self._held, [], 0
        self.now_ms = _median([event.ts for event in held])
        admitted = [event for event in held if event.ts <= self.now_ms + AHEAD_MS]
        self.refused += len(held) - len(admitted)
        return admitted

    def _drop(self) -> None:
        self.refused += len(self._held)
        self._held.clear()
        self._surplus = 0


def _median(times: list[int]) -> int:
    return sorted(times)[len(times) // 2]
