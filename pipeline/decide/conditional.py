"""Evidence about one update on the hosts that do not have another: what tells apart updates that travel together.

Computed on demand from the retained crashes and the time-binned samples, never kept for all pairs.

And the exposed share among the hosts that have no halted update: only they are compared once something is halted. The
counts of all trials say what share of all hosts has an update; the samples say only how much that share differs among
the hosts that remain. So a share that is well known stays so, and one that grows is not taken from old samples.
"""

from collections import deque
from typing import Annotated, NamedTuple

import numpy as np

from pipeline.decide import evidence as ev
from pipeline.decide.arrays import Bools, Floats, Ints, Part, Plain
from pipeline.decide.buckets import MINUTE_BUCKETS
from pipeline.decide.samples import BIN_MS, KEPT_BINS, upper_sample_share
from pipeline.decide.samples import Archive as Archive  # for who keeps them
from pipeline.decide.samples import Samples as Samples
from pipeline.wire.partials import BUCKET_MS

RETAINED_CRASHES = 5_000
HALTED_BINS = 3  # how far back samples tell who has no halted update
APART_BUCKETS = MINUTE_BUCKETS  # how long that survey holds


class Retained(NamedTuple):
    """A counted crash: moment (unix ms), stratum, signature, and the updates it was exposed to or excluded from."""

    at: int
    stratum: int
    signature: int
    exposed: tuple[int, ...]
    excluded: tuple[int, ...]


class Separation(NamedTuple):
    """What the hosts without the other update say."""

    log_evidence: float
    exposed: int  # crashed hosts that had the update, and not the other
    expected: float  # as many as a harmless update would have


class CrashList:
    """The newest counted crashes, bounded; of an update that leaves the fleet nothing remains."""

    def __init__(self) -> None:
        self.crashes: deque[Retained] = deque(maxlen=RETAINED_CRASHES)

    def pack(self) -> list[Retained]:
        """What a snapshot holds of it."""
        return list(self.crashes)

    def restore(self, stored: list[tuple[int, int, int, list[int], list[int]]]) -> None:
        """The inverse."""
        rows = [Retained(at, s, g, tuple(exposed), tuple(excluded)) for at, s, g, exposed, excluded in stored]
        self.crashes = deque(rows, maxlen=RETAINED_CRASHES)

    def forget(self, updates: Ints) -> None:
        """Take freed updates' positions out of every crash."""
        gone = frozenset(updates.tolist())
        kept = [c._replace(exposed=_less(c.exposed, gone), excluded=_less(c.excluded, gone)) for c in self.crashes]
        self.crashes = deque(kept, maxlen=RETAINED_CRASHES)


def _less(listed: tuple[int, ...], gone: frozenset[int]) -> tuple[int, ...]:
    return tuple(u for u in listed if u not in gone)


def separate(
    crashes: CrashList,
    samples: Samples,
    update: int,
    without: int,
    signature: int,
    tolerated_risk: float,
    strata: int,
    with_since_ms: int = 0,
) -> Separation:
    """Evidence about `update` over hosts without `without`: exposed, control and trials alike. Or, from
    `with_since_ms` (unix ms) on if that is given, over the hosts with it.

    Half the weight is on all crashes, half on those with `signature` (-1 for none).
    """
    has = with_since_ms > 0
    # Of older crashes nobody knows who had what: at the share of later they would speak for whatever came since.
    oldest_ms = max((samples.newest_bin - KEPT_BINS + 1) * BIN_MS, with_since_ms)
    chosen = [
        c for c in crashes.crashes if (without in c.exposed) == has and update not in c.excluded and c.at >= oldest_ms
    ]
    if not chosen:
        return Separation(0.0, 0, 0.0)
    since = min(c.at for c in chosen) // BIN_MS
    counts = samples.shares(update, without, strata, since, has)
    where = np.array([c.stratum for c in chosen])
    reached = counts.exposed.sum(axis=1) > 0
    exposed = np.array([update in c.exposed for c in chosen])
    reached[where[exposed]] = True
    used = reached[where]
    if not used.any():
        return Separation(0.0, 0, 0.0)
    bins = np.array([c.at // BIN_MS for c in chosen])[used]
    share = upper_sample_share(counts, where[used], bins)
    hits = exposed[used].astype(np.float64)
    increments = ev.bernoulli_log_increment(hits, np.ones_like(hits), ev.null_share(share, tolerated_risk))
    log_evidence = float(ev.log_mixture(increments.sum(axis=0)))
    same = np.array([c.signature == signature for c in chosen])[used]
    if signature >= 0 and same.any():
        of_signature = float(ev.log_mixture(increments[same].sum(axis=0)))
        log_evidence = float(np.logaddexp(log_evidence, of_signature) - np.log(2.0))
    return Separation(log_evidence, int(hits.sum()), float(share.sum()))


class Apart(Part):
    """How the exposed shares differ among the hosts without any halted update."""

    factor: Annotated[Floats, Plain("apart", lambda: np.ones((1, 1)), "times the share, by stratum and update")]
    surveyed_at: Annotated[int, Plain("apart_bucket", int, "bucket; 0: to be surveyed anew")]

    def forget(self, updates: Ints) -> None:
        """Who has their positions next was not surveyed."""
        self.surveyed_at = 0

    def is_due(self, bucket: int, shape: tuple[int, ...]) -> bool:
        """Whether the survey is too old, or of other strata and updates than (S, U)."""
        return self.surveyed_at <= bucket - APART_BUCKETS or self.factor.shape != shape

    def survey(self, bucket: int, halted: Ints, room: Floats, samples: Samples, active: Bools) -> None:
        """Ask the samples; `room` (S,) as in `share_factor`, `active` (S, U) where hosts have the updates."""
        since = bucket * BUCKET_MS // BIN_MS - HALTED_BINS + 1
        strata, updates = active.shape
        self.factor = share_factor(*samples.remaining(frozenset(halted.tolist()), strata, updates, since), room)
        self.factor[~active[:, halted].any(axis=1)] = 1.0
        self.surveyed_at = bucket


def share_factor(
    everyone: Floats, remaining: Floats, exposed: Floats, exposed_remaining: Floats, room: Floats
) -> Floats:
    """By how much the exposed share is larger among the remaining hosts than among all, an upper limit; (S, U).

    P(exposed | remains) / P(exposed) = P(remains | exposed) / P(remains), by Bayes; the numerator's upper limit over
    the denominator's lower one. Sampled hosts by stratum (S,): all, and those that remain; the exposed ones among both
    (S, U). `room` (S,) is what the counts leave for P(remains) at most: a halted update that is still being installed
    shows there before it does in the samples. Infinite where nobody may remain.
    """
    remains = (remaining + 1.0) / (everyone + 2.0)
    lower = np.clip(np.minimum(remains - _error(remains, everyone + 2.0), room), 0.0, 1.0)
    keeps = (exposed_remaining + 2.0) / (exposed + 2.0)  # without samples of its own, as if all its hosts remained
    upper = np.minimum(keeps + _error(keeps, exposed + 2.0), 1.0)
    with np.errstate(divide="ignore"):
        result: Floats = upper / lower[:, None]
    return result


def _error(share: Floats, hosts: Floats) -> Floats:
    result: Floats = np.sqrt(share * (1.0 - share) / hosts)
    return result


def among_remaining(share: Floats, factor: Floats, own: Bools) -> Floats:
    """The shares (C, U) among the hosts that remain; `own` (U,) are the halted updates, judged among all hosts."""
    result: Floats = np.where(own, share, np.minimum(share * factor, 1.0))
    return result
