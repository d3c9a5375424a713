"""Of which updates telemetry says less than it seems to, and why: read off what the signs gathered. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.decide.blind.signs import COUNTED, DAY_BUCKETS, Signs
from pipeline.wire.partials import BUCKET_MS, SAMPLES_PER_CELL_MINUTE, Stratum, UpdateId
from pipeline.wire.spans import HOUR_MS

Floats = NDArray[np.float64]

HOUR_BUCKETS = HOUR_MS // BUCKET_MS
FEWEST = 2  # crashed hosts that a reason must have touched, and one in TOUCHED of all with the update
TOUCHED = 4
FEWEST_TRIALS = 5.0  # exposed ones of the last hours, for a stratum to say something
LISTING_TRIALS = 50.0  # so many in the fleet, and none lists the update
APART = 0.1  # of the hosts that are where the others are
MANY_VERSIONS = 20  # of a product that were installed of late, most of them on one host only
SUPERSEDED_HOSTS = 3  # that installed a version, another one beside it, and are hardly ever seen with the first
SHOWN_UPDATES = 5

STRATA_MOVE = "strata_move"
VERSIONS = "version_per_host"
CROWDED = "one_product_for_many"
CRASHES_ONLY = "only_crashes_list_it"
CUT = "crashes_cut"
REASONS = (*COUNTED, STRATA_MOVE, VERSIONS, CROWDED, CRASHES_ONLY, CUT)


class View(NamedTuple):
    """What the flags are read off: a fleet's names, and counts by update (U,), by stratum and update (S, U) on the slow
    scale, or by stratum (S,)."""

    signs: Signs
    bucket: int
    updates: Sequence[tuple[int, UpdateId]]
    strata: Sequence[tuple[int, Stratum]]
    since: NDArray[np.int64]  # (U,) bucket of the first exposure
    crashed: Floats  # (U,) hosts
    exposed_trials: Floats  # (U,) ever
    trials: Floats  # (S,)
    exposed: Floats  # (S, U)

    def of_all(self) -> dict[str, list[int]]:
        """The updates that each reason holds for; reasons without one are left out."""
        found: dict[str, list[int]] = {reason: [] for reason in REASONS}
        products = {VERSIONS: self.versions_of_hosts(), CROWDED: self.crowded()}
        for update, name in self.updates:
            for reason in self._of(update, name, products):
                found[reason].append(update)
        return {reason: updates for reason, updates in found.items() if updates}

    def of(self, update: int) -> tuple[str, ...]:
        """The reasons that hold for one."""
        name = dict(self.updates).get(update)
        if name is None:
            return ()
        return tuple(self._of(update, name, {VERSIONS: self.versions_of_hosts(), CROWDED: self.crowded()}))

    def _of(self, update: int, name: UpdateId, products: dict[str, set[tuple[str, str]]]) -> list[str]:
        crashed = self.crashed[update]
        found = [what for what in COUNTED if _is_much(self.signs.crashed[what].get(update, 0), crashed)]
        if self._moves(update):
            found.append(STRATA_MOVE)
        found += [reason for reason, named in products.items() if name[:2] in named]
        blind = not self.exposed_trials[update] and self.trials.sum() >= LISTING_TRIALS
        if crashed >= FEWEST and blind:
            found.append(CRASHES_ONLY)
        if crashed and self.signs.cut_at and self.bucket - self.signs.cut_at < DAY_BUCKETS:
            found.append(CUT)
        return found

    def versions_of_hosts(self) -> set[tuple[str, str]]:
        """Products of which many versions were installed of late, four of five on a single host."""
        installers, hosts = self.signs.installers, dict[tuple[str, str], list[int]]()
        for at, name in self.updates:
            if at in installers:
                hosts.setdefault(name[:2], []).append(len(installers[at]))
        return {
            product
            for product, counts in hosts.items()
            if len(counts) >= MANY_VERSIONS and 5 * counts.count(1) >= 4 * len(counts)
        }

    def crowded(self) -> set[tuple[str, str]]:
        """Products of which hosts install several versions at once: all but the last are superseded before a trial."""
        products: dict[tuple[str, str], list[int]] = {}
        for at, name in self.updates:
            if len(self.signs.installers.get(at, ())) >= SUPERSEDED_HOSTS:
                products.setdefault(name[:2], []).append(at)
        return {
            product
            for product, versions in products.items()
            if len(versions) > 1 and any(self._is_superseded(at) for at in versions)
        }

    def _is_superseded(self, update: int) -> bool:
        """Whether hosts that install it are not seen with it."""
        return bool(2 * self.exposed_trials[update] < SUPERSEDED_HOSTS and not self.crashed[update])

    def _moves(self, update: int) -> bool:
        """Whether the hosts with an update are in strata of their own, which came up with it, beside such of another
        system, but the same ring and model, in which hardly any host has it."""
        signs, since = self.signs, int(self.since[update])
        start = max(signs.began, since - 2 * HOUR_BUCKETS) + HOUR_BUCKETS
        young = {at for at, seen in signs.strata.items() if seen >= start}
        if not since or not young:
            return False
        exposed = self.exposed[:, update]
        share = exposed / np.maximum(self.trials, 1e-9)
        others = {(name.ring, name.model) for at, name in self.strata if self.trials[at] >= 1.0 and share[at] <= APART}
        theirs = [
            at
            for at, name in self.strata
            if at in young and share[at] >= 1.0 - APART and (name.ring, name.model) in others
        ]
        return bool(exposed.sum() >= FEWEST_TRIALS and exposed[theirs].sum() >= (1.0 - APART) * exposed.sum())

    def summary(self) -> dict[str, object]:
        """For people, fit for JSON: of each reason how many updates it holds for, and some of them; host names that
        several machines have."""
        names = dict(self.updates)
        shared = sorted(self.signs.shared)
        return {
            "reasons": {
                reason: {"updates": len(found), "such_as": ["/".join(names[at]) for at in found[:SHOWN_UPDATES]]}
                for reason, found in self.of_all().items()
            },
            "shared_host_names": {"hosts": len(shared), "such_as": shared[:SHOWN_UPDATES]},
        }


def _is_much(touched: int, crashed: float) -> bool:
    return touched >= FEWEST and TOUCHED * touched >= crashed


def is_sampled(kept: Sequence[int]) -> bool:
    """Whether, of so many hosts kept of each stratum and time, some may have been left out."""
    return max(kept, default=0) >= SAMPLES_PER_CELL_MINUTE
