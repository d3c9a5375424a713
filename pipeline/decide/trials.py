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
SMALL = 1 << 14  # cells times updates: counts of several scales stay in the cache together
LISTING_TRIALS = 50.0  # so many within the hour that list no update, and trials of their kind may list none
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


class Shares(NamedTuple):
    """The exposed shares of trials, (strata, updates)."""

    upper: Floats  # an upper confidence limit
    plain: Floats  # the trials of the last minutes shrunk to those of the last hour: for what has to be beyond chance


class Trials(Part):
    """Decayed counts as of `bucket`: trials (scale, kind, stratum), exposed and excluded (…, update).

    >>> trials, zero = Trials(), np.array([0])
    >>> trials.advance(100)
    >>> trials.add_trials(np.array([100]), zero, zero, np.array([400.0]))
    >>> trials.add_listed(trials.exposed, np.array([100]), zero, zero, zero, np.array([100.0]))
    >>> bool(trials.lower_share(zero)[0, 0] < 0.25 < trials.shares(zero, np.ones((1, 8))).upper[0, 0] < 0.3)
    True
    """

    bucket: Annotated[int, Plain("bucket", int, "bucket that the counts are as of")]
    trials: Annotated[Floats, Column("trials", (3, KINDS, "strata"), "trials")]
    exposed: Annotated[Floats, Column("exposed", (3, KINDS, "strata", "updates"), "trials")]
    excluded: Annotated[Floats, Column("excluded", (3, KINDS, "strata", "updates"), "trials")]
    listed: Annotated[Bools, Plain("listed", lambda: np.zeros(KINDS, dtype=np.bool_), "kinds that ever listed updates")]
    heard: Annotated[Floats, Plain("heard", lambda: np.zeros(KINDS), "trials without any, since others listed some")]
    deaf: Annotated[Bools, Plain("deaf", lambda: np.zeros(KINDS, dtype=np.bool_), "kinds that are known to list none")]
    shrink: Annotated[float, Plain("shrink", lambda: SHRINK_TRIALS, "trials in which MISSED_CRASHES hosts crash")]
    before: Annotated[int, Plain("before", int, "the bucket before")]
    # of late: what trials weighed on each scale when they came, and how many they were
    arrived: Annotated[Floats, Plain("arrived", lambda: np.zeros(4), "trials")]
    # (pool, update), as of the last survey
    growth: Annotated[Floats, Plain("growth", lambda: np.ones((1, 8)), "growth of the odds")]
    pooled: Annotated[Floats, Plain("pooled", lambda: np.ones((1, 8)), "share of trials, slow; 0 without")]

    def __init__(self) -> None:
        super().__init__()
        self._shares = Shares(np.empty((8, 8)), np.empty((8, 8)))  # derived: of all updates, in strata that are known
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
            self.arrived *= decay[2]
            self.before, self.bucket = self.bucket, bucket
            self._changed()

    def _add(self, target: Floats, where: Ints, buckets: Ints, hosts: Floats) -> None:
        """Add rows, at these places of each scale, by what is left of them: the same whenever they are added."""
        if not len(buckets):
            return
        buckets = buckets[:1] if (buckets == buckets[0]).all() else buckets
        age = np.minimum(np.maximum(self.bucket - buckets, -AHEAD), DAY_BUCKETS) + AHEAD
        values = _DECAYED[:, age] * hosts
        scales = np.arange(0, target.size, target[0].size)[:, None]
        np.add.at(target.reshape(-1), (scales + where).reshape(-1), values.reshape(-1))
        self._changed()

    def add_trials(self, buckets: Ints, kinds: Ints, strata: Ints, hosts: Floats) -> None:
        """Add rows of clean trials. Late is what is more than a minute older than what was there before."""
        age = np.minimum(np.maximum(self.before - buckets, 0), DAY_BUCKETS)
        self.arrived[:3] += np.where(age > OPEN_BUCKETS, _DECAYED[:, age + AHEAD], 1.0) @ hosts
        self.arrived[3] += hosts.sum()
        self._add(self.trials, kinds * self.trials.shape[2] + strata, buckets, hosts)

    def add_listed(
        self, target: Floats, buckets: Ints, kinds: Ints, strata: Ints, updates: Ints, hosts: Floats
    ) -> None:
        """Add rows of clean trials that list an update, to `exposed` or `excluded`."""
        self._add(target, (kinds * target.shape[2] + strata) * target.shape[3] + updates, buckets, hosts)
        self.listed[kinds] = True

    def silent(self) -> Bools:
        """(KINDS,) whose trials may not tell who has an update: so many of late, and none that ever listed one."""
        result: Bools = ~self.listed & (self.trials[2].sum(axis=1) >= LISTING_TRIALS)
        return result

    def hear(self, kinds: Ints, counts: Floats, since: Ints) -> None:
        """Note rows of clean trials once an update is known (`since` its first exposure)."""
        if not self.listed.all() and since.any():
            self.heard += np.bincount(kinds, counts, minlength=KINDS) * ~self.listed

    def listen(self, crashes: float, trials: float) -> bool:
        """Whether a kind is found to list no updates: an hour's trials of it have come since others listed some. From
        now on its trials do not count. Of the fleet's past: crashed hosts and trials, by which shares may lag."""
        self.shrink = MISSED_CRASHES * (trials + 1.0) / (crashes + 1.0)
        before = self.deaf.copy()
        self.deaf = self.silent() & (self.deaf | (self.heard >= self.trials[2].sum(axis=1)))
        return bool((self.deaf & ~before).any())

    def lags(self) -> Floats:
        """(3,) how many trials outweigh the slower estimate, by scale: of late ones it takes more to weigh as much."""
        weight = self.arrived[:3] / self.arrived[3] if self.arrived[3] > 0 else np.ones(3)
        return np.minimum(np.maximum(self.shrink * weight, min(self.shrink, 1.0)), SHRINK_TRIALS)

    def survey(self, pools: Floats) -> None:
        """Take note of the growth in each pool; `pools` (P, S) says which strata go together."""
        others = self.trials[..., None] - self.excluded
        others[:, self.deaf] = 0.0
        exposed, eligible = pools @ self.exposed, pools @ np.maximum(others, self.exposed, out=others)
        self.growth = _growth(exposed, eligible, self.lags())
        trials = eligible[2].sum(axis=0)
        self.pooled = np.where(trials < FEWEST_TRIALS, 0.0, (exposed[2].sum(axis=0) + 1.0) / (trials + 1.0))
        self._changed()

    def shares(self, strata: Ints, pools: Floats, updates: Ints | None = None) -> Shares:
        """The shares of these updates (None: of all) in these strata.

        `pools` (P, S) says which strata go together (all, a ring, a system, a model). A stratum has few trials of its
        own in the last minute; its pools have more, so the largest growth of a pool is taken for the stratum's own.
        """
        shape = self.exposed.shape[2:]
        if self._known.shape != shape[:1]:
            self._known, self._shares = np.zeros(shape[0], dtype=np.bool_), Shares(np.empty(shape), np.empty(shape))
        known = self._known[strata]
        if updates is not None and not known.any():
            return self._computed(strata, pools, updates)
        if not known.all():  # whatever updates are asked for, some were of all of them
            new = strata[~known]
            for kept, found in zip(self._shares, self._computed(new, pools, None), strict=True):
                kept[new] = found
            self._known[new] = True
        where = strata if updates is None else (strata[:, None], updates)
        return Shares(*[kept[where] for kept in self._shares])

    def _computed(self, strata: Ints, pools: Floats, updates: Ints | None) -> Shares:
        growth, pooled = (self._surveyed(found, pools, updates) for found in (self.growth, self.pooled))
        shares = Shares(*np.empty((2, len(strata), growth.shape[1])))
        for rows, exposed, eligible in self._blocks(strata, updates):
            found = estimates(exposed, eligible, self.lags())
            pool, first = _places(pools, strata[rows])
            slow, largest, x, n = found.slow, found.largest, found.exposed, found.eligible
            plain = (x[2] + 0.5) / (n[2] + 1.0)
            blind = n[2] < FEWEST_TRIALS  # no trials here: what its pools say, the most of it
            if blind.any():
                widest = _widest(pooled, pool, first)
                slow, plain = np.where(blind, widest, slow), np.where(blind, widest, plain)
                largest = np.where(blind, 0.0, largest)
            shares.plain[rows] = (SHRINK_TRIALS * plain + x[1]) / (SHRINK_TRIALS + n[1])
            slow = np.minimum(slow, 0.9999)
            odds = slow / (1.0 - slow) * np.maximum.reduceat(growth[pool], first, axis=0)
            np.maximum(largest, odds / (1.0 + odds), out=shares.upper[rows])
        return shares

    def _surveyed(self, found: Floats, pools: Floats, updates: Ints | None) -> Floats:
        """What the last survey found of each pool and these updates; 1 for what is younger."""
        room = grown(found, (pools.shape[0], self.exposed.shape[3]), fill=1.0)[: len(pools)]
        return room if updates is None else room[:, updates]

    def lower_share(self, strata: Ints) -> Floats:
        """The mirror image without pools, a lower confidence limit: for clearing."""
        lower = np.empty((len(strata), self.exposed.shape[3]))
        for rows, exposed, eligible in self._blocks(strata, None):
            others = estimates(eligible - exposed, eligible, self.lags())
            np.maximum(1.0 - others.largest - others.error(), 0.0, out=lower[rows])
        return lower

    def _blocks(self, strata: Ints, updates: Ints | None) -> Iterator[tuple[slice, Floats, Floats]]:
        """Exposed and eligible trials (3, KINDS, rows, U) of a few strata at a time, so that they stay in the cache;
        of kinds that list no updates none is eligible."""
        all_of_them = len(strata) == self.trials.shape[2] and bool((np.diff(strata) == 1).all())  # needs no copies
        for first in range(0, len(strata), BLOCK_STRATA):
            rows = slice(first, first + BLOCK_STRATA)
            some = rows if all_of_them else strata[rows]
            exposed, excluded = self.exposed[:, :, some], self.excluded[:, :, some]
            if updates is not None:
                exposed, excluded = exposed[..., updates], excluded[..., updates]
            eligible = self.trials[:, :, some, None] - excluded
            eligible[:, self.deaf] = 0.0
            yield rows, exposed, np.maximum(eligible, exposed, out=eligible)

    def middle_and_slow(self) -> Iterator[tuple[slice, Floats, Floats, Floats]]:
        """Counts on these two scales, kinds together, as many scales at once as stay in the cache: which of the two,
        trials (scales, strata), exposed and excluded (scales, strata, updates)."""
        for first, last in ((1, 3),) if self.exposed[0].size <= SMALL else ((1, 2), (2, 3)):
            trials, exposed, excluded = (each[first:last] for each in (self.trials, self.exposed, self.excluded))
            together = trials[:, 0] + trials[:, 1], exposed[:, 0] + exposed[:, 1], excluded[:, 0] + excluded[:, 1]
            yield slice(first - 1, last - 1), *together

    def slow_odds(self, updates: Ints, active: Bools) -> Floats:
        """Exposed trials per control trial on the slow scale, in the strata where hosts have the update; (U,)."""
        exposed, excluded = ((counts[2, 0] + counts[2, 1])[:, updates] for counts in (self.exposed, self.excluded))
        control = (self.trials[2, 0] + self.trials[2, 1])[:, None] - exposed
        control -= excluded
        control *= active[:, updates]
        result: Floats = (np.add.reduce(exposed) + 0.5) / np.maximum(np.add.reduce(control), 0.5)
        return result

    def slow_of(self, update: int) -> tuple[Floats, Floats, Floats]:
        """Slow-scale counts of one update, kinds together: trials, exposed and excluded, (strata,) each."""
        exposed, excluded = self.exposed[2, ..., update].sum(axis=0), self.excluded[2, ..., update].sum(axis=0)
        return self.trials[2].sum(axis=0), exposed, excluded


