"""The evidence book: log evidence per update, by stratum, ring, all strata, and signature; closed buckets only.

What is still open is added for the moment by `with_open`; what closes is entered by `close`. Both go through the same
increment, so a bucket's evidence is the same whether it is judged early or late. Open crashes are added only to updates
that one of them was exposed to: evidence can rise for no other, and stands as it did when the last bucket closed.
"""

from typing import NamedTuple

import numpy as np

from pipeline.decide import evidence as ev
from pipeline.decide.arrays import Bools, Floats, Ints, capacity, grown
from pipeline.decide.crash_columns import CrashColumns
from pipeline.decide.increment import Increment, normalisers

SIGNATURE_PLACES = 16  # per update: the first half for signatures never seen before it, the second for known ones
_HALF = SIGNATURE_PLACES // 2  # of which the first half goes to whatever appears, the rest to what hits its hosts
_QUARTER = _HALF // 2
MAX_RINGS = 16
_BY_PLACE = ("signature_log", "signature_exposed", "signature_expected", "signature_crashes", "signature_rate")


class Totals(NamedTuple):
    """What the evidence is at a moment: natural logs of each explanation's mixture, and the counts behind it."""

    pooled: Floats  # (U,)
    rings: Floats  # (R, U)
    strata: Floats  # (S, U)
    signatures: Floats  # (U, K)
    exposed: Floats  # (U,) crashed hosts that had the update
    expected: Floats  # (U,) as many as a harmless update would have
    signature_exposed: Floats  # (U, K)
    signature_expected: Floats  # (U, K)
    signature_crashes: Floats  # (U, K)


