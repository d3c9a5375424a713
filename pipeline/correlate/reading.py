"""Whether every partial is read, and whether it goes on: what comes is held against where reading began, and where it
stands against the true ends of the logs. Pure; times in unix ms."""

from collections.abc import Mapping

from pipeline.correlate.ports import PartialRecord
from pipeline.runtime.errors import TopicMadeAnewError
from pipeline.runtime.reading.progress import STILL_MS, Progress, Standing, Standstill
from pipeline.wire.topics import PARTIALS

STILL_LOOKS = 45  # of two seconds: longer than what is published waits out a cut (faust_settings.TIMEOUT_SECONDS)
MARKER = 1  # behind the newest record of a transaction


class Skipped(Exception):
    """Records were passed over: they must be read again."""


class Replaced(Skipped, TopicMadeAnewError):
    """Another log stands where it was read, or it was cut short."""

    def __init__(self, why: str) -> None:
        Exception.__init__(self, why)
        self.topics = (PARTIALS.name,)


class Reading:
    """Of the partitions of `fleet.partials` that are ours now."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}  # by partition: all before has been taken in
        self._began: dict[int, int] = {}  # by partition: where the newest seek led to
        self._progress = Progress(PARTIALS.name)
        self._assigned: list[int] = []  # as the newest look found
        self._still = Standstill(STILL_LOOKS)
        self._has_asked = False  # for a new assignment; once in the life of a process

    def reset(self) -> None:
        """Partitions change hands."""
        self._next.clear()
        self._began.clear()
        self._assigned.clear()
        self._progress.reset()

    def began(self, partition: int, offset: int) -> None:
        """From here on the log is read; a later seek goes back to what was taken in already."""
        self._next.setdefault(partition, offset)
        self._began[partition] = offset

    def following(self, partition: int) -> int | None:
        """All before this offset has been taken in; None when reading has not begun."""
        return self._next.get(partition)

    def accepts(self, message: PartialRecord) -> bool:
        """Whether it may be taken in; False when reading has not begun: it comes again.

        Raises:
            Skipped: there may be records before it that never came.
            Replaced: it is of another log.
        """
        following = self._next.get(message.partition)
        if following is None:
            return False
        if message.offset < self._began[message.partition]:
            raise Replaced(f"fleet.partials[{message.partition}] began anew: a new process reads it from its beginning")
        if message.after > following:
            raise Skipped(
                f"fleet.partials[{message.partition}]: offsets {following} to {message.after - 1} did not come before "
                f"{message.offset}: they are read again by a new process"
            )
        return True

    def taken(self, message: PartialRecord) -> None:
        """All that it gave rise to is acknowledged."""
        self._next[message.partition] = max(self._next[message.partition], message.offset + 1)

    def look(self, places: Mapping[int, tuple[int, int, int]], now_ms: int) -> None:
        """Where the consumer and the ends of its logs stand (see Standing), by assigned partition.

        Raises:
            Replaced: a log has ended for long before the place that is read next: it is another one.
        """
        self._assigned = sorted(places)
        self._progress.look({(PARTIALS.name, at): Standing(*found) for at, found in places.items()}, now_ms)
        for why in self._progress.replaced(now_ms):
            raise Replaced(why)

    def stands_still(self, unrecovered: int | None, now_ms: int) -> str:
        """One of many looks, each some two seconds after the one before. Why it will not move any more, "" when it may:
        the same entries of the state, None when it is recovered, or the same records, have waited for STILL_LOOKS."""
        waiting = self._progress.waiting(now_ms)
        found = [f"{name}[{at}] at {waiting[name, at].position}, and more waits" for name, at in sorted(waiting)]
        found += self._unbegun()
        if unrecovered is not None:
            found = [f"the recovery of its state, with {unrecovered} entries left"]
        is_still = self._still.look(tuple(found) or None)
        return f"nothing moves: {'; '.join(found)}" if is_still else ""

    def should_rejoin(self, now_ms: int) -> bool:
        """Whether nothing has been assigned for long, as the newest look found, and that was not said before. A static
        member that comes back is given what it had last, which is nothing when its topic was gone at that time: only
        when it asks is the group balanced anew. A member for whom no partition is left asks in vain."""
        if self._has_asked or self._progress.idle_ms(now_ms) <= STILL_MS:
            return False
        self._has_asked = True
        return True

    def why_not(self, now_ms: int) -> list[str]:
        """Why it does not read, or may not; empty when all is well."""
        return self._progress.why_not(now_ms, bool(self._next)) or self._unbegun()

    def _unbegun(self) -> list[str]:
        """What is assigned, and fetched perhaps, but not taken in."""
        return [f"{PARTIALS.name}[{at}]: its reading has not begun" for at in self._assigned if at not in self._next]
