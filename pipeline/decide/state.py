"""The state of one fleet: every array and table of the detector, and its way into a snapshot and back."""

from typing import Any

import numpy as np

from pipeline.decide.arrays import Floats, Ints, capacity, grown, pack, unpack
from pipeline.decide.book import MAX_RINGS, SIGNATURE_PLACES, EvidenceBook
from pipeline.decide.buckets import Bucket
from pipeline.decide.clearing import Clearing
from pipeline.decide.conditional import CrashList, Retained
from pipeline.decide.dedup import Recent, SiteMinutes
from pipeline.decide.explain import MAX_STRATA
from pipeline.decide.history import History
from pipeline.decide.name_index import NameIndex
from pipeline.decide.samples import Sample, Samples
from pipeline.decide.trials import Trials
from pipeline.wire.partials import Stratum, UpdateId

SNAPSHOT_VERSION = 2
MAX_UPDATES = 2_048
DISPLACED_AT_ONCE = 256  # to forget some costs as much as to forget one: up to a second, so once in 10 s
MAX_SIGNATURES = 4_096
ARCHIVED = 24
REST = "*"  # the stratum part that stands for all the rare ones


class DetectorState:
    """Everything that is known of one fleet. `bucket` is stream time, in buckets of BUCKET_MS."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bucket = 0
        self.events = 0
        self.recent: Floats = np.zeros((2, 0))  # buckets of the newest reports, and how many
        self.room_made_at = 0  # the bucket
        self.unwatched = 0  # times that a partial named an update without a place; `noted` has the exposures
        self.noted: dict[str, int] = {}  # by word (pipeline.wire.noted)
        self.noted_first: dict[str, list[Any]] = {}  # word → host and moment (unix ms) of the first example
        self.clocks: dict[str, list[int]] = {}  # host → how far its clock was ahead (ms), and the bucket of that
        self.updates: NameIndex[UpdateId] = NameIndex(MAX_UPDATES)
        self.strata: NameIndex[Stratum] = NameIndex(MAX_STRATA)
        self.rings: NameIndex[str] = NameIndex(MAX_RINGS)
        self.signatures: NameIndex[tuple[str, str]] = NameIndex(MAX_SIGNATURES)
        self.ring_of: Ints = np.zeros(8, dtype=np.int64)
        self.since: Ints = np.zeros(8, dtype=np.int64)  # (U,) bucket of the first exposure
        self.seen: Ints = np.zeros(8, dtype=np.int64)  # (U,) bucket of the newest
        self.signature_since: Ints = np.zeros(8, dtype=np.int64)
        self.signature_seen: Ints = np.zeros(8, dtype=np.int64)
        self.signature_crashes: Floats = np.zeros(8)
        self.rates: Floats = np.full((8, 8), np.nan)  # (S, U) history's crash rate as of the update's start
        self.past_expected: Floats = np.zeros(8)  # (U,) crashed hosts that history allows
        self.past_exposure: Floats = np.zeros(8)  # (U,) tolerated exposed trials
        self.shock: Floats = np.ones(8)  # (U,)
        self.settled: Floats = np.full((8, 1 + SIGNATURE_PLACES), -np.inf)  # evidence against history as it last stood
        self.control_crashes: Floats = np.zeros((3, 8, 8))  # (scale, S, U) decayed as the trials
        self.pools: Floats = np.ones((1, 8))  # (P, S) strata that go together: all, then by ring, system, model
        self.crashed: Floats = np.zeros((8, MAX_RINGS))  # (U, R) distinct crashed hosts, exposed
        self.counted: Floats = np.zeros((8, MAX_RINGS))  # (U, R) those of them that count as evidence
        self.expected: Floats = np.zeros((8, MAX_RINGS))  # (U, R) as many as control's rate would give
        self.control: Floats = np.zeros((8, MAX_RINGS))  # (U, R) crashed control hosts
        self.exposed_trials: Floats = np.zeros((8, MAX_RINGS))
        self.capped: Floats = np.zeros(8)
        self.masked: Floats = np.zeros(8)  # (U,) crashed hosts that had another, halted update
        self.apart: Floats = np.ones((1, 1))  # (S, U) how shares differ among hosts without a halted update
        self.apart_bucket = 0  # when that was surveyed
        self.trials = Trials()
        self.book = EvidenceBook()
        self.clearing = Clearing()
        self.history = History()
        self.samples = Samples()
        self.crashes = CrashList()
        self.open: dict[int, Bucket] = {}
        self.archive: list[tuple[int, Floats]] = []  # (10-minute number, share (S, U))
        self.hosts = Recent()
        self.host_signatures = Recent()
        self.sites = SiteMinutes()
        self.states: dict[int, dict[int, str]] = {}  # update → ring → state
        self.halted: dict[int, int] = {}  # update → bucket of the halt
        self.told: Floats = np.zeros(8)  # (U,) evidence as last published
        self.news: list[int] = []  # updates whose state has changed since
        self.halt_times: list[int] = []  # unix ms of halts within the hour
        self.waiting: dict[int, Any] = {}  # update → its order, as plain values: it waits for a person
        self.forced: dict[int, list[str]] = {}  # update → rings that an operator has halted
        self.resumed: dict[int, Any] = {}  # update → evidence (log10) that halts it again, and the rings of the resume
        self.installs_told = False  # whether combiners tell of installations
        self.last_install: Ints = np.zeros(8, dtype=np.int64)  # (U,) bucket of the newest
        self.installs: dict[int, dict[int, list[int]]] = {}  # halted update → minute → the smallest hashes of its hosts
        self.spread_told: dict[int, str] = {}  # halted update → "spreading" or "flat", as last published

    def resize(self) -> None:
        """Make every array as large as the registries."""
        s, u = len(self.strata), len(self.updates)
        for part in (self.trials, self.book):
            part.resize(s, u)
        self.clearing.resize(u)
        self.history.resize(s)
        size_s, size_u = capacity(s), capacity(u)
        self.ring_of = grown(self.ring_of, (size_s,))
        for name in ("since", "seen", "past_expected", "past_exposure", "capped", "masked", "told", "last_install"):
            setattr(self, name, grown(getattr(self, name), (size_u,)))
        self.shock = grown(self.shock, (size_u,), fill=1.0)
        self.settled = grown(self.settled, (size_u, 1 + SIGNATURE_PLACES), fill=-np.inf)
        self.rates = grown(self.rates, (size_s, size_u), fill=np.nan)
        self.control_crashes = grown(self.control_crashes, (3, size_s, size_u))
        for name in ("crashed", "counted", "expected", "control", "exposed_trials"):
            setattr(self, name, grown(getattr(self, name), (size_u, MAX_RINGS)))
        size_g = capacity(len(self.signatures))
        for name in ("signature_since", "signature_seen", "signature_crashes"):
            setattr(self, name, grown(getattr(self, name), (size_g,)))

    def pool(self) -> None:
        """Say which strata go together, after a new one has come."""
        size = capacity(len(self.strata))
        groups: dict[tuple[int, str], Floats] = {}
        for position, stratum in self.strata.live():
            for part, name in enumerate(stratum):
                groups.setdefault((part, name), np.zeros(size))[position] = 1.0
        self.pools = np.stack([np.ones(size), *groups.values()])

    def make_room(self, needed: set[int]) -> None:
        """The registry of updates is full: forget those on the fewest hosts, of which no crash is known. Not what is
        `needed`. Whoever invents updates displaces their like, not a rollout."""
        size = len(self.updates)
        trials, crashed = (counts[:size].sum(axis=1) for counts in (self.exposed_trials, self.crashed))
        kept = needed | self.halted.keys() | self.forced.keys() | self.resumed.keys()
        free = [u for u, _ in self.updates.live() if not crashed[u] and u not in kept]
        self.forget(sorted(free, key=lambda u: (trials[u], self.since[u]))[:DISPLACED_AT_ONCE])

    def forget(self, updates: list[int]) -> None:
        """These updates have left the fleet: free their places everywhere."""
        gone = np.array(updates, dtype=np.int64)
        for part in (self.trials, self.book, self.clearing, self.samples, self.crashes):
            part.forget(gone)
        for bucket in self.open.values():
            bucket.forget(frozenset(updates))
        for name in ("since", "seen", "past_expected", "past_exposure", "capped", "masked", "told", "last_install"):
            getattr(self, name)[gone] = 0
        self.shock[gone] = 1.0
        self.settled[gone] = -np.inf
        self.rates[:, gone] = np.nan
        self.control_crashes[:, :, gone] = 0.0
        for name in ("crashed", "counted", "expected", "control", "exposed_trials"):
            getattr(self, name)[gone] = 0.0
        for _, share in self.archive:
            share[:, gone[gone < share.shape[1]]] = np.nan  # whoever has the place next was not there then
        self.apart_bucket = 0
        for update in updates:
            for of_update in (self.states, self.halted, self.waiting, self.forced, self.resumed):
                of_update.pop(update, None)
            self.installs.pop(update, None)
            self.spread_told.pop(update, None)
            self.updates.remove(update)

    def pack(self) -> bytes:
        """The whole state; `unpack_state` is the inverse."""
        parts = {"trials": self.trials, "ledger": self.book, "clearing": self.clearing, "history": self.history}
        indices = {"updates", "strata", "rings", "signatures"}
        special = {"samples", "crashes", "open", "hosts", "host_signatures", "sites"}
        state = {k: v for k, v in vars(self).items() if k not in {*parts, "book"} | indices | special}
        return pack(
            {
                "version": SNAPSHOT_VERSION,
                "plain": state,
                "parts": {k: _own(part) for k, part in parts.items()},
                "slots": {k: getattr(self, k).names for k in indices},
                "samples": self.samples.bins,
                "crashes": list(self.crashes.crashes),
                "open": {b: bucket.pack() for b, bucket in self.open.items()},
                "hosts": [(r.seen, r.forgotten) for r in (self.hosts, self.host_signatures)],
                "sites": self.sites.counts,
            }
        )


def _own(part: object) -> dict[str, object]:
    """A part's state without what is derived from it."""
    return {k: v for k, v in vars(part).items() if not k.startswith("_")}


