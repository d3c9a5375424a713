"""The newest known record of every halt key: what has been said, so that nothing is said twice. Pure."""

from collections.abc import Iterator

from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.issue import renewal_due
from pipeline.halt.signing import TrustedKeys, verify
from pipeline.wire.halts import Halt
from pipeline.wire.record_keys import MAX_EPOCH

MAX_FLOORS = 100_000  # keys; those of halts that are believed come beside


class HaltRegister:
    """Only trusted records say what is halted; any record of a key, even an untrusted one, raises its epoch floor,
    because subscribers that once trusted its key would take a lower epoch for a replay."""

    def __init__(self, trusted: TrustedKeys) -> None:
        self._trusted = trusted
        self._newest: dict[str, Halt] = {}
        self._floors: dict[str, int] = {}

    def learn(self, halt: Halt) -> str:
        """Take in a record that was read; the answer is "" or why it is not believed."""
        self.pass_epoch(halt)
        try:
            verify(halt, self._trusted)
        except UntrustedRecord as error:
            return error.reason
        self.put(halt)
        return ""

    def pass_epoch(self, halt: Halt) -> None:
        """A record of this epoch was seen, to be believed or not: the next one lies above."""
        # A forged epoch must not leave a key without a next one, nor must forged keys without end be remembered.
        is_known = halt.key in self._floors or len(self._floors) < MAX_FLOORS
        if is_known and 0 <= halt.epoch < MAX_EPOCH:
            self._floors[halt.key] = max(self._floors.get(halt.key, 0), halt.epoch)

    def put(self, halt: Halt) -> None:
        """Remember a trusted record, unless a newer one is known."""
        known = self._newest.get(halt.key)
        if known is None or halt.rank >= known.rank:
            self._newest[halt.key] = halt
            self._floors[halt.key] = max(self._floors.get(halt.key, 0), halt.epoch)

    def newest(self, key: str) -> Halt | None:
        """The newest trusted record of a key."""
        return self._newest.get(key)

    def floor(self, key: str) -> int:
        """The highest epoch seen on a key, 0 for none."""
        return self._floors.get(key, 0)

    def all_newest(self) -> dict[str, Halt]:
        """The newest trusted record of every key, as of now."""
        return dict(self._newest)

    def of_fleet(self, fleet: str) -> tuple[Halt, ...]:
        """The newest records of a fleet's keys, in the order of the keys."""
        return tuple(halt for _, halt in sorted(self._newest.items()) if halt.fleet == fleet)

    def standing(self, fleet: str) -> tuple[Halt, ...]:
        """The fleet's halts that no resume has lifted, the newest first."""
        halts = (halt for halt in self._newest.values() if halt.fleet == fleet and halt.action == "halt")
        return tuple(sorted(halts, key=lambda halt: (-halt.issued_at, halt.key)))

    def renewals(self, now_ms: int, lifetime_ms: int) -> Iterator[Halt]:
        """Our own halts that have come to half of their life."""
        return (halt for halt in list(self._newest.values()) if renewal_due(halt, now_ms, lifetime_ms))
