"""Stream time: event time as far as it has come. One host's fast clock does not drag along a fleet of forty hosts or
more; a smaller one it may, by what ingestion lets pass."""

import numpy as np

from pipeline.decide.arrays import Floats, Ints
from pipeline.wire.partials import BUCKET_MS, Partial

# Stream time moves on once this share of the newest reports, and so many of them, are past it.
AHEAD_SHARE, MIN_AHEAD = 0.02, 5.0
RECENT_REPORTS = 200.0  # a partial with fewer is judged together with those before it
_NEGLIGIBLE = 0.01


def recent_reports(recent: Floats, partial: Partial, trials: Ints) -> Floats:
    """(2, n) buckets in ascending order, and reports in each: of this partial, and of `recent` as many as are missing
    from RECENT_REPORTS. `trials` are the partial's rows, by column."""
    crashes = np.array([c.at // BUCKET_MS for c in partial.crashes], dtype=np.int64)
    buckets = np.concatenate([trials[0], crashes, recent[0]])
    own = float(trials[2].sum() + len(crashes))
    room = max(RECENT_REPORTS - own, 0.0) / max(recent[1].sum(), 1e-9)
    weights = np.concatenate([trials[2], np.ones(len(crashes)), recent[1] * min(room, 1.0)])
    distinct, place = np.unique(buckets, return_inverse=True)
    reports = np.bincount(place, weights, minlength=len(distinct))
    kept = reports > _NEGLIGIBLE
    return np.stack((distinct[kept], reports[kept]))


def stream_bucket(recent: Floats) -> int:
    """Where these reports put stream time; 0 when there are none."""
    if not recent.shape[1]:
        return 0
    buckets, beyond = recent[0, ::-1], np.cumsum(recent[1, ::-1])
    # Of few reports half. A little less than that: weights are not whole, and must not miss it by rounding.
    enough = min(max(MIN_AHEAD, AHEAD_SHARE * beyond[-1]), (beyond[-1] + 1.0) / 2.0)
    return int(buckets[min(int(np.searchsorted(beyond, enough - 1e-9)), len(buckets) - 1)])
