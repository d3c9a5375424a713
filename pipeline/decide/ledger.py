"""The evidence book: log evidence per update, by stratum, ring, all strata, and signature; closed buckets only.

What is still open is added for the moment by `with_open`; what closes is entered by `close`. Both go through the same
increment, so a bucket's evidence is the same whether it is judged early or late. Open crashes are added only to updates
that one of them was exposed to: evidence can rise for no other, and stands as it did when the last bucket closed.
"""

from typing import NamedTuple

import numpy as np

from pipeline.decide import evidence as ev
from pipeline.decide.arrays import Bools, Floats, Ints, capacity, grown, places
from pipeline.decide.buckets import Bucket

SIGNATURE_SLOTS = 16  # per update: the first half for signatures never seen before it, the second for known ones
_HALF = SIGNATURE_SLOTS // 2  # of which the first half goes to whatever appears, the rest to what hits its hosts
_QUARTER = _HALF // 2
MAX_RINGS = 16
_BY_SLOT = ("signature_log", "signature_exposed", "signature_expected", "signature_crashes", "signature_rate")


class Totals(NamedTuple):
    """What the evidence is at a moment: natural logs of each explanation's mixture, and the counts behind it."""

    pooled: Floats  # (U,)
    rings: Floats  # (R, U)
    strata: Floats  # (S, U)
    signatures: Floats  # (U, K)
    exposed: Floats  # (U,) crashed hosts that had the update
    expected: Floats  # (U,) as many as a harmless update would have
    crashes: Floats  # (U,) crashed hosts in the comparison, exposed or control
    signature_exposed: Floats  # (U, K)
    signature_expected: Floats  # (U, K)
    signature_crashes: Floats  # (U, K)


class _Increment(NamedTuple):
    """Of some strata (C) and some updates (U)."""

    evidence: Floats  # (C, U, T)
    hits: tuple[Ints, ...]  # (row, column) of each cell with an exposed crash
    exposed: Floats  # (U,)
    expected: Floats  # (U,)
    crashes: Floats  # (U,)
    by_signature: dict[int, tuple[Floats, Floats, Floats, Floats]]  # (U, T), and exposed, expected, crashes (U,)


