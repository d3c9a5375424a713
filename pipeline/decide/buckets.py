"""Crashes by event-time bucket, and as the columns that evidence is computed from. Open buckets are judged anew from
their totals at every step, so it does not matter how the stream was cut into batches; a bucket closes for good once
stream time is OPEN_BUCKETS past it.

Stream time is event time as far as it has come. One host's fast clock does not drag along a fleet of forty hosts or
more; a smaller one it may, by what ingestion lets pass.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate, chain
from typing import Annotated, Any, NamedTuple

import numpy as np

from pipeline.decide.arrays import Floats, Ints, Part, Plain, add_at
from pipeline.decide.name_index import MAX_STRATA
from pipeline.wire.partials import BUCKET_MS, Partial
from pipeline.wire.spans import DAY_MS, HOUR_MS, MINUTE_MS

MINUTE_BUCKETS, HOUR_BUCKETS, DAY_BUCKETS = MINUTE_MS // BUCKET_MS, HOUR_MS // BUCKET_MS, DAY_MS // BUCKET_MS
OPEN_BUCKETS = MINUTE_BUCKETS
ARCHIVE_MS = 10 * MINUTE_MS  # shares are archived every 10 minutes, for crashes that are reported late

# Stream time moves on once this share of the newest reports, and so many of them, are past it.
AHEAD_SHARE, MIN_AHEAD = 0.02, 5.0
RECENT_REPORTS = 200.0  # a partial with fewer is judged together with those before it
_NEGLIGIBLE = 0.01
MOST_SLICES = 36  # of a bucket each, of one partial; what is older goes with the first


# buckets of the newest reports in ascending order, and how many in each: a list is handled faster than a short array
Recent = tuple[list[float], list[float]]


class Reached(NamedTuple):
    """Stream time, and what it is told by."""

    bucket: int
    recent: "Recent"

    def after(self, reports: Mapping[int, int]) -> "Reached":
        """As far as these further reports, by bucket, say. Bucket by bucket, as if each were a partial."""
        bucket, recent = self
        edges = slice_edges(reports, bucket)
        for part in by_part(reports, edges) if edges else (reports,):
            recent = recent_reports(recent, part)
            if part:
                bucket = max(bucket, stream_bucket(recent))
        return Reached(bucket, recent)


class Clock(Part):
    """Stream time, and what it is told by."""

    bucket: Annotated[int, Plain("bucket", int, "bucket")]
    events: Annotated[int, Plain("events", int, "events")]
    recent: Annotated[Recent, Plain("recent", lambda: ([], []), "buckets of the newest reports, how many in each")]

    @property
    def now_ms(self) -> int:
        """Unix ms."""
        return self.bucket * BUCKET_MS

    def advance(self, reached: Reached) -> int:
        """Go on as far as that; the bucket of before."""
        before = self.bucket
        self.bucket, self.recent = reached
        return before

    def pack(self) -> Any:
        """What a snapshot holds of it."""
        return super().pack() | {"recent": np.array(self.recent, dtype=np.float64)}

    def restore(self, stored: Any) -> None:
        """The inverse."""
        super().restore(stored)
        self.recent = tuple(np.asarray(self.recent).tolist())


class Bucket:
    """Counted crashes: per stratum, and who was exposed or excluded, in all and per signature."""

    def __init__(self, data: dict[str, Any] | None = None) -> None:
        self.crashes: dict[int, int] = {}  # stratum → crashed hosts
        self.exposed: dict[tuple[int, int], int] = {}  # (stratum, update) → crashed hosts
        self.excluded: dict[tuple[int, int], int] = {}
        self.by_signature: dict[int, Bucket] = {}
        if data:
            self.crashes = dict(data["crashes"])
            self.exposed = {tuple(k): n for k, n in data["exposed"]}
            self.excluded = {tuple(k): n for k, n in data["excluded"]}
            self.by_signature = {g: Bucket(b) for g, b in data["by_signature"]}

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


class OpenBuckets:
    """Those that are judged anew at every step, by number.

    >>> buckets = OpenBuckets()
    >>> buckets.at(7).add(0, (3,), ())
    >>> [number for number, _ in buckets.close(7)], buckets.by_number
    ([7], {})
    """

    def __init__(self) -> None:
        self.by_number: dict[int, Bucket] = {}

    def at(self, number: int) -> Bucket:
        """The bucket, a new one where needed."""
        return self.by_number.setdefault(number, Bucket())

    def close(self, upto: int) -> list[tuple[int, Bucket]]:
        """Take out those up to `upto`, in order."""
        return [(number, self.by_number.pop(number)) for number in sorted(self.by_number) if number <= upto]

    def forget(self, updates: Ints) -> None:
        """Drop freed updates' counts."""
        for bucket in self.by_number.values():
            bucket.forget(frozenset(updates.tolist()))

    def pack(self) -> dict[int, Any]:
        """What a snapshot holds of it."""
        return {number: bucket.pack() for number, bucket in self.by_number.items()}

    def restore(self, stored: dict[int, Any]) -> None:
        """The inverse."""
        self.by_number = {number: Bucket(bucket) for number, bucket in stored.items()}


