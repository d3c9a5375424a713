"""Events of one micro-batch: first it is decided which of them count, then those that do are folded. Pure.

Everything that depends on earlier batches is asked of the `Memory` here; the fold itself sees values only. The memory
learns what became of the batch from whoever writes it.
"""

from collections.abc import Sequence

from pipeline.combine.fold import Fold, folds_of
from pipeline.combine.gather import Gather, Position
from pipeline.combine.memory import Memory
from pipeline.wire.events import AnyEvent
from pipeline.wire.mending import Mends
from pipeline.wire.spans import HOUR_MS

DEFAULT_WINDOW_MS = 72 * HOUR_MS
_EVENTS_AT_ONCE = 1024  # fewer do not pay for the calls into numpy; more leave the cache before they are read


class EventBatch:
    """Takes in events, and folds them. `window_ms` is how long an update counts as new on a host."""

    def __init__(self, memory: Memory, window_ms: int = DEFAULT_WINDOW_MS) -> None:
        self._memory = memory
        self._window_ms = window_ms
        self._gather = Gather(memory.hosts)

    def add(self, events: Sequence[AnyEvent], position: Position) -> None:
        """Take in events; `position` tells an event's partition and offset from its index (asked for crashes only)."""
        self._gather.add(events, position)
        if self._gather.waiting >= _EVENTS_AT_ONCE:
            self._gather.seal()
            self._admit()

    def cut(self) -> None:
        """What is taken in from now on is a fold of its own."""
        self._gather.cut()
        if self._gather.sealed >= _EVENTS_AT_ONCE:
            self._admit()

    def note(self, fleet: str, mends: Mends) -> None:
        """What was mended in an event of this fleet."""
        self._gather.note(fleet, mends)

    def note_clock(self, fleet: str, host: str, ahead_ms: int) -> None:
        """An event was refused: its host's clock is ahead."""
        self._gather.note_clock(fleet, host, ahead_ms)

    def fold(self) -> Fold:
        """Everything that was added, as one value; trials that still wait for admission are decided on first."""
        (fold,) = self.folds()
        return fold

    def folds(self) -> list[Fold]:
        """The same where it was cut: a value each, as if each was folded and committed before the next one began."""
        self._gather.seal()
        self._admit()
        admitted = self._gather.admitted()
        return folds_of(admitted, self._memory.sieve.candidates(admitted), self._window_ms)

    def _admit(self) -> None:
        if not self._gather.sealed:
            return
        trials = self._gather.take_trials()
        self._gather.keep(trials, self._memory.admission.admit_in_turn(trials.keys, trials.time_ms, trials.ends))
