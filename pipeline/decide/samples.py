"""Clean trials with their full update lists: from them, the share of any sub-population is estimated. And the shares of
earlier times.

Kept per stratum and 10 minutes, the smallest host hashes first (bottom-k: mergeable, and the same host counts once).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.decide.arrays import Bools, Floats, Ints
from pipeline.wire.partials import SampleRecord
from pipeline.wire.spans import MINUTE_MS

BIN_MINUTES = 10
BIN_MS = BIN_MINUTES * MINUTE_MS
KEPT_BINS = 72
SAMPLES_PER_STRATUM_BIN = 48
ARCHIVED = 24  # shares of 10 minutes each

Updates = tuple[int, ...]  # positions


class Sample(NamedTuple):
    """One host's clean trial: the updates (positions) that it was exposed to, and those it is no control for."""

    exposed: Updates
    excluded: Updates


_NONE: dict[int, dict[int, "Sample | SampleRecord"]] = {}
_Untranslated = tuple[dict[int, "Sample | SampleRecord"], int, Mapping[Updates, Updates]]


class Shares(NamedTuple):
    """Counts over (stratum, bin): hosts eligible for a comparison, and the exposed ones among them."""

    eligible: Floats
    exposed: Floats
    first_bin: int


class _Columns(NamedTuple):
    """One bin's samples as columns; (sample, update) pairs for the two lists."""

    stratum: Ints
    exposed: Ints  # (2, pairs)
    excluded: Ints

    def having(self, update: int, pairs: Ints) -> Bools:
        """Which samples list the update."""
        found = np.zeros(len(self.stratum), dtype=np.bool_)
        found[pairs[0, pairs[1] == update]] = True
        return found