def recent_reports(recent: Recent, reports: Mapping[int, int]) -> Recent:
    """Of these, and of `recent` as many as are missing from RECENT_REPORTS."""
    buckets, before = recent
    share = max(RECENT_REPORTS - sum(reports.values()), 0.0) / max(float(np.array(before).sum()), 1e-9)
    counts = [many * share for many in before] if share < 1.0 else before[:]
    buckets = buckets[:]
    for bucket, many in reports.items():
        place = bisect_left(buckets, bucket)
        if place < len(buckets) and buckets[place] == bucket:
            counts[place] += many
        else:
            buckets.insert(place, bucket)
            counts.insert(place, many)
    if min(counts, default=1.0) > _NEGLIGIBLE:
        return buckets, counts
    kept = [place for place, many in enumerate(counts) if many > _NEGLIGIBLE]
    return [buckets[place] for place in kept], [counts[place] for place in kept]


def stream_bucket(recent: Recent) -> int:
    """Where these reports put stream time; 0 when there are none."""
    buckets, counts = recent
    if not buckets:
        return 0
    beyond = list(accumulate(reversed(counts)))
    # Of few reports half. A little less than that: weights are not whole, and must not miss it by rounding.
    enough = min(max(MIN_AHEAD, AHEAD_SHARE * beyond[-1]), (beyond[-1] + 1.0) / 2.0)
    return int(buckets[max(-1 - bisect_left(beyond, enough - 1e-9), -len(buckets))])


class Entries(NamedTuple):
    """Crashed hosts that list an update, (N,) each; a place may stand there more than once."""

    group: Ints  # 0 for all crashes, 1 + g for those with the g-th signature
    row: Ints  # of the stratum
    update: Ints  # position
    hosts: Floats

    def among(self, updates: Ints) -> "Entries":
        """Those of these updates (in order, at least one), by their place among them."""
        place = np.minimum(np.searchsorted(updates, self.update), len(updates) - 1)
        mine = np.flatnonzero(updates[place] == self.update)
        return Entries(self.group[mine], self.row[mine], place[mine], self.hosts[mine])


class CrashColumns(NamedTuple):
    """Crashed hosts in all and by signature; strata and signatures in order, whatever the order of the crashes."""

    strata: Ints  # (C,) those with anything in them
    signatures: Ints  # (G,)
    crashes: Floats  # (1 + G, C)
    exposed: Entries
    excluded: Entries

    def reached(self) -> Ints:
        """Updates that a crashed host was exposed to, in order."""
        return np.flatnonzero(np.bincount(self.exposed.update))

    def among(self, updates: Ints) -> "CrashColumns":
        """As far as these updates (in order) are concerned, by their place among them."""
        return self._replace(exposed=self.exposed.among(updates), excluded=self.excluded.among(updates))

    def dense(self, updates: int) -> tuple[Floats, Floats]:
        """Of all crashes: those at risk of counting for each of so many updates, and the exposed ones; (C, U).

        What is excluded for an update is no crash as far as it is concerned.
        """
        at_risk, exposed = np.empty((len(self.strata), updates)), np.zeros((len(self.strata), updates))
        at_risk[:] = self.crashes[0][:, None]
        for target, entries, sign in ((at_risk, self.excluded, -1.0), (exposed, self.exposed, 1.0)):
            mine = np.flatnonzero(entries.group == 0)
            add_at(target, (entries.row[mine], entries.update[mine]), sign * entries.hosts[mine])
        return at_risk, exposed


