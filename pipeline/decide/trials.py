"""The exposed share of trials, per update and stratum: what a harmless update's share of the crashes would be.

Counts decay with event time at three half-lives. A crash is counted among the trials that it is compared with, as an
exposed one: (x + 1) / (n + 1). The share that is used is the largest of nine such estimates (each half-life, both trial
kinds together and each alone), the faster ones shrunk to the slower, or what the growth among like strata suggests:
while a rollout ramps up a lagging share would blame the innocent, and too large a share only costs evidence. What is
exact of it, and what is not: docs/statistics.md.
"""

from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import numpy as np

from pipeline.decide.arrays import BLOCK_STRATA, Bools, Column, Floats, Ints, Part, Plain, Sizes, grown
from pipeline.decide.buckets import DAY_BUCKETS, OPEN_BUCKETS
from pipeline.wire.cells import KINDS
from pipeline.wire.partials import BUCKET_MS

HALF_LIVES_MS = np.array([30_000.0, 300_000.0, 2_400_000.0])  # fast, middle, slow
SHRINK_TRIALS = 40.0  # how many trials of its own outweigh the slower estimate, at most
MISSED_CRASHES = 0.4  # so many harmless hosts may crash in as many trials, while the estimate lags
STANDARD_ERRORS = 1.0
FEWEST_TRIALS = 0.5  # on the slow scale, of a stratum that can speak for itself
LISTING_TRIALS = 50.0  # so many within the hour that list no update, and trials of their kind may list none
MAX_ODDS = 50.0  # of exposure, where control hosts stand for exposed ones
DECAY_PER_BUCKET = 2.0 ** (-BUCKET_MS / HALF_LIVES_MS)
AHEAD = OPEN_BUCKETS  # so far ahead of stream time a trial is as new as it is; further ahead it is no newer
_DECAYED: Floats = DECAY_PER_BUCKET[:, None] ** np.arange(-AHEAD, DAY_BUCKETS + 1)  # by age
_DECAYED[:, -1] = 0.0  # from a day on nothing is left


def _places(pools: Floats, strata: Ints) -> tuple[Ints, Ints]:
    """The pools of each of these strata, one stratum's after the other's, and where each one's begin."""
    stratum, pool = np.nonzero(pools.T[strata])
    return pool, np.searchsorted(stratum, np.arange(len(strata)))  # every stratum is in the pool of all


def _widest(pooled: Floats, pool: Ints, first: Ints) -> Floats:
    """The largest share of a stratum's pools that have trials; 1 where none has."""
    widest: Floats = np.maximum.reduceat(pooled[pool], first, axis=0)
    return np.where(widest == 0.0, 1.0, widest)


def odds_of(share: Floats) -> Floats:
    """Exposed hosts per control host, at most MAX_ODDS; any shape."""
    result: Floats = np.minimum(share / np.maximum(1.0 - share, 1.0 / MAX_ODDS), MAX_ODDS)
    return result