class Estimates(NamedTuple):
    """Of exposed/eligible; without the first two axes of the counts."""

    slow: Floats  # (x + 1) / (n + 1) on the slowest scale, kinds together; positive at zero counts
    largest: Floats
    exposed: Floats  # (scale, ...) kinds together
    eligible: Floats

    def error(self) -> Floats:
        """STANDARD_ERRORS of the slow one, for the limit from below."""
        result: Floats = STANDARD_ERRORS * np.sqrt(self.slow * (1.0 - self.slow) / (self.eligible[2] + 1.0))
        return result


def estimates(exposed: Floats, eligible: Floats, lags: Floats) -> Estimates:
    """From counts of shape (scale, kind, …).

    For the largest, the faster scales, and each kind alone, are shrunk as by `lags` (scale,) trials at the slower one.
    """
    both_exposed, both_eligible = exposed[:, 0] + exposed[:, 1], eligible[:, 0] + eligible[:, 1]
    shares = np.empty_like(both_exposed)
    slow = shares[2] = (both_exposed[2] + 1.0) / (both_eligible[2] + 1.0)
    for scale in (1, 0):
        slower = lags[scale] * shares[scale + 1]
        shares[scale] = (slower + both_exposed[scale]) / (lags[scale] + both_eligible[scale])
    lags = lags.reshape(-1, *[1] * slow.ndim)
    alone = (lags * shares)[:, None] + exposed
    alone /= lags[:, None] + eligible
    largest = np.maximum.reduce(alone.reshape(alone.shape[0] * alone.shape[1], *slow.shape))
    return Estimates(slow, np.maximum(np.maximum.reduce(shares), largest), both_exposed, both_eligible)


def _growth(exposed: Floats, eligible: Floats, lags: Floats) -> Floats:
    """By how much the odds of exposure have grown since the slow estimate, at least 1; counts by (scale, kind, …)."""
    found = estimates(exposed, eligible, lags)
    slow, now = np.minimum(found.slow, 0.9999), np.minimum(found.largest, 0.9999)
    result: Floats = np.maximum(now / (1.0 - now) * (1.0 - slow) / slow, 1.0)
    return result
