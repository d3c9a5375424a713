"""Of which updates telemetry says less than it seems to, and why: read off what the signs gathered. Pure."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.decide.blind.signs import COUNTED, DAY_BUCKETS, Floats, Ints, Signs, product_of
from pipeline.wire.partials import BUCKET_MS, SAMPLES_PER_CELL_MINUTE, Stratum, UpdateId
from pipeline.wire.spans import HOUR_MS

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
    """What the flags are read off: a fleet's names, and counts of an update by ring (U, R), or by stratum (S,); `slow`
    gives an update's exposed trials of the last hours (S,)."""

    signs: Signs
    bucket: int
    updates: Sequence[UpdateId | None]
    strata: Sequence[Stratum | None]
    since: Ints  # (U,) bucket of the first exposure
    crashed: Floats  # hosts
    exposed_trials: Floats  # ever
    trials: Floats  # (S,) of the last hours
    slow: Callable[[int], Floats]

    def of(self, update: int) -> tuple[str, ...]:
        """The reasons that hold for an update."""
        name = self.updates[update]
        return () if name is None else (*self._own(update), *self.of_product(product_of(name)))

    def of_all(self) -> dict[str, list[int]]:
        """The updates that each reason holds for; reasons without one are left out."""
        found: dict[str, list[int]] = {reason: [] for reason in REASONS}
        products = {product: self.of_product(product) for product in self.signs.installers}
        for update, name in enumerate(self.updates):
            if name is not None:
                for reason in (*self._own(update), *products.get(product_of(name), ())):
                    found[reason].append(update)
        return {reason: updates for reason, updates in found.items() if updates}

    def _own(self, update: int) -> list[str]:
        """Those that are not its product's."""
        crashed, counts = float(self.crashed[update].sum()), self.signs.crashed
        found = [what for what in COUNTED if update in counts[what] and _is_much(counts[what][update], crashed)]
        if self._moves(update):
            found.append(STRATA_MOVE)
        if not crashed:
            return found
        if crashed >= FEWEST and not self.exposed_trials[update].any() and self.trials.sum() >= LISTING_TRIALS:
            found.append(CRASHES_ONLY)
        if self.signs.cut_at and self.bucket - self.signs.cut_at < DAY_BUCKETS:
            found.append(CUT)
        return found

    def of_product(self, product: str) -> list[str]:
        """Whether nearly every host has a version of its own, or hosts install several versions at once, of which all
        but the last are superseded before a trial."""
        versions = self.signs.installers.get(product, {})
        hosts = [len(installers) for installers in versions.values()]
        found = [VERSIONS] if len(hosts) >= MANY_VERSIONS and 5 * hosts.count(1) >= 4 * len(hosts) else []
        spread = [update for update, installers in versions.items() if len(installers) >= SUPERSEDED_HOSTS]
        if len(spread) > 1 and any(map(self._is_superseded, spread)):
            found.append(CROWDED)
        return found

    def _is_superseded(self, update: int) -> bool:
        """Whether hosts that install it are not seen with it."""
        return bool(2 * self.exposed_trials[update].sum() < SUPERSEDED_HOSTS and not self.crashed[update].any())

    def _moves(self, update: int) -> bool:
        """Whether the hosts with an update are in strata of their own, which came up with it, beside such of another
        system, but the same ring and model, in which hardly any host has it."""
        signs, since = self.signs, int(self.since[update])
        start = max(signs.began, since - 2 * HOUR_BUCKETS) + HOUR_BUCKETS
        young = {at for at, seen in signs.strata.items() if seen >= start}
        if not since or not young:
            return False
        exposed, places = self.slow(update), [(at, name) for at, name in enumerate(self.strata) if name is not None]
        share = exposed / np.maximum(self.trials, 1e-9)
        others = {(name.ring, name.model) for at, name in places if self.trials[at] >= 1.0 and share[at] <= APART}
        theirs = [
            at for at, name in places if at in young and share[at] >= 1.0 - APART and (name.ring, name.model) in others
        ]
        return bool(exposed.sum() >= FEWEST_TRIALS and exposed[theirs].sum() >= (1.0 - APART) * exposed.sum())

    def _name(self, update: int) -> str:
        return "/".join(self.updates[update] or ())

    def summary(self) -> dict[str, object]:
        """For people, fit for JSON: of each reason how many updates it holds for, and some of them; host names that
        several machines have."""
        shared = sorted(self.signs.shared)
        return {
            "reasons": {
                reason: {"updates": len(found), "such_as": [self._name(at) for at in found[:SHOWN_UPDATES]]}
                for reason, found in self.of_all().items()
            },
            "shared_host_names": {"hosts": len(shared), "such_as": shared[:SHOWN_UPDATES]},
        }


def _is_much(touched: int, crashed: float) -> bool:
    return touched >= FEWEST and TOUCHED * touched >= crashed


def is_sampled(kept: Sequence[int]) -> bool:
    """Whether, of so many hosts kept of each stratum and time, some may have been left out."""
    return max(kept, default=0) >= SAMPLES_PER_CELL_MINUTE
