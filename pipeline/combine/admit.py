"""At most one clean trial per host, kind and hour counts: the combiner's only memory, soft, bounded and cheap. Pure.

Each host's hours begin at a moment of its own (from its hash): were they all to begin on the hour, the trials of a
fleet that beats every five minutes would bunch up there, and of the exposed share nothing be known for the rest of it.

A table of 64-bit entries, four to a set; a host's hash names its set. An entry holds 39 bits of the hash, the newest
hour counted (17 bits, modulo 15 years) and one bit for each of the 7 hours before it, so that late reports are
recognised too. What the table cannot hold it forgets: a host may then count once more in that hour, and never is a
first trial refused (but for two hosts with the same 59 bits of hash). An event more than 7 hours older than the newest
of its host counts and is not remembered. After a restart, or when partitions move, the table is empty: a host may count
once more in that hour, which makes trials a little larger for a while, alike for exposed and control.
"""

import numpy as np
import numpy.typing as npt

from pipeline.combine.hashing import Hashes, mix
from pipeline.combine.sieve import SampleSieve

HOUR_MS = 3_600_000
WAYS = 4
_HOUR_BITS, _BITMAP_BITS = 17, 7
_HOUR_MASK = (1 << _HOUR_BITS) - 1
_BITMAP_MASK = (1 << _BITMAP_BITS) - 1
_LOW_BITS = np.uint64(_HOUR_BITS + _BITMAP_BITS)  # the other 40 are the tag, its lowest bit always set
_LOW_MASK = np.uint64((1 << (_HOUR_BITS + _BITMAP_BITS)) - 1)
_MAX_ROUNDS = 64  # crafted names that all fall into one set must not hold up the stream

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def trial_keys(fleets: Hashes, hosts: Hashes, kinds: Hashes) -> Hashes:
    """What stands for a fleet's host and a trial kind."""
    return mix(hosts ^ mix(fleets ^ (kinds << np.uint64(1) | np.uint64(1))))


def hours_of(keys: Hashes, times_ms: Ints) -> Ints:
    """The hour of each trial, by its host's own clock."""
    hours: Ints = (times_ms + (keys % np.uint64(HOUR_MS)).astype(np.int64)) // HOUR_MS
    return hours


class Admission:
    """Which clean trials count. `entries` is a power of two; the default holds some 2 million hosts in 32 MiB."""

    def __init__(self, entries: int = 1 << 22) -> None:
        if entries < WAYS or entries & (entries - 1):
            raise ValueError(f"entries = {entries}: must be a power of two, at least {WAYS}")
        self._table = np.zeros((entries // WAYS, WAYS), np.uint64)
        self._seat = np.zeros(entries // WAYS, np.int32)  # scratch: the first of a batch to want each set
        self._journal: list[tuple[Ints, Ints, Hashes]] | None = None
        self.sieve = SampleSieve()

    def checkpoint(self) -> None:
        """From here on remember what changes, so that `rollback` can return to this moment."""
        self._journal = []

    def rollback(self) -> None:
        """Return to the last checkpoint: the batch since then was aborted and comes again."""
        for sets, ways, before in reversed(self._journal or []):
            self._table[sets, ways] = before
        self._journal = []
        self.sieve.clear()

    def admit(self, keys: Hashes, times_ms: Ints) -> Bools:
        """Which of these trials count, as if they came one after the other; `keys` hash (fleet, host, kind)."""
        counts = np.zeros(keys.size, np.bool_)
        pending = np.arange(keys.size)
        sets = (keys & np.uint64(len(self._table) - 1)).astype(np.int64)
        tags = keys >> _LOW_BITS | np.uint64(1)  # never 0, which is an empty entry's
        hours = hours_of(keys, times_ms)
        for _ in range(_MAX_ROUNDS):
            if not pending.size:
                return counts
            pending = self._round(counts, pending, sets, tags, hours)
        counts[pending] = True
        return counts

    def _round(self, counts: Bools, pending: Ints, sets: Ints, tags: Hashes, hours: Ints) -> Ints:
        """Decide on each set's first pending trial and on those that need no write; return the others."""
        lines = self._table[sets[pending]]
        match = (lines >> _LOW_BITS) == tags[pending][:, None]
        known = match.any(axis=1)
        old = np.flatnonzero(known)
        way = np.empty(pending.size, np.int64)
        way[old] = match[old].argmax(axis=1)
        fresh = np.flatnonzero(~known)
        way[fresh] = _oldest(lines[fresh], hours[pending[fresh]])
        low = (hours[pending] & _HOUR_MASK) << _BITMAP_BITS  # of a new entry: its hour, none before it
        low[old], counted, written = _revisit(lines[old, way[old]], hours[pending[old]])
        counts[pending[old[counted & ~written]]] = True
        known[old[written]] = False  # from here: decided without a write
        writes = np.flatnonzero(~known)
        is_first = self._first_of_each_set(sets[pending[writes]])
        first = writes[is_first]
        self._write(sets[pending[first]], way[first], tags[pending[first]] << _LOW_BITS | low[first].astype(np.uint64))
        counts[pending[first]] = True
        rest: Ints = pending[writes[~is_first]]
        return rest

    def _first_of_each_set(self, sets: Ints) -> Bools:
        """Which trials are the first of their set."""
        positions = np.arange(sets.size, dtype=np.int32)
        self._seat[sets[::-1]] = positions[::-1]
        first: Bools = self._seat[sets] == positions
        return first

    def _write(self, sets: Ints, ways: Ints, entries: Hashes) -> None:
        if self._journal is not None:
            self._journal.append((sets, ways, self._table[sets, ways]))
        self._table[sets, ways] = entries


def _revisit(entries: Hashes, hour: Ints) -> tuple[Ints, Bools, Bools]:
    """Of hosts that have an entry: its new low bits, whether the trial counts, and whether that must be written."""
    low = (entries & _LOW_MASK).astype(np.int64)
    ahead = _signed_hours(hour - (low >> _BITMAP_BITS))
    bit = np.left_shift(1, np.clip(-ahead - 1, 0, _BITMAP_BITS - 1))
    late = (ahead < 0) & (ahead >= -_BITMAP_BITS)
    counts = (ahead != 0) & ~(late & ((low & bit) != 0))
    bitmap = ((low & _BITMAP_MASK) << 1 | 1) << np.clip(ahead - 1, 0, _BITMAP_BITS + 1) & _BITMAP_MASK
    newer = (hour & _HOUR_MASK) << _BITMAP_BITS | bitmap
    return np.where(late, low | bit, newer), counts, counts & (ahead >= -_BITMAP_BITS)


def _signed_hours(difference: Ints) -> Ints:
    """A difference of hours known modulo 2^17, as the nearest one: -65,536 … 65,535."""
    half = 1 << (_HOUR_BITS - 1)
    signed: Ints = ((difference + half) & _HOUR_MASK) - half
    return signed


def _oldest(lines: Hashes, hour: Ints) -> Ints:
    """The way to give up in each set: an empty one, else the one whose newest hour is furthest back."""
    empty = lines == 0
    way: Ints = empty.argmax(axis=1)
    full = np.flatnonzero(~empty.any(axis=1))
    stored = (lines[full] >> np.uint64(_BITMAP_BITS)).astype(np.int64) & _HOUR_MASK
    way[full] = _signed_hours(hour[full, None] - stored).argmax(axis=1)
    return way
