"""The fleets of the assigned partitions: which partials each has taken in, and which of them its checkpoint holds.

No I/O and no clock; the correlator (correlator.py) brings messages, time and the outside world.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pipeline.correlate.checkpoint import SIDES, VERSION, Entry, FleetState, Place, other_side, place_entry
from pipeline.correlate.detectors import DetectorLike, Detectors
from pipeline.correlate.ports import Bounds
from pipeline.decide.arrays import int_columns
from pipeline.decide.orders import Decisions
from pipeline.halt.chain import Head
from pipeline.wire.cells import kind_of
from pipeline.wire.halts import Halt, encode_halt
from pipeline.wire.partials import CUT_COLUMNS, TRIAL_COLUMNS, Partial
from pipeline.wire.spans import HOUR_MS

NO_ENTRY = Head()
NONE = -1  # before the first offset
REPORTS = ("boot", "heartbeat", "crash")  # kinds of trials, as cells number them; and crashes
POISONED_MS = HOUR_MS  # ahead of the clock; what is taken in is ahead by minutes at most (check.py)


@dataclass(slots=True)
class FleetProgress:
    """One fleet. It is dirty while it has taken in partials that no checkpoint holds."""

    name: str
    partition: int
    detector: DetectorLike
    side: str = SIDES[1]  # of the newest checkpoint
    offset: int = NONE  # the last partial taken in
    partials: int = 0
    events: int = 0
    log_id: str = ""  # of the topic that `offset` is of
    lost_at_ms: int = 0  # when it was last found that partials were deleted unread
    audit: Head = NO_ENTRY  # the newest entry of its audit that the state includes
    dirty_since_ms: int | None = None
    dirty_offset: int = NONE  # the first partial that no checkpoint holds
    state_bytes: int = 0  # of the newest checkpoint that this process has written, compressed
    reports: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REPORTS, 0))  # since this process started


class Image(NamedTuple):
    """A state to be written, the side to write it to, and what the fleet's dirt was before."""

    state: FleetState
    side: str
    dirty_since_ms: int | None
    dirty_offset: int