class Trials(Part):
    """Decayed counts as of `bucket`: trials (scale, kind, stratum), exposed and excluded (…, update).

    >>> trials, zero = Trials(), np.array([0])
    >>> trials.advance(100)
    >>> trials.add_trials(np.array([100]), zero, zero, np.array([400.0]))
    >>> trials.add_exposures(np.array([100]), zero, zero, zero, np.array([100.0]), np.array([0.0]))
    >>> bool(trials.lower_share(zero)[0, 0] < 0.25 < trials.upper_share(zero, np.ones((1, 8)))[0, 0] < 0.3)
    True
    """

    bucket: Annotated[int, Plain("bucket", int, "bucket that the counts are as of")]
    trials: Annotated[Floats, Column("trials", (3, KINDS, "strata"), "trials")]
    exposed: Annotated[Floats, Column("exposed", (3, KINDS, "strata", "updates"), "trials")]
    excluded: Annotated[Floats, Column("excluded", (3, KINDS, "strata", "updates"), "trials")]
    listed: Annotated[Bools, Plain("listed", lambda: np.zeros(KINDS, dtype=np.bool_), "kinds that ever listed updates")]
    heard: Annotated[Floats, Plain("heard", lambda: np.zeros(KINDS), "trials without any, since others listed some")]
    deaf: Annotated[Bools, Plain("deaf", lambda: np.zeros(KINDS, dtype=np.bool_), "kinds that are known to list none")]
    shrink: Annotated[float, Plain("shrink", lambda: SHRINK_TRIALS, "trials that outweigh the slower estimate")]
    # (pool, update), as of the last survey
    growth: Annotated[Floats, Plain("growth", lambda: np.ones((1, 8)), "growth of the odds")]
    pooled: Annotated[Floats, Plain("pooled", lambda: np.ones((1, 8)), "share of trials, slow; 0 without")]

    def __init__(self) -> None:
        super().__init__()
        self._upper: Floats = np.empty((8, 8))  # derived: the upper shares of all updates, where a stratum's are known
        self._known: Bools = np.zeros(8, dtype=np.bool_)

    def resize(self, sizes: Sizes) -> None:
        """Make room."""
        super().resize(sizes)
        self._changed()

    def _changed(self) -> None:
        """No share is known any more."""
        self._known = np.zeros(0, dtype=np.bool_)

    def restore(self, stored: Any) -> None:
        """What a snapshot of before does not say of the kinds, its counts do."""
        super().restore(stored)
        self.listed |= self.exposed[2].any(axis=(1, 2))

    def forget(self, updates: Ints) -> None:
        """Empty freed updates' places."""
        super().forget(updates)
        for surveyed in (self.growth, self.pooled):
            surveyed[:, updates[updates < surveyed.shape[1]]] = 1.0
        self._changed()

    def advance(self, bucket: int) -> None:
        """Let the counts decay to `bucket`, which never lies before the last."""
        if bucket > self.bucket:
            decay = DECAY_PER_BUCKET ** (bucket - self.bucket) if self.bucket else np.zeros(3)
            self.trials *= decay[:, None, None]
            self.exposed *= decay[:, None, None, None]
            self.excluded *= decay[:, None, None, None]
            self.bucket = bucket
            self._changed()

    def _weights(self, buckets: Ints) -> Floats:
        """Decay since each bucket, per scale: the same whenever they are added. Shape (3, rows)."""
        return np.take(_DECAYED, np.clip(self.bucket - buckets, -AHEAD, DAY_BUCKETS) + AHEAD, axis=1)

    def add_trials(self, buckets: Ints, kinds: Ints, strata: Ints, counts: Floats) -> None:
        """Add rows of clean trials."""
        weighted = self._weights(buckets) * counts
        where = np.ravel_multi_index((kinds, strata), self.trials.shape[1:])
        for scale in range(3):
            np.add.at(self.trials[scale].reshape(-1), where, weighted[scale])
        self._changed()

    def add_exposures(
        self, buckets: Ints, kinds: Ints, strata: Ints, updates: Ints, exposed: Floats, excluded: Floats
    ) -> None:
        """Add rows of exposed and excluded trials."""
        weights = self._weights(buckets)
        where = np.ravel_multi_index((kinds, strata, updates), self.exposed.shape[1:])
        for target, counts in ((self.exposed, exposed), (self.excluded, excluded)):
            place, own, some = where, weights, np.flatnonzero(counts)
            if not len(some):
                continue
            self.listed[kinds[some]] = True
            if len(some) < len(counts):
                place, own, counts = where[some], weights[:, some], counts[some]
            for scale in range(3):
                np.add.at(target[scale].reshape(-1), place, own[scale] * counts)
        self._changed()

    def silent(self) -> Bools:
        """(KINDS,) whose trials may not tell who has an update: so many of late, and none that ever listed one."""
        result: Bools = ~self.listed & (self.trials[2].sum(axis=1) >= LISTING_TRIALS)
        return result

    def hear(self, kinds: Ints, counts: Floats, since: Ints) -> None:
        """Note rows of clean trials once an update is known (`since` its first exposure)."""
        if not self.listed.all() and since.any():
            self.heard += np.bincount(kinds, counts, minlength=KINDS) * ~self.listed

    def listen(self) -> bool:
        """Whether a kind is found to list no updates: an hour's trials of it have come since others listed some. From
        now on its trials do not count."""
        before = self.deaf.copy()
        self.deaf = self.silent() & (self.deaf | (self.heard >= self.trials[2].sum(axis=1)))
        return bool((self.deaf & ~before).any())

    def survey(self, pools: Floats, crashes: float, trials: float) -> None:
        """Take note of the growth in each pool; `pools` (P, S) says which strata go together. Of the fleet's past:
        crashed hosts, and trials."""
        self.shrink = min(SHRINK_TRIALS, MISSED_CRASHES * (trials + 1.0) / (crashes + 1.0))
        others = self.trials[..., None] - self.excluded
        others[:, self.deaf] = 0.0
        np.maximum(others, self.exposed, out=others)
        exposed, eligible = pools @ self.exposed, pools @ others
        self.growth = _growth(exposed, eligible, self.shrink)
        trials = eligible[2].sum(axis=0)
        self.pooled = np.where(trials < FEWEST_TRIALS, 0.0, (exposed[2].sum(axis=0) + 1.0) / (trials + 1.0))
        self._changed()

    def upper_share(self, strata: Ints, pools: Floats, updates: Ints | None = None) -> Floats:
        """The share of these updates (None: of all) in these strata, an upper confidence limit; shape (len(strata),
        len(updates)).

        `pools` (P, S) says which strata go together (all, a ring, a system, a model). A stratum has few trials of its
        own in the last minute; its pools have more, so the largest growth of a pool is taken for the stratum's own.
        """
        shape = self.exposed.shape[2:]
        if self._known.shape != shape[:1]:
            self._known, self._upper = np.zeros(shape[0], dtype=np.bool_), np.empty(shape)
        new = strata[~self._known[strata]]
        if updates is None:
            if len(new):
                self._upper[new] = self._computed(new, pools, None)
                self._known[new] = True
            return self._upper[strata]
        upper = self._upper[strata[:, None], updates]
        if len(new):
            upper[~self._known[strata]] = self._computed(new, pools, updates)
        return upper

    def _computed(self, strata: Ints, pools: Floats, updates: Ints | None) -> Floats:
        growth, pooled = (self._surveyed(found, pools, updates) for found in (self.growth, self.pooled))
        upper = np.empty((len(strata), growth.shape[1]))
        for rows, exposed, eligible in self._blocks(strata, updates):
            found = estimates(exposed, eligible, self.shrink)
            pool, first = _places(pools, strata[rows])
            blind = eligible[2].sum(axis=0) < FEWEST_TRIALS  # no trials here: what its pools say, the most of it
            slow = np.minimum(np.where(blind, _widest(pooled, pool, first), found.slow), 0.9999)
            odds = slow / (1.0 - slow) * np.maximum.reduceat(growth[pool], first, axis=0)
            np.maximum(np.where(blind, 0.0, found.largest), odds / (1.0 + odds), out=upper[rows])
        return upper

    def plain_share(self, strata: Ints, pools: Floats, updates: Ints | None = None) -> Floats:
        """The share itself, by the trials of the last minutes shrunk to those of the last hour; no limit: for figures
        that people read, and for what has to be beyond chance. As `upper_share`."""
        plain = np.empty((len(strata), self.exposed.shape[3] if updates is None else len(updates)))
        pooled = self._surveyed(self.pooled, pools, updates)
        for rows, exposed, eligible in self._blocks(strata, updates):
            x, n = exposed[1:].sum(axis=1), eligible[1:].sum(axis=1)
            slow = (x[1] + 0.5) / (n[1] + 1.0)
            slow = np.where(n[1] < FEWEST_TRIALS, _widest(pooled, *_places(pools, strata[rows])), slow)
            plain[rows] = (SHRINK_TRIALS * slow + x[0]) / (SHRINK_TRIALS + n[0])
        return plain

    def _surveyed(self, found: Floats, pools: Floats, updates: Ints | None) -> Floats:
        """What the last survey found of each pool and these updates; 1 for what is younger."""
        room = grown(found, (pools.shape[0], self.exposed.shape[3]), fill=1.0)[: len(pools)]
        return room if updates is None else room[:, updates]

    def lower_share(self, strata: Ints) -> Floats:
        """The mirror image without pools, a lower confidence limit: for clearing."""
        lower = np.empty((len(strata), self.exposed.shape[3]))
        for rows, exposed, eligible in self._blocks(strata, None):
            others = estimates(eligible - exposed, eligible, self.shrink)
            np.maximum(1.0 - others.largest - others.error, 0.0, out=lower[rows])
        return lower

    def _blocks(self, strata: Ints, updates: Ints | None) -> Iterator[tuple[slice, Floats, Floats]]:
        """Exposed and eligible trials (3, KINDS, rows, U) of a few strata at a time, so that they stay in the cache;
        of kinds that list no updates none is eligible."""
        for first in range(0, len(strata), BLOCK_STRATA):
            rows = slice(first, first + BLOCK_STRATA)
            some = strata[rows]
            exposed, excluded = self.exposed[:, :, some], self.excluded[:, :, some]
            if updates is not None:
                exposed, excluded = exposed[..., updates], excluded[..., updates]
            eligible = self.trials[:, :, some, None] - excluded
            eligible[:, self.deaf] = 0.0
            yield rows, exposed, np.maximum(eligible, exposed, out=eligible)

    def middle_and_slow(self) -> Iterator[tuple[Floats, Floats, Floats]]:
        """Counts on these two scales, one after the other, kinds together: trials (strata), exposed and excluded
        (strata, updates)."""
        for scale in (1, 2):
            yield self.trials[scale].sum(axis=0), self.exposed[scale].sum(axis=0), self.excluded[scale].sum(axis=0)

    def slow_odds(self, updates: Ints, active: Bools) -> Floats:
        """Exposed trials per control trial on the slow scale, in the strata where hosts have the update; (U,)."""
        exposed, excluded = (counts[2][..., updates].sum(axis=0) for counts in (self.exposed, self.excluded))
        control = ((self.trials[2].sum(axis=0)[:, None] - exposed - excluded) * active[:, updates]).sum(axis=0)
        result: Floats = (exposed.sum(axis=0) + 0.5) / np.maximum(control, 0.5)
        return result

    def slow_of(self, update: int) -> tuple[Floats, Floats, Floats]:
        """Slow-scale counts of one update, kinds together: trials, exposed and excluded, (strata,) each."""
        exposed, excluded = self.exposed[2, ..., update].sum(axis=0), self.excluded[2, ..., update].sum(axis=0)
        return self.trials[2].sum(axis=0), exposed, excluded


