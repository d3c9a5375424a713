"""Crashes by event-time bucket. Open buckets are judged anew from their totals at every step, so it does not matter how
the stream was cut into batches; a bucket closes for good once stream time is OPEN_BUCKETS past it.

Stream time is event time as far as it has come. One host's fast clock does not drag along a fleet of forty hosts or
more; a smaller one it may, by what ingestion lets pass.
"""

import numpy as np

from pipeline.decide.arrays import Floats, Ints
from pipeline.wire.partials import BUCKET_MS, Partial
from pipeline.wire.spans import DAY_MS, HOUR_MS, MINUTE_MS

MINUTE_BUCKETS, HOUR_BUCKETS, DAY_BUCKETS = MINUTE_MS // BUCKET_MS, HOUR_MS // BUCKET_MS, DAY_MS // BUCKET_MS
OPEN_BUCKETS = MINUTE_BUCKETS
ARCHIVE_MS = 10 * MINUTE_MS  # shares are archived every 10 minutes, for crashes that are reported late

# Stream time moves on once this share of the newest reports, and so many of them, are past it.
AHEAD_SHARE, MIN_AHEAD = 0.02, 5.0
RECENT_REPORTS = 200.0  # a partial with fewer is judged together with those before it
_NEGLIGIBLE = 0.01


class Bucket:
    """Counted crashes: per stratum, and who was exposed or excluded, in all and per signature."""

    def __init__(self, data: dict[str, object] | None = None) -> None:
        self.crashes: dict[int, int] = {}  # stratum → crashed hosts
        self.exposed: dict[tuple[int, int], int] = {}  # (stratum, update) → crashed hosts
        self.excluded: dict[tuple[int, int], int] = {}
        self.by_signature: dict[int, Bucket] = {}
        if data:
            self.crashes = dict(data["crashes"])  # type: ignore[call-overload]
            self.exposed = {tuple(k): n for k, n in data["exposed"]}  # type: ignore[attr-defined]
            self.excluded = {tuple(k): n for k, n in data["excluded"]}  # type: ignore[attr-defined]
            self.by_signature = {g: Bucket(b) for g, b in data["by_signature"]}  # type: ignore[attr-defined]

    def pack(self) -> dict[str, object]:
        """The inverse of the constructor."""
        signatures = [(g, bucket.pack()) for g, bucket in self.by_signature.items()]
        return {
            "crashes": list(self.crashes.items()),
            "exposed": list(self.exposed.items()),
            "excluded": list(self.excluded.items()),
            "by_signature": signatures,
        }

    def add(self, stratum: int, exposed: tuple[int, ...], excluded: tuple[int, ...]) -> None:
        """Count one crashed host."""
        self.crashes[stratum] = self.crashes.get(stratum, 0) + 1
        for update in exposed:
            self.exposed[stratum, update] = self.exposed.get((stratum, update), 0) + 1
        for update in excluded:
            self.excluded[stratum, update] = self.excluded.get((stratum, update), 0) + 1

    def add_apart(self, stratum: int, updates: tuple[int, ...]) -> None:
        """Count a crashed host for these updates only, and in no other comparison."""
        for update in updates:
            self.exposed[stratum, update] = self.exposed.get((stratum, update), 0) + 1
            self.excluded[stratum, update] = self.excluded.get((stratum, update), 0) - 1

    def signature(self, signature: int) -> "Bucket":
        """The part of the bucket that has this signature."""
        return self.by_signature.setdefault(signature, Bucket())

    def forget(self, gone: frozenset[int]) -> None:
        """Drop freed updates' counts."""
        self.exposed = {k: n for k, n in self.exposed.items() if k[1] not in gone}
        self.excluded = {k: n for k, n in self.excluded.items() if k[1] not in gone}
        for bucket in self.by_signature.values():
            bucket.forget(gone)


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
