"""The simulated hosts and what is installed on them when: arrays over hosts, every draw from a keyed seed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.simulate.scenario import FleetSpec, Rollout, Scenario, unix_ms
from pipeline.wire.spans import MINUTE_MS

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

NEVER = np.iinfo(np.int32).max

# Independent streams of random numbers, each keyed by (seed, stream, …): what a halt changes in one leaves the rest
# as it was, so a run with and one without the halt differ by the halt alone.
HOSTS, INSTALLS, FAULTS, HEARTBEATS, BOOTS, CRASHES, CHAINS = range(7)


def draws(seed: int, *stream: int) -> np.random.Generator:
    """The random numbers of one stream."""
    return np.random.default_rng([seed, *stream])


class Population(NamedTuple):
    """What each host is. Codes index the tuples of names."""

    rings: tuple[str, ...]
    os: tuple[str, ...]
    models: tuple[str, ...]
    sites: tuple[str, ...]
    ring: Ints
    os_code: Ints
    model: Ints
    site: Ints
    online: Mask

    def matches(self, os_prefixes: Sequence[str], models: Sequence[str]) -> Mask:
        """Hosts whose system starts with one of the prefixes and whose model is listed; empty lists match all."""
        os_fits = np.array([not os_prefixes or name.startswith(tuple(os_prefixes)) for name in self.os])
        model_fits = np.array([not models or name in models for name in self.models])
        return np.asarray(os_fits[self.os_code] & model_fits[self.model])


def populate(fleet: FleetSpec, seed: int) -> Population:
    """Draw every host's ring, system, model, site, and whether it is powered on."""
    rng = draws(seed, HOSTS)

    def codes(shares: Sequence[float]) -> Ints:
        edges = np.cumsum(shares)[:-1]
        return np.searchsorted(edges, rng.random(fleet.hosts), side="right").astype(np.int32)

    return Population(
        tuple(fleet.rings),
        tuple(fleet.os),
        tuple(fleet.models),
        tuple(fleet.places),
        codes(list(fleet.rings.values())),
        codes(list(fleet.os.values())),
        codes(list(fleet.models.values())),
        codes([site.share for site in fleet.places.values()]),
        rng.random(fleet.hosts) >= fleet.offline_share,
    )


def plan_installs(scenario: Scenario, hosts: Population, seed: int) -> Ints:
    """When each update (row) reaches each host, in ms since the scenario's start; NEVER where it does not."""
    start_ms = unix_ms(scenario.starts)
    plan = np.full((len(scenario.updates), len(hosts.online)), NEVER, dtype=np.int32)
    rows = {"/".join(rollout.update): row for row, rollout in enumerate(scenario.updates)}
    for row, rollout in enumerate(scenario.updates):
        rng = draws(seed, INSTALLS, row)
        at = _own_installs(rollout, hosts, unix_ms(rollout.release) - start_ms, rng)
        if rollout.alongside:
            leader = plan[rows[rollout.alongside]]
            together = rng.random(len(at)) < rollout.alongside_share
            at = np.where(leader != NEVER, np.where(together, leader, NEVER), at)
        if rollout.revert is not None:
            at = np.where(at > unix_ms(rollout.revert) - start_ms, NEVER, at)
        plan[row] = np.where(hosts.online, at, NEVER)
    return plan


def _own_installs(
    rollout: Rollout, hosts: Population, release_ms: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    size = len(hosts.online)
    delays = rollout.ring_delay_minutes or dict.fromkeys(hosts.rings, 0.0)
    ring_delay_ms = np.array([delays.get(ring, -1.0) for ring in hosts.rings])[hosts.ring] * MINUTE_MS
    reached = hosts.matches(rollout.os, rollout.models) & (rng.random(size) < rollout.share) & (ring_delay_ms >= 0)
    at = release_ms + ring_delay_ms + rng.random(size) * rollout.over_minutes * MINUTE_MS
    return np.where(reached, at, NEVER).astype(np.int64)
