"""The crashes of some buckets as columns: what the evidence is computed from."""

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import numpy as np

from pipeline.decide.arrays import Floats, Ints
from pipeline.decide.buckets import Bucket


class Entries(NamedTuple):
    """Crashed hosts that list an update, (N,) each; a place may stand there more than once."""

    group: Ints  # 0 for all crashes, 1 + g for those with the g-th signature
    row: Ints  # of the stratum
    update: Ints  # position
    hosts: Floats


class CrashColumns(NamedTuple):
    """Crashed hosts in all and by signature; strata and signatures in order, whatever the order of the crashes."""

    strata: Ints  # (C,) those with anything in them
    signatures: Ints  # (G,)
    crashes: Floats  # (1 + G, C)
    exposed: Entries
    excluded: Entries

    def reached(self) -> Ints:
        """Updates that a crashed host was exposed to, in order."""
        return np.unique(self.exposed.update)

    def dense(self, updates: Ints) -> tuple[Floats, Floats]:
        """Of all crashes: those at risk of counting for each of `updates` (in order), and the exposed ones; (C, U).

        What is excluded for an update is no crash as far as it is concerned.
        """
        at_risk = np.repeat(self.crashes[0][:, None], len(updates), axis=1)
        exposed = np.zeros_like(at_risk)
        for target, entries, sign in ((at_risk, self.excluded, -1.0), (exposed, self.exposed, 1.0)):
            column, mine = places_among(entries, updates)
            mine &= entries.group == 0
            np.add.at(target.reshape(-1), entries.row[mine] * len(updates) + column[mine], sign * entries.hosts[mine])
        return at_risk, exposed


def places_among(entries: Entries, updates: Ints) -> tuple[Ints, "np.ndarray[tuple[int], np.dtype[np.bool_]]"]:
    """Each entry's place among `updates` (in order), and whether it has one; (N,) each."""
    column = np.minimum(np.searchsorted(updates, entries.update), max(len(updates) - 1, 0))
    return column, updates[column] == entries.update if len(updates) else np.zeros(len(column), dtype=np.bool_)


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
    strata = np.unique(np.concatenate([crashes[1], exposed.row, excluded.row]))
    counts = np.zeros((1 + len(signatures), len(strata)))
    np.add.at(counts, (crashes[0], np.searchsorted(strata, crashes[1])), crashes[2])
    placed = (e._replace(row=np.searchsorted(strata, e.row)) for e in (exposed, excluded))
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
