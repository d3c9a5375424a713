"""Clean trials with their full update lists: from them, the share of any sub-population is estimated.

Kept per cell and 10 minutes, the smallest host hashes first (bottom-k: mergeable, and the same host counts once).
"""

from typing import NamedTuple

import numpy as np

from pipeline.decide.arrays import Floats, Ints

BIN_MINUTES = 10
BIN_MS = BIN_MINUTES * 60_000
KEPT_BINS = 72
SAMPLES_PER_CELL_BIN = 48


class Sample(NamedTuple):
    """One host's clean trial: the updates (positions) that it was exposed to, and those it is no control for."""

    exposed: tuple[int, ...]
    excluded: tuple[int, ...]


class Shares(NamedTuple):
    """Counts over (stratum, bin): hosts eligible for a comparison, and the exposed ones among them."""

    eligible: Floats
    exposed: Floats
    first_bin: int


class Samples:
    """Bottom-k samples by (bin, stratum): host hash → Sample."""

    def __init__(self, bins: dict[int, dict[int, dict[int, Sample]]] | None = None) -> None:
        self.bins = {} if bins is None else bins

    def add(self, minute: int, stratum: int, host_hash: int, sample: Sample) -> None:
        """Keep the sample if its hash is among the smallest of its stratum and bin; a host counts once."""
        cell = self.bins.setdefault(minute // BIN_MINUTES, {}).setdefault(stratum, {})
        if host_hash in cell:
            return
        if len(cell) >= SAMPLES_PER_CELL_BIN:
            largest = max(cell)
            if host_hash > largest:
                return
            del cell[largest]
        cell[host_hash] = sample

    def expire(self, newest_bin: int) -> None:
        """Drop bins that are too old."""
        for old in [b for b in self.bins if b <= newest_bin - KEPT_BINS]:
            del self.bins[old]

    def forget(self, update: int) -> None:
        """Take a freed update's position out of every sample, before another update gets it."""
        for strata in self.bins.values():
            for cell in strata.values():
                for host, sample in cell.items():
                    if update in sample.exposed or update in sample.excluded:
                        kept = [tuple(u for u in listed if u != update) for listed in sample]
                        cell[host] = Sample(*kept)

    def shares(self, update: int, without: frozenset[int], strata: int, since_bin: int) -> Shares:
        """Hosts that have none of `without`, and those of them exposed to `update`, per stratum and bin."""
        newest = max(self.bins, default=since_bin)
        width = max(newest - since_bin + 1, 1)
        eligible, exposed = np.zeros((strata, width)), np.zeros((strata, width))
        for at, cells in self.bins.items():
            if at < since_bin:
                continue
            for stratum, cell in cells.items():
                for sample in cell.values():
                    if update in sample.excluded or not without.isdisjoint(sample.exposed):
                        continue
                    eligible[stratum, at - since_bin] += 1
                    exposed[stratum, at - since_bin] += update in sample.exposed
        return Shares(eligible, exposed, since_bin)

    def without(self, halted: frozenset[int], strata: int, updates: int, since_bin: int) -> tuple[Floats, Floats]:
        """Recent hosts exposed to none of `halted`: all of them (strata,), and by update (strata, updates)."""
        hosts, exposed = np.zeros(strata), np.zeros((strata, updates))
        for at, cells in self.bins.items():
            if at < since_bin:
                continue
            for stratum, cell in cells.items():
                for sample in cell.values():
                    if halted.isdisjoint(sample.exposed):
                        hosts[stratum] += 1
                        exposed[stratum, list(sample.exposed)] += 1
        return hosts, exposed


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