class Fleets:
    """Not safe for concurrent use: the correlator takes turns."""

    def __init__(self, detectors: Detectors) -> None:
        self._detectors = detectors
        self.by_name: dict[str, FleetProgress] = {}
        self._bounds: Mapping[int, Bounds] = {}  # by partition that is ours
        self._places: dict[int, int] = {}  # by partition: where reading begins, as its table says
        self._handled: dict[int, int] = {}  # by partition: the last offset whose outputs are acknowledged

    @property
    def log_ids(self) -> dict[int, str]:
        """Of the topic that they read, by partition."""
        return {partition: bounds.log_id for partition, bounds in self._bounds.items()}

    def reset(self, bounds: Mapping[int, Bounds], places: Mapping[int, Place]) -> None:
        """Forget everything: partitions have changed hands; those with bounds are ours now."""
        self._bounds = bounds
        self._places = {
            at: place.offset if bounds[at].has_been_at(place.offset, place.log_id) else bounds[at].low
            for at, place in places.items()
            if at in bounds
        }
        self.by_name.clear()
        self._handled.clear()

    def read_all(self, partition: int) -> None:
        """Reading begins with the first partial that is retained: better once more than a fleet that nobody watches.
        Fleets skip what they hold."""
        self._places[partition] = self._bounds[partition].low

    def begins_at(self, partition: int, committed: int | None) -> int | None:
        """Where reading is to go on: what the table says. Without a word in it the group's offset counts if an older
        version has written fleets. If not, the table is new, or lost, and nobody knows: None."""
        return self._places.get(partition, committed if self.of_partition(partition) else None)

    def restore(self, state: FleetState, side: str, now_ms: int) -> FleetProgress:
        """Take up a fleet where its checkpoint left it.

        Raises:
            ValueError: when its detector cannot be read, or has come to a time that no partial can have brought it to:
                it would hear nothing until then.
        """
        detector = self._detectors.restore(state.fleet, state.detector)
        ahead_ms = detector.summary()["stream_time"] - now_ms
        if ahead_ms > POISONED_MS:
            raise ValueError(f"its stream time is {ahead_ms // 1000} s ahead of the clock")
        fleet = FleetProgress(
            name=state.fleet,
            partition=state.partition,
            detector=detector,
            side=side,
            offset=state.offset,
            partials=state.partials,
            events=state.events,
            log_id=state.log_id,
            lost_at_ms=state.lost_at_ms,
            audit=Head(state.audit_seq, state.audit_digest),
        )
        self.by_name[state.fleet] = fleet
        return fleet

    def step(self, partition: int, offset: int, partial: Partial, now_ms: int) -> Decisions | None:
        """Take in a partial; None when its fleet holds it already, or is unknown and the partial holds no event: what
        was refused makes no fleet. One of another partition than the fleet's state is on, which may be its own since
        partitions were added, leaves its place in the log alone."""
        fleet = self.by_name.get(partial.fleet)
        if fleet is None:
            if not partial.events:
                return None
            fleet = self.by_name[partial.fleet] = FleetProgress(
                partial.fleet, partition, self._detectors.new(partial.fleet), log_id=self._bounds[partition].log_id
            )
        if partition != fleet.partition:
            offset = self._handled.get(fleet.partition, fleet.offset) + 1  # nothing of its own log has to be read again
        elif offset <= fleet.offset:
            return None
        decisions = fleet.detector.step(partial)
        if partition == fleet.partition:
            fleet.offset = offset
        fleet.partials += 1
        fleet.events += partial.events
        for kind, times in zip(REPORTS, reports_in(partial), strict=True):
            fleet.reports[kind] += times
        if fleet.dirty_since_ms is None:
            fleet.dirty_since_ms, fleet.dirty_offset = now_ms, offset
        return decisions

    def ruled(self, fleet: FleetProgress, audit: Head, following: int, now_ms: int) -> None:
        """It includes the effects of its audit up to there; `following` is the partial that comes next."""
        fleet.audit = audit
        if fleet.dirty_since_ms is None:
            fleet.dirty_since_ms, fleet.dirty_offset = now_ms, following

    def bounds(self, partition: int) -> Bounds:
        """What a partition that is ours held when it became so."""
        return self._bounds[partition]

    def of_partition(self, partition: int) -> list[FleetProgress]:
        """Those whose partials are on it, as far as they are known."""
        return [fleet for fleet in self.by_name.values() if fleet.partition == partition]

    def lost(self, partition: int, upto: int, now_ms: int) -> None:
        """Partials before this offset were deleted unread; a checkpoint is to hold that."""
        for fleet in self.of_partition(partition):
            fleet.lost_at_ms = now_ms
            if fleet.dirty_since_ms is None:
                fleet.dirty_since_ms, fleet.dirty_offset = now_ms, upto

    def begin_anew(self, now_ms: int) -> None:
        """What is read is another log: nothing of it is taken in yet; the next checkpoint is to hold that."""
        self._handled = dict.fromkeys(self._bounds, NONE)
        for fleet in self.by_name.values():
            self.forget_place(fleet, now_ms)

    def forget_place(self, fleet: FleetProgress, now_ms: int) -> None:
        """It has taken in nothing of the log that is there now; the next checkpoint is to hold that."""
        fleet.offset, fleet.log_id = NONE, self._bounds[fleet.partition].log_id
        if fleet.dirty_since_ms is None:
            fleet.dirty_since_ms, fleet.dirty_offset = now_ms, 0

    def handled(self, partition: int, offset: int) -> None:
        """All that this message gave rise to is acknowledged."""
        self._handled[partition] = offset

    def due(self, now_ms: int, dirty_ms: int) -> list[FleetProgress]:
        """Fleets dirty for so long, the longest first."""
        dirty = [(fleet.dirty_since_ms, fleet) for fleet in self.by_name.values() if fleet.dirty_since_ms is not None]
        waited = [(since, fleet) for since, fleet in dirty if now_ms - since >= dirty_ms]
        return [fleet for _, fleet in sorted(waited, key=lambda pair: pair[0])]

    def unsaved_seconds(self, now_ms: int) -> float:
        """For how long the fleet that has waited longest for a checkpoint has done so; from any thread."""
        since = (fleet.dirty_since_ms for fleet in list(self.by_name.values()))
        return max((now_ms - at for at in since if at is not None), default=0) / 1000

    def image(self, fleet: FleetProgress, halts: Iterable[Halt]) -> Image:
        """The fleet's state as of now. It counts as clean from here on; `undo` takes that back."""
        raw = tuple(encode_halt(halt) for halt in halts)
        state = FleetState(
            version=VERSION,
            fleet=fleet.name,
            partition=fleet.partition,
            offset=fleet.offset,
            partials=fleet.partials,
            events=fleet.events,
            halts=raw,
            detector=fleet.detector.snapshot(),
            log_id=fleet.log_id,
            lost_at_ms=fleet.lost_at_ms,
            audit_seq=fleet.audit.seq,
            audit_digest=fleet.audit.digest,
        )
        image = Image(state, other_side(fleet.side), fleet.dirty_since_ms, fleet.dirty_offset)
        fleet.dirty_since_ms = None
        return image

    def undo(self, fleet: FleetProgress, image: Image) -> None:
        """The image was not written: the fleet is as dirty as before, and dirtier by what came since."""
        fleet.dirty_since_ms, fleet.dirty_offset = image.dirty_since_ms, image.dirty_offset

    def commit_offset(self, partition: int) -> int | None:
        """The next offset that a restart has to read, or None while nothing has been handled."""
        if partition not in self._handled:
            return None
        dirty = [fleet.dirty_offset for fleet in self.of_partition(partition) if fleet.dirty_since_ms is not None]
        return min([*dirty, self._handled[partition] + 1])

    def place_entry(self, partition: int, offset: int) -> Entry:
        """What tells a restart to read from this offset on."""
        return place_entry(partition, offset, self._bounds[partition].log_id)


def reports_in(partial: Partial) -> tuple[int, ...]:
    """How many of each kind of REPORTS a partial holds: clean trials, and crashes."""
    _, cells, trials = int_columns(partial.trials, TRIAL_COLUMNS)
    kinds = np.bincount(kind_of(cells), weights=trials, minlength=len(REPORTS) - 1)
    cut = int(int_columns(partial.cut, CUT_COLUMNS)[2].sum())
    return (*(int(times) for times in kinds), len(partial.crashes) + cut)
