"""The evidence book: log evidence per update, by stratum, ring, all strata, and signature; closed buckets only.

What is still open is added for the moment by `with_open`; what closes is entered by `close`. Both go through the same
increment, so a bucket's evidence is the same whether it is judged early or late.
"""

from typing import NamedTuple

import numpy as np

from pipeline.decide import evidence as ev
from pipeline.decide.arrays import Bools, Floats, Ints, capacity, grown
from pipeline.decide.buckets import Bucket

SIGNATURE_SLOTS = 16  # per update: the first half for signatures never seen before it, the second for known ones
MAX_RINGS = 16


class Totals(NamedTuple):
    """What the evidence is at a moment. Axes: update; ring or slot or stratum; bet."""

    pooled: Floats  # (U, T)
    rings: Floats  # (R, U, T)
    strata: Floats  # (S, U): log mixture of each stratum alone
    signatures: Floats  # (U, K, T)
    exposed: Floats  # (U,) crashed hosts that had the update
    expected: Floats  # (U,) as many as a harmless update would have
    crashes: Floats  # (U,) crashed hosts in the comparison, exposed or control
    signature_exposed: Floats  # (U, K)
    signature_expected: Floats  # (U, K)
    signature_crashes: Floats  # (U, K)


class _Increment(NamedTuple):
    evidence: Floats  # (C, U, T)
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
        self.active: Bools = np.zeros((8, 8), dtype=np.bool_)
        self.exposed: Floats = np.zeros(8)
        self.expected: Floats = np.zeros(8)
        self.crashes: Floats = np.zeros(8)
        self.slots: Ints = np.full((8, SIGNATURE_SLOTS), -1)
        self.signatures: Floats = np.zeros((8, SIGNATURE_SLOTS, bets))
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
        self.active = grown(self.active, (s, u))
        self.exposed = grown(self.exposed, (u,))
        self.expected = grown(self.expected, (u,))
        self.crashes = grown(self.crashes, (u,))
        self.slots = grown(self.slots, (u, SIGNATURE_SLOTS), fill=-1)
        self.signatures = grown(self.signatures, (u, SIGNATURE_SLOTS, t))
        for name in ("signature_exposed", "signature_expected", "signature_crashes", "signature_rate"):
            setattr(self, name, grown(getattr(self, name), (u, SIGNATURE_SLOTS)))

    def forget(self, update: int) -> None:
        """Empty a freed update's place."""
        self.strata[:, update] = self.rings[:, update] = 0.0
        self.stratum_log[:, update] = 0.0
        self.active[:, update] = False
        self.slots[update] = -1
        for name in ("pooled", "exposed", "expected", "crashes", "signatures"):
            getattr(self, name)[update] = 0.0
        for name in ("signature_exposed", "signature_expected", "signature_crashes", "signature_rate"):
            getattr(self, name)[update] = 0.0

    def assign(self, signature: int, is_new: Bools, live: Ints, rate: float) -> None:
        """Give `signature` the next free slot of each live update that has none for it yet.

        Order of first appearance after the update is what makes the weights legitimate. `is_new` (updates,): the fleet
        had never seen it before the update. Updates whose half is full go without.
        """
        missing = live[~(self.slots[live] == signature).any(axis=1)]
        half = SIGNATURE_SLOTS // 2
        for update in missing:
            first = 0 if is_new[update] else half
            free = np.flatnonzero(self.slots[update, first : first + half] < 0)
            if len(free):
                self.slots[update, first + free[0]] = signature
                self.signature_rate[update, first + free[0]] = rate

    def _increment(self, bucket: Bucket, strata: Ints, share: Floats, tolerated: Floats) -> _Increment:
        """Evidence of a bucket's crashes on `strata`; `share` (C, U) is what a harmless update would get."""
        rows = {int(s): i for i, s in enumerate(strata)}
        updates = share.shape[1]
        active = self.active[strata]
        normaliser = ev.log_normaliser(ev.null_share(share, tolerated), ev.THETA) * active[..., None]
        fair = share * active
        crashes, exposed = bucket.columns(rows, updates)
        exposed *= active
        evidence = exposed[..., None] * ev.LOG_THETA - crashes[..., None] * normaliser
        by_signature = {}
        for signature, part in bucket.by_signature.items():
            its_crashes, its_exposed = part.columns(rows, updates)
            its_total = (its_exposed * active).sum(axis=0)
            its_evidence = its_total[:, None] * ev.LOG_THETA - np.einsum("cu,cut->ut", its_crashes, normaliser)
            its_counts = its_total, (its_crashes * fair).sum(axis=0), (its_crashes * active).sum(axis=0)
            by_signature[signature] = (its_evidence, *its_counts)
        counts = exposed.sum(axis=0), (crashes * fair).sum(axis=0), (crashes * active).sum(axis=0)
        return _Increment(evidence, *counts, by_signature)

    def close(self, bucket: Bucket, strata: Ints, share: Floats, tolerated: Floats, ring_of: Ints) -> None:
        """Enter a bucket for good."""
        step = self._increment(bucket, strata, share, tolerated)
        self.strata[strata] += step.evidence
        self.stratum_log[strata] = ev.log_mixture(self.strata[strata])
        self.pooled += step.evidence.sum(axis=0)
        np.add.at(self.rings, ring_of[strata], step.evidence)
        self.exposed += step.exposed
        self.expected += step.expected
        self.crashes += step.crashes
        for signature, (evidence, exposed, expected, crashes) in step.by_signature.items():
            updates, slots = np.nonzero(self.slots == signature)
            self.signatures[updates, slots] += evidence[updates]
            self.signature_exposed[updates, slots] += exposed[updates]
            self.signature_expected[updates, slots] += expected[updates]
            self.signature_crashes[updates, slots] += crashes[updates]

    def with_open(self, bucket: Bucket, strata: Ints, share: Floats, tolerated: Floats, ring_of: Ints) -> Totals:
        """The evidence with what is still open; nothing is entered."""
        if not len(strata):
            return self.totals()
        step = self._increment(bucket, strata, share, tolerated)
        rings = self.rings.copy()
        np.add.at(rings, ring_of[strata], step.evidence)
        stratum_log = self.stratum_log.copy()
        stratum_log[strata] = ev.log_mixture(self.strata[strata] + step.evidence)
        totals = self.totals()._replace(
            pooled=self.pooled + step.evidence.sum(axis=0),
            rings=rings,
            strata=stratum_log,
            exposed=self.exposed + step.exposed,
            expected=self.expected + step.expected,
            crashes=self.crashes + step.crashes,
            signatures=self.signatures.copy(),
            signature_exposed=self.signature_exposed.copy(),
            signature_expected=self.signature_expected.copy(),
            signature_crashes=self.signature_crashes.copy(),
        )
        for signature, (evidence, exposed, expected, crashes) in step.by_signature.items():
            updates, slots = np.nonzero(self.slots == signature)
            totals.signatures[updates, slots] += evidence[updates]
            totals.signature_exposed[updates, slots] += exposed[updates]
            totals.signature_expected[updates, slots] += expected[updates]
            totals.signature_crashes[updates, slots] += crashes[updates]
        return totals

    def totals(self) -> Totals:
        """The evidence of closed buckets."""
        return Totals(
            self.pooled,
            self.rings,
            self.stratum_log,
            self.signatures,
            self.exposed,
            self.expected,
            self.crashes,
            self.signature_exposed,
            self.signature_expected,
            self.signature_crashes,
        )
