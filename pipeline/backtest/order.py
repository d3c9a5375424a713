"""Events of a file in the order of their time. Pure.

Live, a bucket stays open for a minute. In a file an export, a sort by another column or a second copy may have moved
every line by minutes: held back for LATE_MS and put in order, they go on as if nothing had moved them. What is later
than that, such as a crash reported hours after, goes on at the time at which it came.
"""

from collections.abc import Iterator, Sequence
from operator import attrgetter

from pipeline.wire.events import AnyEvent
from pipeline.wire.partials import BUCKET_MS

LATE_MS = 15 * 60_000  # five minutes of disorder, and ten that a host may take to report its crash
MAX_HELD = 400_000  # events, some 200 MB; with more in that time the oldest go on sooner

_time = attrgetter("ts")


class Order:
    """Holds events by bucket until stream time is LATE_MS past it."""

    def __init__(self) -> None:
        self._buckets: dict[int, list[AnyEvent]] = {}
        self.late = 0  # events that came more than LATE_MS after later ones
        self._held = 0
        self._now_ms = 0  # stream time before what is taken in next
        self._released = 0  # buckets before this one have gone on

    def take(self, events: Sequence[AnyEvent], now_ms: int) -> Iterator[list[AnyEvent]]:
        """Take events in, which bring stream time to `now_ms`; the buckets that may go on, each by time. What is late
        is told by the time before them: where the file has a gap, those that stand before it are not."""
        buckets, late_before, now = self._buckets, self._now_ms - LATE_MS, self._now_ms // BUCKET_MS
        for event in events:
            if event.ts > late_before:
                number = event.ts // BUCKET_MS
            else:
                number = now
                self.late += 1
            if number in buckets:
                buckets[number].append(event)
            else:
                buckets[number] = [event]
        self._held += len(events)
        self._now_ms = now_ms
        upto = (now_ms - LATE_MS) // BUCKET_MS
        if upto > self._released or self._held > MAX_HELD:
            self._released = max(upto, self._released)
            yield from self._release(upto, MAX_HELD)

    def finish(self) -> Iterator[list[AnyEvent]]:
        """Everything that is left."""
        return self._release(0, 0)

    def _release(self, upto: int, most: int) -> Iterator[list[AnyEvent]]:
        """The buckets before `upto`, and the next ones while more than `most` events are held."""
        for number in sorted(self._buckets):
            if number >= upto and self._held <= most:
                return
            bucket = self._buckets.pop(number)
            self._held -= len(bucket)
            bucket.sort(key=_time)
            yield bucket
