"""The state of one fleet: its names and its parts, and their way into a snapshot and back.

A part knows by itself how to make room, forget and be stored. A snapshot is versioned: what version 2 called by the
attributes of one large object is read by the names that the columns declare.
"""

from typing import Any, NamedTuple

import numpy as np

from pipeline.decide.arrays import Ints, Part, Sizes, pack, unpack
from pipeline.decide.book import EvidenceBook
from pipeline.decide.buckets import Clock, OpenBuckets, Slice
from pipeline.decide.clearing import Clearing, Silence
from pipeline.decide.conditional import Apart, Archive, CrashList, Samples
from pipeline.decide.counts import Ages, Counts, SignatureAges
from pipeline.decide.dedup import Recent, SiteMinutes
from pipeline.decide.history import History, Past
from pipeline.decide.name_index import Positions, Registry, Rows, placed_rows
from pipeline.decide.notes import Alarm, Notes, Signs
from pipeline.decide.standing import Spreading, Standing
from pipeline.decide.trials import Trials

SNAPSHOT_VERSION = 4
DISPLACED_AT_ONCE = 256  # to forget some costs as much as to forget one: up to a second, so once in 10 s


class DetectorState:
    """Everything that is known of one fleet."""

    def __init__(self, fleet: str) -> None:
        self.fleet = fleet
        self.names = Registry()
        self.groups = self.names.groups
        self.clock = Clock()
        self.notes = Notes()
        self.signs = Signs()
        self.ages = Ages()
        self.signature_ages = SignatureAges()
        self.counts = Counts()
        self.trials = Trials()
        self.book = EvidenceBook()
        self.clearing = Clearing()
        self.history = History()
        self.past = Past()
        self.samples = Samples()
        self.crashes = CrashList()
        self.open = OpenBuckets()
        self.archive = Archive()
        self.apart = Apart()
        self.hosts = Recent()
        self.host_signatures = Recent()
        self.sites = SiteMinutes()
        self.standing = Standing()
        self.spreading = Spreading()
        self.silence = Silence()
        self.alarm = Alarm()
        self._sized = Sizes(-1, -1, -1)

    @property
    def bucket(self) -> int:
        """Stream time."""
        return self.clock.bucket

    def _parts(self) -> dict[str, Any]:
        """By their names in a snapshot."""
        return {name: part for name, part in vars(self).items() if name not in ("fleet", "names", "_sized")}

    def resize(self) -> None:
        """Make every array as large as the registries."""
        if self._sized == self.names.sizes:
            return
        self._sized = self.names.sizes
        for part in self._parts().values():
            if isinstance(part, Part):
                part.resize(self._sized)

    def make_room(self, needed: set[int]) -> None:
        """The registry of updates is full: forget those on the fewest hosts, of which no crash is known. Not what is
        `needed`. Whoever invents updates displaces their like, not a rollout."""
        standing = self.standing
        kept = needed | standing.halted.keys() | standing.forced.keys() | standing.resumed.keys()
        free = [update for update, _ in self.names.updates.live() if update not in kept]
        self.forget(self.counts.fewest_first(free, self.ages.since)[:DISPLACED_AT_ONCE])

    def forget(self, updates: list[int]) -> None:
        """These updates have left the fleet: free their places everywhere."""
        gone = np.array(updates, dtype=np.int64)
        for part in self._parts().values():
            if hasattr(part, "forget"):
                part.forget(gone)
        for update in updates:
            self.names.updates.remove(update)

    def begin_anew(self) -> None:
        """Trials were taken for hosts without updates that did not say: what was concluded from them is nothing."""
        everyone = np.arange(len(self.ages.since))
        for part in (self.book, self.clearing, self.archive, self.signature_ages):
            part.forget(everyone)

    def pack(self) -> bytes:
        """The whole state; `unpack_state` is the inverse."""
        parts = {name: part.pack() for name, part in self._parts().items()}
        return pack({"version": SNAPSHOT_VERSION, "fleet": self.fleet, "names": self.names.pack(), "parts": parts})


def unpack_state(raw: bytes) -> DetectorState:
    """Raises ValueError when the bytes are no snapshot of this version, or of the two before."""
    data = unpack(raw)
    version = data.get("version")
    if version not in (2, 3, SNAPSHOT_VERSION):
        raise ValueError(f"snapshot version {version}, this code reads {SNAPSHOT_VERSION}, 3 and 2")
    if version == 2:
        data = _from_version_2(data)
    state = DetectorState(data["fleet"])
    state.names.restore(data["names"])
    for name, part in state._parts().items():
        if name in data["parts"]:
            part.restore(data["parts"][name])
    state.resize()  # what this version has and that one had not
    if version != SNAPSHOT_VERSION:
        state.past.take_over(state.ages.since, state.counts.exposed_trials, state.book)
    return state


def _from_version_2(data: dict[str, Any]) -> dict[str, Any]:
    """It knew attributes of the whole, and of four parts."""
    plain, hosts = data["plain"], data["hosts"]
    parts = {name: plain for name, part in vars(DetectorState("")).items() if isinstance(part, Part)}
    parts |= data["parts"] | {"book": data["parts"]["ledger"], "archive": plain["archive"]}
    parts |= {name: data[name] for name in ("samples", "crashes", "open", "sites")}
    parts |= {"hosts": hosts[0], "host_signatures": hosts[1]}
    return {"version": SNAPSHOT_VERSION, "fleet": plain["name"], "names": data["slots"], "parts": parts}


class Named(NamedTuple):
    """A slice of a partial, and the positions of what the partial names."""

    mine: Slice
    strata: Ints
    updates: Ints  # -1 where there is no place for it now
    made_room: bool  # positions have passed to others
    changes: tuple[int, int]  # how often names had come or gone
    rows: Rows
    positions: Positions

    def is_of(self, mine: Slice, changes: tuple[int, int]) -> bool:
        """Whether it holds for this slice as well."""
        return self.mine.columns is mine.columns and self.changes == changes and -1 not in self.positions.updates


def name(state: DetectorState, mine: Slice, before: Named | None) -> Named:
    """Give what the partial names its positions, or those of `before`; every array has room for them afterwards."""
    if before is not None and before.is_of(mine, state.names.changes):
        return before._replace(mine=mine, made_room=False)
    partial, (trials, exposures) = mine.partial, mine.columns
    strata = np.array([state.names.stratum(each) for each in partial.strata], dtype=np.int64)
    positions = state.names.updates.add_all(partial.updates)
    made_room = -1 in positions and state.ages.room_made_at < state.bucket
    if made_room:
        positions = _in_made_room(state, mine, positions)
    state.ages.unwatched += positions.count(-1)
    state.resize()
    updates = np.array(positions, dtype=np.int64)
    rows = placed_rows(trials, exposures, strata, updates, state.groups.ring_of)
    return Named(mine, strata, updates, made_room, state.names.changes, rows, Positions(positions))


def _in_made_room(state: DetectorState, mine: Slice, positions: list[int]) -> list[int]:
    """Others give way, once in a bucket, to those that found no place."""
    state.ages.room_made_at, updates = state.bucket, mine.partial.updates
    state.resize()
    state.make_room({state.names.updates.get(each) for each in updates})
    return [state.names.updates.add(each) if at < 0 else at for each, at in zip(updates, positions, strict=True)]
