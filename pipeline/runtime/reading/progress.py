"""The rule by which a stage is ready: its place in every log that is its own, against where that log truly ends. Pure;
times in unix ms."""

from collections.abc import Mapping
from typing import NamedTuple

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


class Progress:
    """Of the logs that are assigned; `reads` names their topics, and `done` what is to be done with records, for
    people."""

    def __init__(self, reads: str, done: str = "read") -> None:
        self._reads, self._done = reads, done
        self._positions: dict[Place, Still] = {}
        self._ends: dict[Place, Still] = {}  # committed ones
        self._looked: Mapping[Place, Standing] = {}
        self._looked_ms: int | None = None
        self._beyond: dict[Place, int] = {}  # logs that end before the place in them, and since when
        self._idle_ms: int | None = None  # since when nothing is assigned

    def reset(self) -> None:
        """Partitions change hands."""
        self._positions.clear()
        self._ends.clear()
        self._beyond.clear()
        self._looked, self._looked_ms, self._idle_ms = {}, None, None

    def look(self, places: Mapping[Place, Standing], now_ms: int) -> None:
        """Where everything stands that is assigned."""
        self._looked, self._looked_ms = places, now_ms
        self._positions = _moved(self._positions, {at: found.position for at, found in places.items()}, now_ms)
        self._ends = _moved(self._ends, {at: found.committed_end for at, found in places.items()}, now_ms)
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
            if found.committed_end > found.position and self._still_ms(at, now_ms) > STILL_MS
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
        place, still_ms, hung_ms = self._looked[at], self._still_ms(at, now_ms), now_ms - self._ends[at].since_ms
        name, found = _name(at), []
        if at in self.waiting(now_ms):
            records = place.committed_end - place.position
            found.append(f"{name}: none of {records} waiting records was {self._done} for {still_ms // 1000} s")
        if place.position > place.written_end:
            found.append(f"{name}: it ends at {place.written_end}, before offset {place.position}, which is read next")
        held = place.written_end - place.committed_end
        if held > 0 and hung_ms > STILL_MS:
            found.append(f"{name}: an open transaction has held back {held} records for {hung_ms // 1000} s")
        return found

    def _still_ms(self, at: Place, now_ms: int) -> int:
        return now_ms - self._positions[at].since_ms


def _name(at: Place) -> str:
    return f"{at[0]}[{at[1]}]"


def _moved(before: Mapping[Place, Still], now: Mapping[Place, int], now_ms: int) -> dict[Place, Still]:
    """What stands where it stood keeps its time."""
    known = {at: still for at, still in before.items() if still.at == now.get(at)}
    return {at: known.get(at, Still(place, now_ms)) for at, place in now.items()}