def crash_columns(buckets: Iterable[Bucket]) -> CrashColumns:
    """The counts of all these buckets together."""
    buckets = list(buckets)
    signatures = sorted({signature for bucket in buckets for signature in bucket.by_signature})
    parts = [(0, bucket) for bucket in buckets]
    for place, signature in enumerate(signatures, 1):
        parts += [(place, b.by_signature[signature]) for b in buckets if signature in b.by_signature]
    crashes = np.array([(g, s, n) for g, b in parts for s, n in b.crashes.items()], dtype=np.int64).reshape(-1, 3).T
    exposed = _entries([(group, bucket.exposed) for group, bucket in parts])
    excluded = _entries([(group, bucket.excluded) for group, bucket in parts])
    is_in = np.zeros(MAX_STRATA, dtype=np.bool_)
    for rows in (crashes[1], exposed.row, excluded.row):
        is_in[rows] = True
    strata, own = np.flatnonzero(is_in), np.cumsum(is_in) - 1
    counts = np.zeros((1 + len(signatures), len(strata)))
    add_at(counts, (crashes[0], own[crashes[1]]), crashes[2].astype(np.float64))
    placed = (Entries(e.group, own[e.row], e.update, e.hosts) for e in (exposed, excluded))
    return CrashColumns(strata, np.array(signatures, dtype=np.int64), counts, *placed)


def _entries(parts: list[tuple[int, dict[tuple[int, int], int]]]) -> Entries:
    """Counts by (stratum, update) of each group; rows are strata still."""
    parts = [(group, counts) for group, counts in parts if counts]
    sizes = [len(counts) for _, counts in parts]
    pairs = chain.from_iterable(chain.from_iterable(counts for _, counts in parts))
    stratum, update = np.fromiter(pairs, dtype=np.int64, count=2 * sum(sizes)).reshape(-1, 2).T
    counts = np.fromiter(chain.from_iterable(counts.values() for _, counts in parts), np.float64, count=sum(sizes))
    group = np.repeat(np.array([group for group, _ in parts], dtype=np.int64), sizes)
    return Entries(group, stratum, update, counts)


class Columns(NamedTuple):
    """A partial's rows, by column."""

    trials: Ints  # (3, rows): bucket, cell, trials
    exposures: Ints  # (5, rows): bucket, cell, update, exposed, excluded


class Slice(NamedTuple):
    """What a step takes in: of a partial, all, or what lies in one bucket."""

    partial: Partial  # what is not in columns is its own; of several slices none has rows
    columns: Columns  # of the whole partial
    trials: slice  # its own rows
    exposures: slice
    reached: Reached
    until: int  # stream time of the next one that moves it on; -1: nobody knows
    crashes_until: bool  # whether crashes are taken in before


def slice_edges(reports: Iterable[int], now: int) -> list[int]:
    """Those of the buckets that begin a slice, in order."""
    return sorted({bucket for bucket in reports if bucket > now + 1})[-MOST_SLICES + 1 :]


def by_part(reports: Mapping[int, int], edges: list[int]) -> list[dict[int, int]]:
    """Reports by bucket, for each slice."""
    parts: list[dict[int, int]] = [{} for _ in range(len(edges) + 1)]
    for at, many in reports.items():
        parts[bisect_right(edges, at)][at] = many
    return parts
