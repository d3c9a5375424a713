"""The rule by which a stage is ready: its place in every log that is its own, against where that log truly ends. Pure;
times in unix ms."""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from pipeline.wire.words import counted

STILL_MS = 10_000  # records that wait so long, and none is read: something is wrong
LOOK_MS = 15_000  # a look at the ends of the logs is worth so long

Place = tuple[str, int]  # topic, without prefix, and partition


class Standing(NamedTuple):
    """The place of a reader in a log, all before it done with; and where the log ends: as far as it is committed, and
    as far as it is written."""

    position: int
    committed_end: int
    written_end: int


class Still(NamedTuple):
    """Something that has not moved since."""

    at: int
    since_ms: int


class Standstill:
    """Whether the same was seen so often in a row that it does not change by itself."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self._mark: Hashable = None
        self._seen = 0

    def look(self, mark: Hashable) -> bool:
        """What is seen now; None where nothing stands still."""
        self._seen = self._seen + 1 if mark == self._mark else 1
        self._mark = mark
        return mark is not None and self._seen >= self._looks


class Progress:
    """Of the logs that are assigned; `reads` names their topics, and `done` what is to be done with records, for
    people."""

    def __init__(self, reads: str, done: str = "read") -> None:
        self._reads, self._done = reads, done
        self._waiting: dict[Place, Still] = {}  # positions before which nothing waits are not in it
        self._held: dict[Place, Still] = {}  # committed ends behind which something is written
        self._looked: Mapping[Place, Standing] = {}
        self._looked_ms: int | None = None
        self._beyond: dict[Place, int] = {}  # logs that end before the place in them, and since when
        self._idle_ms: int | None = None  # since when nothing is assigned

    def reset(self) -> None:
        """Partitions change hands."""
        self._waiting.clear()
        self._held.clear()
        self._beyond.clear()
        self._looked, self._looked_ms, self._idle_ms = {}, None, None

    def look(self, places: Mapping[Place, Standing], now_ms: int) -> None:
        """Where everything stands that is assigned."""
        self._looked, self._looked_ms = places, now_ms
        waiting = {at: found.position for at, found in places.items() if found.committed_end > found.position}
        held = {at: found.committed_end for at, found in places.items() if found.written_end > found.committed_end}
        self._waiting, self._held = _moved(self._waiting, waiting, now_ms), _moved(self._held, held, now_ms)
        beyond = (at for at, found in places.items() if found.position > found.written_end)
        self._beyond = {at: self._beyond.get(at, now_ms) for at in beyond}
        self._idle_ms = None if places else self._idle_ms or now_ms

    def idle_ms(self, now_ms: int) -> int:
        """For how long nothing has been assigned, as far as was looked."""
        return 0 if self._idle_ms is None else now_ms - self._idle_ms

    def waiting(self, now_ms: int) -> dict[Place, Standing]:
        """Where records have waited for long, and none was read."""
        return {
            at: found
            for at, found in self._looked.items()
            if at in self._waiting and now_ms - self._waiting[at].since_ms > STILL_MS
        }

    def replaced(self, now_ms: int) -> list[str]:
        """Of the logs that have ended for long before the place in them: these are others."""
        return [
            f"{_name(at)} ends at {self._looked[at].written_end}, before {self._looked[at].position}: it began anew"
            for at, since_ms in sorted(self._beyond.items())
            if now_ms - since_ms > STILL_MS
        ]

    def why_not(self, now_ms: int, is_assigned: bool) -> list[str]:
        """Why it does not read, or may not; empty when all is well."""
        if not is_assigned:
            return [f"no partition of {self._reads} is assigned"]
        if self._looked_ms is None or now_ms - self._looked_ms > LOOK_MS:
            return [f"the brokers do not say where {self._reads} ends"]
        return [why for at in sorted(self._looked) for why in self._why_not(at, now_ms)]

    def _why_not(self, at: Place, now_ms: int) -> list[str]:
        place, name, found = self._looked[at], _name(at), []
        if at in self.waiting(now_ms):
            still_seconds = (now_ms - self._waiting[at].since_ms) // 1000
            records = counted(place.committed_end - place.position, "record waits", "records wait")
            found.append(f"{name}: {records}, none was {self._done} for {still_seconds} s")
        if place.position > place.written_end:
            found.append(f"{name}: it ends at {place.written_end}, before offset {place.position}, which is read next")
        held = self._held.get(at)
        if held is not None and now_ms - held.since_ms > STILL_MS:
            records = counted(place.written_end - place.committed_end, "record")
            held_seconds = (now_ms - held.since_ms) // 1000
            found.append(f"{name}: an open transaction has held back {records} for {held_seconds} s")
        return found


def _name(at: Place) -> str:
    return f"{at[0]}[{at[1]}]"


def _moved(before: Mapping[Place, Still], now: Mapping[Place, int], now_ms: int) -> dict[Place, Still]:
    """What stands where it stood keeps its time."""
    known = {at: still for at, still in before.items() if still.at == now.get(at)}
    return {at: known.get(at, Still(place, now_ms)) for at, place in now.items()}
