"""Whether every partial is read, and whether it goes on: what comes is held against where reading began, and where it
stands against the true ends of the logs. Pure; times in unix ms."""

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.correlate.ports import PartialRecord, Standing

STILL_MS = 10_000  # records that wait so long, and none is read: something is wrong
MARKER = 1  # behind the newest record of a transaction
LOOK_MS = 15_000  # a look at the ends of the logs is worth so long


class Skipped(Exception):
    """Records were passed over: they must be read again."""


class Still(NamedTuple):
    """Something that has not moved since."""

    at: int
    since_ms: int


class Reading:
    """Of the partitions of `fleet.partials` that are ours now."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}  # by partition: all before has been taken in
        self._began: dict[int, int] = {}  # by partition: where the newest seek led to
        self._places: dict[int, Still] = {}  # where its consumer stands
        self._ends: dict[int, Still] = {}  # the committed end
        self._looked: Mapping[int, Standing] = {}
        self._looked_ms: int | None = None

    def reset(self) -> None:
        """Partitions change hands."""
        self._next.clear()
        self._began.clear()
        self._places.clear()
        self._ends.clear()
        self._looked, self._looked_ms = {}, None

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
            Skipped: there may be records before it that never came; or it is of another log.
        """
        following = self._next.get(message.partition)
        if following is None:
            return False
        if message.offset < self._began[message.partition]:
            raise Skipped(f"fleet.partials[{message.partition}] began anew: a new process reads it from its beginning")
        if message.after > following:
            raise Skipped(
                f"fleet.partials[{message.partition}]: offsets {following} to {message.after - 1} did not come before "
                f"{message.offset}: they are read again by a new process"
            )
        return True

    def taken(self, message: PartialRecord) -> None:
        """All that it gave rise to is acknowledged."""
        self._next[message.partition] = max(self._next[message.partition], message.offset + 1)

    def look(self, places: Mapping[int, Standing], now_ms: int) -> None:
        """Where the consumer and the ends of its logs stand, by assigned partition.

        Raises:
            Skipped: a log has ended for long before the place that is read next: it is another one.
        """
        self._looked, self._looked_ms = places, now_ms
        self._places = _moved(self._places, {at: found.position for at, found in places.items()}, now_ms)
        self._ends = _moved(self._ends, {at: found.committed_end for at, found in places.items()}, now_ms)
        for at, found in places.items():
            if found.position > found.written_end and now_ms - self._places[at].since_ms > STILL_MS:
                raise Skipped(
                    f"fleet.partials[{at}] ends at {found.written_end}, before {found.position}: it began anew"
                )

    def why_not(self, now_ms: int) -> list[str]:
        """Why it does not read, or may not; empty when all is well."""
        if not self._next:
            return ["no partition of fleet.partials is assigned"]
        if self._looked_ms is None or now_ms - self._looked_ms > LOOK_MS:
            return ["the brokers do not say where fleet.partials ends"]
        return [why for partition in sorted(self._looked) for why in self._why_not(partition, now_ms)]

    def _why_not(self, partition: int, now_ms: int) -> list[str]:
        place, stands, end = self._looked[partition], self._places[partition], self._ends[partition]
        name, found = f"fleet.partials[{partition}]", []
        waiting, still_ms = place.committed_end - place.position, now_ms - stands.since_ms
        if waiting > 0 and still_ms > STILL_MS:
            found.append(f"{name}: none of {waiting} waiting records was read for {still_ms // 1000} s")
        if place.position > place.written_end:
            found.append(f"{name}: it ends at {place.written_end}, before offset {place.position}, which is read next")
        held, hung_ms = place.written_end - place.committed_end, now_ms - end.since_ms
        if held > 0 and hung_ms > STILL_MS:
            found.append(f"{name}: an open transaction has held back {held} records for {hung_ms // 1000} s")
        return found


def _moved(before: Mapping[int, Still], now: Mapping[int, int], now_ms: int) -> dict[int, Still]:
    """What stands where it stood keeps its time."""
    known = {at: still for at, still in before.items() if still.at == now.get(at)}
    return {at: known.get(at, Still(place, now_ms)) for at, place in now.items()}
