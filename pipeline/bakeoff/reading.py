"""Partials decoded once for all rules, and the past that they are given."""

import numpy as np

from pipeline.bakeoff.hosts import NEVER
from pipeline.bakeoff.protocol import PAST_DAYS, PAST_WEEKS, Crashed, Ints, Past, Step, Totals
from pipeline.bakeoff.spec import ORDINARY
from pipeline.bakeoff.world import World
from pipeline.wire.cells import stratum_of
from pipeline.wire.events import Signature
from pipeline.wire.partials import EXPOSURE_COLUMNS, TRIAL_COLUMNS, CrashRecord, Partial
from pipeline.wire.spans import DAY_MS


def past_of(world: World) -> Past:
    """The past of a world, drawn at its true baseline: what an operator would have on record."""
    rng, installs = np.random.default_rng([world.seed, 26, *world.family.name.encode()]), world.installs
    rings, updates = world.hosts.rings, world.updates
    targets = np.zeros((len(updates), len(rings)), np.int64)
    for row, update in enumerate(installs.update.tolist()):
        aimed = np.bincount(world.hosts.ring[installs.at[row] != NEVER], minlength=len(rings))
        targets[update] = np.maximum(targets[update], aimed)
    a_day = world.truth.crashes_a_day
    hourly = rng.poisson(a_day / 24, PAST_DAYS * 24)
    trials = a_day / world.truth.crashes_a_trial if world.truth.crashes_a_trial else float(len(world.hosts.ring) * 24)
    weekly = np.stack((rng.poisson(7 * trials, PAST_WEEKS), rng.poisson(7 * a_day, PAST_WEEKS)), axis=1)
    return Past(
        updates, rings, len(world.hosts.ring), targets, hourly.reshape(PAST_DAYS, 24).sum(axis=1), hourly, weekly,
        world.truth.crashes_a_trial, frozenset(ORDINARY if a_day else ()),
    )  # fmt: skip


class Reader:
    """Makes a step of each partial. Crashed hosts count once in 24 hours, as everywhere."""

    def __init__(self, past: Past) -> None:
        self._number = {update: place for place, update in enumerate(past.updates)}
        self._ring = {ring: place for place, ring in enumerate(past.rings)}
        size = len(past.updates)
        self._first = np.zeros(size, np.int64)
        self._trials, self._crashed = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self._trials_since, self._crashed_since = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self._last: dict[str, int] = {}

    def read(self, partial: Partial) -> Step:
        """The step of a partial."""
        numbers = np.array([self._number[update] for update in partial.updates], np.int64)
        rings = np.array([self._ring[stratum.ring] for stratum in partial.strata], np.int64)
        trials = np.frombuffer(partial.trials, "<i4").reshape(-1, TRIAL_COLUMNS).astype(np.int64)
        exposures = np.frombuffer(partial.exposures, "<i4").reshape(-1, EXPOSURE_COLUMNS).astype(np.int64)
        size, now = len(self._number), partial.ingested_at_ms
        by_ring, exposed = np.zeros(len(self._ring), np.int64), np.zeros((len(self._ring), size), np.int64)
        np.add.at(by_ring, rings[stratum_of(trials[:, 1])], trials[:, 2])
        np.add.at(exposed, (rings[stratum_of(exposures[:, 1])], numbers[exposures[:, 2]]), exposures[:, 3])
        crashes = tuple(self._crash(record, partial, numbers, rings) for record in partial.crashes)
        hit = exposed.sum(axis=0)
        first = [crash.exposed for crash in crashes if crash.is_first]
        crashed = np.bincount([update for updates in first for update in updates], minlength=size)
        self._first[(self._first == 0) & (hit + crashed > 0)] = now
        begun = self._first > 0
        self._trials += hit
        self._crashed += crashed
        self._trials_since[begun] += int(by_ring.sum())
        self._crashed_since[begun] += len(first)
        totals = Totals(self._trials, self._trials_since, self._crashed, self._crashed_since)
        return Step(now, partial, by_ring, exposed, crashes, self._first, totals)

    def _crash(self, record: CrashRecord, partial: Partial, numbers: Ints, rings: Ints) -> Crashed:
        before = self._last.get(record.host)
        is_first = before is None or abs(record.at - before) >= DAY_MS
        if is_first:
            self._last[record.host] = record.at
        signature = Signature(record.code, record.module) if record.code or record.module else None
        exposed = tuple(int(numbers[update]) for update in record.exposed)
        place = partial.strata[record.stratum]
        return Crashed(record.at, record.host, int(rings[record.stratum]), place, signature, exposed, is_first)