class Estimates(NamedTuple):
    """Of exposed/eligible; without the first two axes of the counts."""

    slow: Floats  # (x + 1) / (n + 1) on the slowest scale, kinds together; positive at zero counts
    largest: Floats
    error: Floats  # STANDARD_ERRORS of the slow one, for the limit from below


def estimates(exposed: Floats, eligible: Floats, shrink: float) -> Estimates:
    """From counts of shape (scale, kind, …).

    For the largest, the faster scales, and each kind alone, are shrunk as by so many trials at the slower share.
    """
    both_exposed, both_eligible = exposed.sum(axis=1), eligible.sum(axis=1)
    trials = both_eligible[2] + 1.0
    shares = np.empty_like(both_exposed)
    slow = shares[2] = (both_exposed[2] + 1.0) / trials
    for scale in (1, 0):
        shares[scale] = (shrink * shares[scale + 1] + both_exposed[scale]) / (shrink + both_eligible[scale])
    alone = (shrink * shares[:, None] + exposed) / (shrink + eligible)
    largest = np.maximum(shares.max(axis=0), alone.max(axis=(0, 1)))
    return Estimates(slow, largest, STANDARD_ERRORS * np.sqrt(slow * (1.0 - slow) / trials))


def _growth(exposed: Floats, eligible: Floats, shrink: float) -> Floats:
    """By how much the odds of exposure have grown since the slow estimate, at least 1; counts by (scale, kind, …)."""
    found = estimates(exposed, eligible, shrink)
    slow, now = np.minimum(found.slow, 0.9999), np.minimum(found.largest, 0.9999)
    result: Floats = np.maximum(now / (1.0 - now) * (1.0 - slow) / slow, 1.0)
    return result
