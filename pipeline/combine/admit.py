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

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pipeline.combine.hashing import Hashes, mix
from pipeline.wire.spans import HOUR_MS

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
        self._journal: list[tuple[Ints, Ints, Hashes]] = []  # what has changed since the last commit

    def commit(self) -> None:
        """What has been admitted until now stays so."""
        self._journal.clear()

    def rollback(self) -> None:
        """Return to the last commit: what has been admitted since then comes again."""
        for sets, ways, before in reversed(self._journal):
            self._table[sets, ways] = before
        self._journal.clear()

    def admit(self, keys: Hashes, times_ms: Ints) -> Bools:
        """Which of these trials count, as if they came one after the other; `keys` hash (fleet, host, kind)."""
        counts = np.ones(keys.size, np.bool_)
        pending = np.arange(keys.size)
        hours = hours_of(keys, times_ms)
        for _ in range(_MAX_ROUNDS):
            if not pending.size:
                break
            counts[pending], later = self._round(keys[pending], hours[pending])
            pending = pending[later]
        return counts

    def admit_in_turn(self, keys: Hashes, times_ms: Ints, ends: Sequence[int]) -> Bools:
        """The same of several batches that end at these places, as if each was asked of alone. Of hosts whose set
        nobody else wants it makes no difference; and most are."""
        if len(ends) < 2:
            return self.admit(keys, times_ms)
        _, place, wanted = np.unique(self._sets(keys), return_inverse=True, return_counts=True)
        is_alone = wanted[place] == 1
        counts = np.empty(keys.size, np.bool_)
        counts[is_alone] = self.admit(keys[is_alone], times_ms[is_alone])
        others = np.flatnonzero(~is_alone)
        for start, end in pairwise(np.searchsorted(others, (0, *ends)).tolist()):
            some = others[start:end]
            if some.size:
                counts[some] = self.admit(keys[some], times_ms[some])
        return counts

    def _sets(self, keys: Hashes) -> Ints:
        sets: Ints = (keys & np.uint64(len(self._table) - 1)).astype(np.int64)
        return sets

    def _round(self, keys: Hashes, hours: Ints) -> tuple[Bools, Ints]:
        """Decide on all trials but those that want a set which another one changes: whether each counts, and which
        are to be decided again."""
        sets = self._sets(keys)
        tags = keys >> _LOW_BITS | np.uint64(1)  # never 0, which is an empty entry's
        entry, way, known, ahead = _seats(self._table.take(sets, axis=0), tags, hours)
        counts = ~known | (ahead != 0)
        low = (hours & _HOUR_MASK) << _BITMAP_BITS  # of a new entry: its hour, none before it
        written = counts
        if (back := np.flatnonzero(known & counts)).size:
            low[back], counts[back], remembered = _revisit(entry[back], ahead[back], low[back])
            written = counts.copy()
            written[back] &= remembered
        writes = np.flatnonzero(written)
        is_first = _first_of_each(sets[writes])
        first, later = writes[is_first], writes[~is_first]
        self._journal.append((sets[first], way[first], entry[first]))
        self._table[sets[first], way[first]] = tags[first] << _LOW_BITS | low[first].astype(np.uint64)
        return counts, later


def _seats(lines: Hashes, tags: Hashes, hours: Ints) -> tuple[Hashes, Ints, Bools, Ints]:
    """Each trial's entry in its set: its host's own, else one to give up. The entry, its way, whether it is the host's
    own, and how many hours the trial is ahead of it."""
    match = lines >> _LOW_BITS == tags[:, None]
    rows, way = np.arange(hours.size), match.argmax(axis=1)
    known = match[rows, way]
    if (fresh := np.flatnonzero(~known)).size:
        way[fresh] = _to_give_up(lines.take(fresh, axis=0), hours[fresh])
    entry = lines[rows, way]
    return entry, way, known, _ahead(hours, entry)


def _to_give_up(lines: Hashes, hours: Ints) -> Ints:
    """An empty way of each set, else the one whose newest hour is furthest back."""
    empty = lines == 0
    way: Ints = empty.argmax(axis=1)
    if (full := np.flatnonzero(~empty[np.arange(way.size), way])).size:
        way[full] = _ahead(hours[full, None], lines[full]).argmax(axis=1)
    return way


def _ahead(hours: Ints, entries: Hashes) -> Ints:
    """How many hours after the newest of an entry: known modulo 2^17, so the nearest such, -65,536 … 65,535."""
    half = 1 << (_HOUR_BITS - 1)
    stored = (entries >> np.uint64(_BITMAP_BITS)).view(np.int64)
    ahead: Ints = ((hours - stored + half) & _HOUR_MASK) - half
    return ahead


def _first_of_each(sets: Ints) -> Bools:
    """Which trials are the first of their set."""
    first = np.ones(sets.size, np.bool_)
    bits = sets.size.bit_length()
    ordered = np.sort(sets << bits | np.arange(sets.size))  # by set, and within a set in order
    again = ordered[1:] >> bits == ordered[:-1] >> bits
    first[ordered[1:][again] & ((1 << bits) - 1)] = False
    return first


def _revisit(entries: Hashes, ahead: Ints, low: Ints) -> tuple[Ints, Bools, Bools]:
    """Of hosts that have an entry of another hour: its new low bits, whether the trial counts, and whether it is
    remembered."""
    before = (entries & _LOW_MASK).astype(np.int64)
    bit = np.left_shift(1, np.clip(-ahead - 1, 0, _BITMAP_BITS - 1))
    late = (ahead < 0) & (ahead >= -_BITMAP_BITS)
    bitmap = ((before & _BITMAP_MASK) << 1 | 1) << np.clip(ahead - 1, 0, _BITMAP_BITS + 1) & _BITMAP_MASK
    return np.where(late, before | bit, low | bitmap), ~(late & ((before & bit) != 0)), ahead >= -_BITMAP_BITS