class Ledger:
    """Arrays over (stratum, update, bet) and their sums."""

    def __init__(self, data: dict[str, object] | None = None) -> None:
        bets = len(ev.THETA)
        self.strata: Floats = np.zeros((8, 8, bets))
        self.stratum_log: Floats = np.zeros((8, 8))
        self.pooled: Floats = np.zeros((8, bets))
        self.rings: Floats = np.zeros((MAX_RINGS, 8, bets))
        self.ring_log: Floats = np.zeros((MAX_RINGS, 8))
        self.active: Bools = np.zeros((8, 8), dtype=np.bool_)
        self.exposed: Floats = np.zeros(8)
        self.expected: Floats = np.zeros(8)
        self.crashes: Floats = np.zeros(8)
        self.slots: Ints = np.full((8, SIGNATURE_SLOTS), -1)
        self.signatures: Floats = np.zeros((8, SIGNATURE_SLOTS, bets))
        self.signature_log: Floats = np.zeros((8, SIGNATURE_SLOTS))
        self.signature_exposed: Floats = np.zeros((8, SIGNATURE_SLOTS))
        self.signature_expected: Floats = np.zeros((8, SIGNATURE_SLOTS))
        self.signature_crashes: Floats = np.zeros((8, SIGNATURE_SLOTS))
        self.signature_rate: Floats = np.zeros((8, SIGNATURE_SLOTS))  # per trial, from history; NaN without one
        if data:
            vars(self).update(data)

    def resize(self, strata: int, updates: int) -> None:
        """Make room."""
        s, u, t = capacity(strata), capacity(updates), len(ev.THETA)
        self.strata = grown(self.strata, (s, u, t))
        self.stratum_log = grown(self.stratum_log, (s, u))
        self.pooled = grown(self.pooled, (u, t))
        self.rings = grown(self.rings, (MAX_RINGS, u, t))
        self.ring_log = grown(self.ring_log, (MAX_RINGS, u))
        self.active = grown(self.active, (s, u))
        self.exposed = grown(self.exposed, (u,))
        self.expected = grown(self.expected, (u,))
        self.crashes = grown(self.crashes, (u,))
        self.slots = grown(self.slots, (u, SIGNATURE_SLOTS), fill=-1)
        self.signatures = grown(self.signatures, (u, SIGNATURE_SLOTS, t))
        for name in _BY_SLOT:
            setattr(self, name, grown(getattr(self, name), (u, SIGNATURE_SLOTS)))

    def forget(self, update: int) -> None:
        """Empty a freed update's place."""
        self.strata[:, update] = self.rings[:, update] = 0.0
        self.stratum_log[:, update] = self.ring_log[:, update] = 0.0
        self.active[:, update] = False
        self.slots[update] = -1
        for name in ("pooled", "exposed", "expected", "crashes", "signatures"):
            getattr(self, name)[update] = 0.0
        for name in _BY_SLOT:
            getattr(self, name)[update] = 0.0

    def assign(self, signature: int, is_new: Bools, live: Ints, rate: float) -> None:
        """Give `signature` the next free slot, for whatever appears, of each live update that has none for it yet.

        Order of first appearance after the update is what makes the weights legitimate. `is_new` (updates,): the fleet
        had never seen it before the update. Updates whose quarter is full wait for a hit: `assign_hit`.
        """
        missing = live[~(self.slots[live] == signature).any(axis=1)]
        for first, updates in ((0, missing[is_new[missing]]), (_HALF, missing[~is_new[missing]])):
            self._fill(signature, updates, first, rate)

    def assign_hit(self, signature: int, is_new: Bools, listed: Ints, rate: float) -> Ints:
        """The same when a crashed host was exposed to `listed`: those of them that get a slot by this very crash.

        It may be no evidence for them, for they would have no slot had it hit a control host instead.
        """
        missing = listed[~(self.slots[listed] == signature).any(axis=1)]
        given = [
            self._fill(signature, updates, first + _QUARTER, rate)
            for first, updates in ((0, missing[is_new[missing]]), (_HALF, missing[~is_new[missing]]))
        ]
        return np.concatenate(given)

    def _fill(self, signature: int, updates: Ints, first: int, rate: float) -> Ints:
        """Of these updates, those with a free slot in the quarter that begins at `first`; slots are filled in order."""
        used = (self.slots[updates, first : first + _QUARTER] != -1).sum(axis=1)
        updates, places = updates[used < _QUARTER], first + used[used < _QUARTER]
        self.slots[updates, places] = signature
        self.signature_rate[updates, places] = rate
        return updates

    def _increment(self, bucket: Bucket, strata: Ints, updates: Ints, share: Floats, tolerated: Floats) -> _Increment:
        """Evidence of a bucket's crashes; `share` (C, U) is what harmless updates would get, `tolerated` (U,)."""
        rows, columns = places(strata), places(updates)
        active = self.active[np.ix_(strata, updates)]
        normaliser = ev.log_normaliser(ev.null_share(share, tolerated), ev.THETA)
        normaliser *= active[..., None]
        fair = share * active
        crashes, exposed = bucket.columns(rows, columns)
        evidence = -crashes[..., None] * normaliser
        hits = np.nonzero(exposed)
        evidence[hits] += exposed[hits][:, None] * ev.LOG_THETA
        usual = _usual(bucket, rows)
        by_bet, by_fair, by_active = usual @ normaliser.reshape(len(strata), -1), usual @ fair, usual @ active
        by_signature = {}
        for place, (signature, part) in enumerate(bucket.by_signature.items()):
            its_evidence, its_exposed = -by_bet[place].reshape(normaliser.shape[1:]), np.zeros(len(updates))
            for (_, update), count in part.exposed.items():
                its_exposed[columns[update]] += count
            its_evidence += its_exposed[:, None] * ev.LOG_THETA
            for (stratum, update), count in part.excluded.items():
                if (column := columns.get(update)) is not None:
                    its_evidence[column] += count * normaliser[rows[stratum], column]
                    by_fair[place, column] -= count * fair[rows[stratum], column]
                    by_active[place, column] -= count * active[rows[stratum], column]
            by_signature[signature] = (its_evidence, its_exposed, by_fair[place], by_active[place])
        counts = exposed.sum(axis=0), (crashes * fair).sum(axis=0), (crashes * active).sum(axis=0)
        return _Increment(evidence, hits, *counts, by_signature)

    def close(self, bucket: Bucket, strata: Ints, share: Floats, tolerated: Floats, ring_of: Ints) -> None:
        """Enter a bucket for good; `share` (len(strata), all updates)."""
        step = self._increment(bucket, strata, np.arange(share.shape[1]), share, tolerated)
        self.strata[strata] += step.evidence
        self.stratum_log[strata] = ev.log_mixture(self.strata[strata])
        self.pooled += step.evidence.sum(axis=0)
        np.add.at(self.rings, ring_of[strata], step.evidence)
        rings = np.unique(ring_of[strata])
        self.ring_log[rings] = ev.log_mixture(self.rings[rings])
        self.exposed += step.exposed
        self.expected += step.expected
        self.crashes += step.crashes
        for signature, (evidence, *counts) in step.by_signature.items():
            updates, slots = np.nonzero(self.slots == signature)
            self.signatures[updates, slots] += evidence[updates]
            self.signature_log[updates, slots] = ev.log_mixture(self.signatures[updates, slots])
            arrays = self.signature_exposed, self.signature_expected, self.signature_crashes
            for mine, count in zip(arrays, counts, strict=True):
                mine[updates, slots] += count[updates]

    def with_open(
        self, bucket: Bucket, strata: Ints, updates: Ints, share: Floats, tolerated: Floats, ring_of: Ints
    ) -> Totals:
        """The evidence with what is still open; nothing is entered. `updates` are those that `bucket` exposes, `share`
        (len(strata), len(updates)) theirs."""
        closed = self.totals()
        if not len(updates):
            return closed
        step = self._increment(bucket, strata, updates, share, tolerated)
        totals = Totals(*(array.copy() for array in closed))
        row, column = step.hits
        cell = strata[row], updates[column]
        totals.strata[cell] = ev.log_mixture(self.strata[cell] + step.evidence[step.hits])
        pooled = self.pooled[updates]
        for ring in np.unique(ring_of[strata]):
            of_ring = step.evidence[ring_of[strata] == ring].sum(axis=0)
            totals.rings[ring, updates] = ev.log_mixture(self.rings[ring, updates] + of_ring)
            pooled += of_ring
        totals.pooled[updates] = ev.log_mixture(pooled)
        totals.exposed[updates] += step.exposed
        totals.expected[updates] += step.expected
        totals.crashes[updates] += step.crashes
        self._open_signatures(step, updates, totals)
        return totals

    def _open_signatures(self, step: _Increment, updates: Ints, totals: Totals) -> None:
        arrays = totals.signature_exposed, totals.signature_expected, totals.signature_crashes
        for signature, (evidence, *counts) in step.by_signature.items():
            columns = np.flatnonzero(counts[0])
            found, slots = np.nonzero(self.slots[updates[columns]] == signature)
            columns = columns[found]
            at = updates[columns], slots
            totals.signatures[at] = ev.log_mixture(self.signatures[at] + evidence[columns])
            for mine, count in zip(arrays, counts, strict=True):
                mine[at] += count[columns]

    def totals(self) -> Totals:
        """The evidence of closed buckets."""
        return Totals(
            ev.log_mixture(self.pooled),
            self.ring_log,
            self.stratum_log,
            self.signature_log,
            self.exposed,
            self.expected,
            self.crashes,
            self.signature_exposed,
            self.signature_expected,
            self.signature_crashes,
        )


def _usual(bucket: Bucket, rows: dict[int, int]) -> Floats:
    """Crashes by (signature, stratum row)."""
    counts = np.zeros((len(bucket.by_signature), len(rows)))
    for place, part in enumerate(bucket.by_signature.values()):
        for stratum, count in part.crashes.items():
            counts[place, rows[stratum]] = count
    return counts