class EvidenceBook:
    """Arrays over (stratum, bet, update) and their sums."""

    def __init__(self, data: dict[str, object] | None = None) -> None:
        bets = len(ev.THETA)
        self.strata: Floats = np.zeros((8, bets, 8))
        self.stratum_log: Floats = np.zeros((8, 8))
        self.pooled: Floats = np.zeros((bets, 8))
        self.rings: Floats = np.zeros((MAX_RINGS, bets, 8))
        self.ring_log: Floats = np.zeros((MAX_RINGS, 8))
        self.active: Bools = np.zeros((8, 8), dtype=np.bool_)
        self.exposed: Floats = np.zeros(8)
        self.expected: Floats = np.zeros(8)
        self.crashes: Floats = np.zeros(8)
        # the signature in each of an update's places: -1 for none yet, -2 for a place that stays spent; snapshots have
        # it under this name
        self.slots: Ints = np.full((8, SIGNATURE_PLACES), -1)
        self.signatures: Floats = np.zeros((8, SIGNATURE_PLACES, bets))
        self.signature_log: Floats = np.zeros((8, SIGNATURE_PLACES))
        self.signature_exposed: Floats = np.zeros((8, SIGNATURE_PLACES))
        self.signature_expected: Floats = np.zeros((8, SIGNATURE_PLACES))
        self.signature_crashes: Floats = np.zeros((8, SIGNATURE_PLACES))
        self.signature_rate: Floats = np.zeros((8, SIGNATURE_PLACES))  # per trial, from history; NaN without one
        if data:
            vars(self).update(data)

    def resize(self, strata: int, updates: int) -> None:
        """Make room."""
        s, u, t = capacity(strata), capacity(updates), len(ev.THETA)
        self.strata = grown(self.strata, (s, t, u))
        self.stratum_log = grown(self.stratum_log, (s, u))
        self.pooled = grown(self.pooled, (t, u))
        self.rings = grown(self.rings, (MAX_RINGS, t, u))
        self.ring_log = grown(self.ring_log, (MAX_RINGS, u))
        self.active = grown(self.active, (s, u))
        self.exposed = grown(self.exposed, (u,))
        self.expected = grown(self.expected, (u,))
        self.crashes = grown(self.crashes, (u,))
        self.slots = grown(self.slots, (u, SIGNATURE_PLACES), fill=-1)
        self.signatures = grown(self.signatures, (u, SIGNATURE_PLACES, t))
        for name in _BY_PLACE:
            setattr(self, name, grown(getattr(self, name), (u, SIGNATURE_PLACES)))

    def forget(self, updates: Ints) -> None:
        """Empty freed updates' places."""
        self.strata[..., updates] = self.rings[..., updates] = self.pooled[:, updates] = 0.0
        self.stratum_log[:, updates] = self.ring_log[:, updates] = 0.0
        self.active[:, updates] = False
        self.slots[updates] = -1
        for name in ("exposed", "expected", "crashes", "signatures"):
            getattr(self, name)[updates] = 0.0
        for name in _BY_PLACE:
            getattr(self, name)[updates] = 0.0

    def assign(self, signature: int, is_new: Bools, live: Ints, rate: float) -> None:
        """Give `signature` the next free place, for whatever appears, of each live update that has none for it yet.

        Order of first appearance after the update is what makes the weights legitimate. `is_new` (updates,): the fleet
        had never seen it before the update. Updates whose quarter is full wait for a hit: `assign_hit`.
        """
        missing = live[~(self.slots[live] == signature).any(axis=1)]
        for first, updates in ((0, missing[is_new[missing]]), (_HALF, missing[~is_new[missing]])):
            self._fill(signature, updates, first, rate)

    def assign_hit(self, signature: int, is_new: Bools, listed: Ints, rate: float) -> Ints:
        """The same when a crashed host was exposed to `listed`: those of them that get a place by this very crash.

        It may be no evidence for them, for they would have no place had it hit a control host instead.
        """
        missing = listed[~(self.slots[listed] == signature).any(axis=1)]
        given = [
            self._fill(signature, updates, first + _QUARTER, rate)
            for first, updates in ((0, missing[is_new[missing]]), (_HALF, missing[~is_new[missing]]))
        ]
        return np.concatenate(given)

    def _fill(self, signature: int, updates: Ints, first: int, rate: float) -> Ints:
        """Those of these updates with a free place in the quarter that begins at `first`, filled in order."""
        used = (self.slots[updates, first : first + _QUARTER] != -1).sum(axis=1)
        updates, places = updates[used < _QUARTER], first + used[used < _QUARTER]
        self.slots[updates, places] = signature
        self.signature_rate[updates, places] = rate
        return updates

    def close(self, columns: CrashColumns, share: Floats, tolerated: Floats, ring_of: Ints) -> None:
        """Enter a bucket for good; `share` (C, U) of all updates in the strata of `columns`."""
        updates, active = np.arange(share.shape[1]), self.active[columns.strata]
        added = Increment(columns, updates, share, active, ring_of)
        crashes, exposed = columns.dense(updates)
        for rows, normaliser in normalisers(share, tolerated, active):
            added.add(rows, normaliser)
            normaliser *= crashes[rows, None]
            for lost, won, stratum in zip(normaliser, exposed[rows], columns.strata[rows], strict=True):
                log, hit = self.strata[stratum], np.flatnonzero(won)
                log -= lost
                log[:, hit] += won[hit] * ev.LOG_THETA[:, None]
                self.stratum_log[stratum] = _mixture(log)
        rings = len(added.rings)
        self.pooled += added.evidence[:rings].sum(axis=0)
        self.rings[added.rings] += added.evidence[:rings]
        self.ring_log[added.rings] = _mixture(self.rings[added.rings])
        self.exposed += added.exposed[:rings].sum(axis=0)
        self.expected += added.expected[:rings].sum(axis=0)
        self.crashes += added.crashes[:rings].sum(axis=0)
        for group, signature in enumerate(added.signatures, rings):
            updates, places = np.nonzero(self.slots == signature)
            self.signatures[updates, places] += added.evidence[group, :, updates]
            self.signature_log[updates, places] = ev.log_mixture(self.signatures[updates, places])
            self.signature_exposed[updates, places] += added.exposed[group, updates]
            self.signature_expected[updates, places] += added.expected[group, updates]
            self.signature_crashes[updates, places] += added.crashes[group, updates]

    def with_open(
        self, columns: CrashColumns, updates: Ints, share: Floats, tolerated: Floats, ring_of: Ints
    ) -> Totals:
        """The evidence with what is still open; nothing is entered. `updates` are those that `columns` reaches, `share`
        (C, U) theirs in its strata."""
        closed = self.totals()
        if not len(updates):
            return closed
        totals = Totals(*(array.copy() for array in closed))
        active = self.active[np.ix_(columns.strata, updates)]
        added = Increment(columns, updates, share, active, ring_of)
        crashes, exposed = columns.dense(updates)
        for rows, normaliser in normalisers(share, tolerated, active):
            added.add(rows, normaliser)
            row, column = np.nonzero(exposed[rows])
            where = columns.strata[rows][row], updates[column]
            lost = crashes[rows][row, column][:, None] * normaliser[row, :, column]
            won = exposed[rows][row, column][:, None] * ev.LOG_THETA
            totals.strata[where] = ev.log_mixture(self.strata[where[0], :, where[1]] - lost + won)
        rings = len(added.rings)
        for group, ring in enumerate(added.rings):
            totals.rings[ring, updates] = _mixture(self.rings[ring][:, updates] + added.evidence[group])
        totals.pooled[updates] = _mixture(self.pooled[:, updates] + added.evidence[:rings].sum(axis=0))
        totals.exposed[updates] += added.exposed[:rings].sum(axis=0)
        totals.expected[updates] += added.expected[:rings].sum(axis=0)
        self._open_signatures(added, updates, totals)
        return totals

    def _open_signatures(self, added: Increment, updates: Ints, totals: Totals) -> None:
        for group, signature in enumerate(added.signatures, len(added.rings)):
            columns = np.flatnonzero(added.exposed[group])
            found, places = np.nonzero(self.slots[updates[columns]] == signature)
            columns = columns[found]
            at = updates[columns], places
            totals.signatures[at] = ev.log_mixture(self.signatures[at] + added.evidence[group, :, columns])
            totals.signature_exposed[at] += added.exposed[group, columns]
            totals.signature_expected[at] += added.expected[group, columns]
            totals.signature_crashes[at] += added.crashes[group, columns]

    def totals(self) -> Totals:
        """The evidence of closed buckets."""
        return Totals(
            _mixture(self.pooled),
            self.ring_log,
            self.stratum_log,
            self.signature_log,
            self.exposed,
            self.expected,
            self.signature_exposed,
            self.signature_expected,
            self.signature_crashes,
        )


def _mixture(evidence: Floats) -> Floats:
    """ln of the mixture over the bets of (..., T, U)."""
    return ev.log_mixture(evidence.swapaxes(-1, -2))