def unpack_state(raw: bytes) -> DetectorState:
    """Raises ValueError when the bytes are no snapshot of this version."""
    data = unpack(raw)
    if data.get("version") != SNAPSHOT_VERSION:
        raise ValueError(f"snapshot version {data.get('version')}, this code reads {SNAPSHOT_VERSION}")
    state = DetectorState(data["plain"]["name"])
    vars(state).update(data["plain"])
    state.archive = [(at, share) for at, share in state.archive]
    names = data["slots"]
    state.updates = NameIndex(MAX_UPDATES, [UpdateId(*n) if n else None for n in names["updates"]])
    state.strata = NameIndex(MAX_STRATA, [Stratum(*n) if n else None for n in names["strata"]])
    state.rings = NameIndex(MAX_RINGS, names["rings"])
    state.signatures = NameIndex(MAX_SIGNATURES, [(n[0], n[1]) if n else None for n in names["signatures"]])
    parts = data["parts"]
    state.trials, state.book = Trials(parts["trials"]), EvidenceBook(parts["ledger"])
    state.clearing, state.history = Clearing(parts["clearing"]), History(parts["history"])
    state.samples = Samples(
        {
            b: {s: {h: Sample(tuple(e), tuple(x)) for h, (e, x) in kept.items()} for s, kept in strata.items()}
            for b, strata in data["samples"].items()
        }
    )
    rows = [Retained(at, s, g, tuple(e), tuple(x)) for at, s, g, e, x in data["crashes"]]
    state.crashes = CrashList(rows)
    state.open = {b: Bucket(bucket) for b, bucket in data["open"].items()}
    state.hosts, state.host_signatures = (Recent(seen, forgotten) for seen, forgotten in data["hosts"])
    state.sites = SiteMinutes(data["sites"])
    state.resize()  # what this version has and that one had not
    return state