class Samples:
    """Bottom-k samples by (bin, stratum): host hash → Sample. Most are never asked for: they are kept as they came,
    and translated when they are."""

    def __init__(self) -> None:
        self._bins: dict[int, dict[int, dict[int, Sample | SampleRecord]]] = {}
        self._untranslated: dict[int, list[_Untranslated]] = {}  # by bin
        self._columns: dict[int, _Columns] = {}  # derived, by bin
        self._largest: dict[tuple[int, int], int] = {}  # derived: hash, by bin and stratum, of those that are full
        self._expired = -1  # derived: the bin as of which those that are too old are gone

    def add(self, records: Sequence[SampleRecord], strata: Sequence[int], positions: Mapping[Updates, Updates]) -> None:
        """Keep the hosts that are new to their stratum and bin and have one of the smallest hashes, in place of the
        largest; `strata` are the records', `positions` translate their updates."""
        for record, stratum in zip(records, strata, strict=True):
            number, host_hash = record.minute // BIN_MINUTES, record.host_hash
            kept = self._bins.get(number, _NONE).get(stratum)
            if kept is None:
                kept = self._bins.setdefault(number, {}).setdefault(stratum, {})
                self._untranslated.setdefault(number, [])
                self._expired = -1
            elif host_hash in kept:
                continue
            if len(kept) >= SAMPLES_PER_STRATUM_BIN:
                largest = self._largest.get((number, stratum), -1)
                if largest < 0:
                    largest = self._largest[number, stratum] = max(kept)
                if host_hash > largest:
                    continue
                del kept[largest], self._largest[number, stratum]
            kept[host_hash] = record
            self._untranslated[number].append((kept, host_hash, positions))
            self._columns.pop(number, None)

    @property
    def bins(self) -> dict[int, dict[int, dict[int, Sample]]]:
        """All of them."""
        for number in self._untranslated:
            self._translate(number)
        return self._bins  # type: ignore[return-value]  # no record is left

    @property
    def newest_bin(self) -> int:
        """Its number, 0 without any."""
        return max(self._bins, default=0)

    def _translate(self, number: int) -> None:
        for kept, host_hash, positions in self._untranslated[number]:
            record = kept.get(host_hash)  # whoever gave way does not come back
            if isinstance(record, SampleRecord):
                kept[host_hash] = Sample(positions[record.exposed], positions[record.excluded])
        self._untranslated[number] = []

    def kept(self) -> list[int]:
        """How many hosts of each stratum and bin."""
        return [len(hosts) for strata in self._bins.values() for hosts in strata.values()]

    def pack(self) -> dict[int, dict[int, dict[int, Sample]]]:
        """What a snapshot holds of it."""
        return self.bins

    def restore(self, stored: dict[int, dict[int, dict[int, tuple[list[int], list[int]]]]]) -> None:
        """The inverse."""
        self._bins = {
            number: {
                s: {host: Sample(tuple(e), tuple(x)) for host, (e, x) in kept.items()} for s, kept in strata.items()
            }
            for number, strata in stored.items()
        }
        self._untranslated = {number: [] for number in stored}
        self._expired = -1
        self._columns.clear()
        self._largest.clear()

    def expire(self, now_ms: int) -> None:
        """Drop bins that are too old."""
        newest_bin = now_ms // BIN_MS
        if newest_bin == self._expired:
            return
        self._expired = newest_bin
        for old in [b for b in self._bins if b <= newest_bin - KEPT_BINS]:
            del self._bins[old], self._untranslated[old]
            self._columns.pop(old, None)
            self._largest.clear()

    def forget(self, updates: Ints) -> None:
        """Take freed updates' positions out of every sample, before others get them."""
        gone = frozenset(updates.tolist())
        self._columns.clear()
        for strata in self.bins.values():
            for kept in strata.values():
                for host, sample in kept.items():
                    if not gone.isdisjoint(sample.exposed) or not gone.isdisjoint(sample.excluded):
                        kept[host] = Sample(*(tuple(u for u in listed if u not in gone) for listed in sample))

    def _bin(self, number: int) -> _Columns:
        if number not in self._columns:
            self._translate(number)
            by_stratum: dict[int, dict[int, Sample]] = self._bins[number]  # type: ignore[assignment]
            strata = [stratum for stratum, kept in by_stratum.items() for _ in kept]
            samples = [sample for kept in by_stratum.values() for sample in kept.values()]
            pairs = [
                np.array([(i, u) for i, sample in enumerate(samples) for u in sample[part]], dtype=np.int64)
                for part in (0, 1)
            ]
            exposed, excluded = (listed.reshape(-1, 2).T for listed in pairs)
            self._columns[number] = _Columns(np.array(strata, dtype=np.int64), exposed, excluded)
        return self._columns[number]

    def shares(self, update: int, without: int, strata: int, since_bin: int, has: bool = False) -> Shares:
        """Hosts that do not have `without`, or those that do, and those of them exposed to `update`, per stratum and
        bin."""
        width = max(max(self._bins, default=since_bin) - since_bin + 1, 1)
        eligible, exposed = np.zeros((strata, width)), np.zeros((strata, width))
        for at in self._bins:
            if at >= since_bin:
                columns = self._bin(at)
                fit = columns.having(without, columns.exposed) == has
                fit &= ~columns.having(update, columns.excluded)
                hit = fit & columns.having(update, columns.exposed)
                eligible[:, at - since_bin] = np.bincount(columns.stratum[fit], minlength=strata)
                exposed[:, at - since_bin] = np.bincount(columns.stratum[hit], minlength=strata)
        return Shares(eligible, exposed, since_bin)

    def remaining(
        self, halted: frozenset[int], strata: int, updates: int, since_bin: int
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Recent hosts by stratum, and those exposed to none of `halted`; both again by update that they have.

        Shapes (S,), (S,), (S, U), (S, U).
        """
        everyone, hosts = np.zeros(strata), np.zeros(strata)
        exposed, exposed_hosts = np.zeros((strata, updates)), np.zeros((strata, updates))
        for at in self._bins:
            if at >= since_bin:
                columns = self._bin(at)
                clean = np.ones(len(columns.stratum), dtype=np.bool_)
                for update in halted:
                    clean &= ~columns.having(update, columns.exposed)
                everyone += np.bincount(columns.stratum, minlength=strata)
                hosts += np.bincount(columns.stratum[clean], minlength=strata)
                sample, listed = columns.exposed
                where = columns.stratum[sample], listed
                np.add.at(exposed, where, 1.0)
                np.add.at(exposed_hosts, where, clean[sample].astype(np.float64))
        return everyone, hosts, exposed, exposed_hosts


def upper_sample_share(counts: Shares, strata: Ints, bins: Ints) -> Floats:
    """The upper limit of the exposed share for each (stratum, bin); bins outside take the nearest one.

    A bin's share is shrunk to its stratum's, and that to the share over all strata in the bin; plus one standard error.
    """
    pooled = (counts.exposed.sum() + 0.5) / (counts.eligible.sum() + 1.0)
    by_bin = (20.0 * pooled + counts.exposed.sum(axis=0)) / (20.0 + counts.eligible.sum(axis=0))
    shrunk = (10.0 * by_bin + counts.exposed) / (10.0 + counts.eligible)
    upper = shrunk + np.sqrt(shrunk * (1 - shrunk) / (10.0 + counts.eligible))
    columns = np.clip(bins - counts.first_bin, 0, counts.eligible.shape[1] - 1)
    result: Floats = np.minimum(np.maximum(upper, by_bin[None, :])[strata, columns], 1.0)
    return result


class Archive:
    """The shares of every 10 minutes, for crashes that are reported late: number of the 10 minutes, share (S, U)."""

    def __init__(self) -> None:
        self.shares: list[tuple[int, Floats]] = []

    def wants(self, number: int) -> bool:
        """Whether these 10 minutes are not there yet."""
        return not self.shares or self.shares[-1][0] < number

    def add(self, number: int, share: Floats) -> None:
        """The oldest give way."""
        self.shares = [*self.shares[-ARCHIVED + 1 :], (number, share)]

    def largest(self, number: int, now: Floats) -> Floats:
        """The largest share from that time until now, of all when it is longer ago than any. (S, U), as `now`, which is
        overwritten.

        A crash whose time is past may be told late, or by a host whose clock is behind, which has an update already at
        a time at which nobody had it. It happened between then and now, whichever is so.
        """
        near = [old for at, old in self.shares if at >= number]
        for old in near or [old for _, old in self.shares[-1:]]:  # an update younger than that keeps its share of now
            known = now[: old.shape[0], : old.shape[1]]
            np.fmax(known, old, out=known)
        return now

    def forget(self, updates: Ints) -> None:
        """Whoever has their positions next was not there then."""
        for _, share in self.shares:
            share[:, updates[updates < share.shape[1]]] = np.nan

    def pack(self) -> list[tuple[int, Floats]]:
        """What a snapshot holds of it."""
        return self.shares

    def restore(self, stored: list[tuple[int, Floats]]) -> None:
        """The inverse."""
        self.shares = [(number, share) for number, share in stored]
