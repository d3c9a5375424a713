"""The oracle: a likelihood ratio test by who knows the fault's size, signature and hosts, not who is guilty.

It knows every rate as well: ordinary crashes and shocks by host and minute, and how late crashes are told. Against "at
most the tolerated risk" it bets on the truth (Wald 1945), so no rule with the same alpha and the same three hosts can
expect to be much sooner. It names the update that the ratio names; what it has halted leaves the comparison.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.bakeoff import crashes as c
from pipeline.bakeoff.hosts import NEVER, Floats, Ints, Mask
from pipeline.bakeoff.protocol import Call, Crashed, Past, Step
from pipeline.bakeoff.spec import SIGNATURES, Fault
from pipeline.bakeoff.world import TOLERATED, World
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

ALPHA = 1e-6
LEAST_HOSTS = 3
STRANGER = 1e-3  # of all crashes: as many as have a look that was never seen, for who has to bet against it
NEVER_CRASHED = 1e-6 / (24 * HOUR_MS)  # a rate below which nobody can know one
TWINS = np.log(2.0)  # two whose ratios differ by less cannot be told apart


class _Model(NamedTuple):
    """One fault, thought to be of each update in turn. `since` (U, H) in ms, `toll` (U, minutes + 1) cumulated."""

    fault: Fault
    looks: frozenset[int]
    base: list[tuple[Floats, Floats]]  # rate by host (per ms) and level by minute, of such looks without any fault
    since: Ints
    toll: Floats


class Oracle:
    """Made of a world, for it knows what no rule can."""

    def __init__(self, past: Past, world: World) -> None:
        self._world, self._past = world, past
        self._halted: set[int] = set()
        self._free: Mask = np.ones(len(world.hosts.ring), np.bool_)  # hosts without any update that it halted
        self._seen: list[tuple[int, int, int]] = []  # host, when (ms), look
        self._hosts: set[tuple[int, int]] = set()
        self._build()

    def see(self, step: Step) -> Sequence[Call]:
        """Halts the best explanation once it is good enough."""
        news = [found for crash in step.crashes if (found := self._found(crash)) is not None]
        if not news:
            return ()
        self._seen += news
        for found in news:
            self._enter(*found)
        now_ms = step.now_ms - c.FRIDAY_MS
        for place, model in enumerate(self._models):
            ratio = self._gain[place] - self._told(model.toll, now_ms)
            ratio[[*self._halted]] = -np.inf
            best = int(ratio.argmax())
            if ratio[best] >= -np.log(ALPHA) and self._crashed[place][best] >= LEAST_HOSTS:
                twins = [best, *(u for u in np.flatnonzero(ratio > ratio[best] - TWINS).tolist() if u != best)]
                self._halted.update(twins)
                self._free &= (self._installed()[twins] == NEVER).all(axis=0)
                self._build()
                return [Call(update, together=len(twins) > 1) for update in twins]
        return ()

    def _found(self, crash: Crashed) -> tuple[int, int, int] | None:
        """A crash of a host by its number; its look, CUT when it is not told. Each host and look counts once."""
        host = int(crash.host.partition(".")[0][1:])
        look = SIGNATURES.index(crash.signature) if crash.signature is not None else c.CUT
        if (host, look) in self._hosts or (look == c.CUT and self._world.family.telling.by in ("both", "crash")):
            return None
        self._hosts.add((host, look))
        at = crash.at_ms - c.FRIDAY_MS - int(self._world.skew_ms[host])
        if self._world.family.telling.by == "undated":
            at -= round(self._world.family.telling.minutes * MINUTE_MS)
        return host, at, look

    def _installed(self) -> Ints:
        """(U, H): when each host first gets each update."""
        installs = self._world.installs
        first = np.full((len(installs.updates), installs.at.shape[1]), NEVER)
        np.minimum.at(first, installs.update, installs.at)
        return first

    def _build(self) -> None:
        """The models on the hosts that are left, and what was seen so far entered into them."""
        faults = {push.fault: push.fault for push in self._world.pushes if push.fault is not None}
        self._models = [self._model(fault) for fault in faults]
        size = len(self._past.updates)
        self._gain = np.zeros((len(self._models), size))
        self._crashed = np.zeros((len(self._models), size), np.int64)
        for found in self._seen:
            self._enter(*found)

    def _model(self, fault: Fault) -> _Model:
        world = self._world
        looks = frozenset(range(-1, len(SIGNATURES)))
        if fault.signature is not None and world.family.telling.by in ("both", "crash"):
            looks = frozenset(c.looks_of(fault, world.sources[0])[0].tolist())
        base = []
        for source in world.sources:
            share = float(source.shares[[look in looks for look in source.looks.tolist()]].sum())
            base.append((source.rate * max(share, STRANGER) + NEVER_CRASHED, source.level))
        since = np.where(world.hosts.match(fault.where) & self._free, self._installed(), NEVER)
        if fault.only_with:
            name = next(
                u for u, p in zip(world.installs.update, world.pushes, strict=True) if p.name == fault.only_with
            )
            other = self._installed()[name]
            since = np.where((since != NEVER) & (other != NEVER), np.maximum(since, other), NEVER)
        since = np.where(since != NEVER, since + round(fault.onset_hours * HOUR_MS), NEVER)
        if fault.not_before is not None:
            bomb = round((world.family.warm_hours + fault.not_before) * HOUR_MS)
            since = np.where(since != NEVER, np.maximum(since, bomb), NEVER)
        toll = np.stack([self._toll(fault, base, row) for row in since])
        return _Model(fault, looks, base, since, toll)

    def _toll(self, fault: Fault, base: list[tuple[Floats, Floats]], since: Ints) -> Floats:
        """Crashes that the fault would have caused by each minute, beyond what is tolerated."""
        rate, level = self._world.sources[0].rate, self._world.sources[0].level
        minutes = np.arange(level.size)
        host = np.flatnonzero(since < level.size * MINUTE_MS)
        born = np.maximum(since[host], 0) // MINUTE_MS
        counts = np.bincount(born, minlength=level.size)
        weights = np.bincount(born, rate[host], minlength=level.size)
        burnt = np.minimum(minutes / (fault.burn_hours * 60), 1.0) if fault.burn_hours else np.ones(minutes.size)
        excess = (
            np.maximum((fault.risk - 1) * burnt - (TOLERATED - 1) * float(base[0][0].sum() / rate.sum()), 0.0)
            if rate.sum()
            else 0 * burnt
        )
        grown = (
            np.convolve(weights, excess)[: level.size] * level * MINUTE_MS if fault.risk > 1 else np.zeros(level.size)
        )
        grown += np.cumsum(counts) * c.booting(self._world.family, fault) * level * MINUTE_MS
        once = fault.crash_share * np.diff(1 - np.exp(-np.arange(level.size + 1) / fault.crash_minutes))
        grown += np.convolve(counts, once)[: level.size]
        silent = 1 - self._world.family.telling.silent_share
        return np.concatenate(([0.0], np.cumsum(grown) * silent))

    def _enter(self, host: int, at: int, look: int) -> None:
        for place, model in enumerate(self._models):
            if look not in model.looks or at < 0:
                continue
            minute = min(at // MINUTE_MS, model.toll.shape[1] - 2)
            usual = sum(float(rate[host] * level[minute]) for rate, level in model.base)
            age = (at - model.since[:, host]) / MINUTE_MS
            hit = age >= 0
            age = np.where(hit, age, 0.0)
            fault, first = model.fault, self._world.sources[0]
            burnt = np.minimum(age / (fault.burn_hours * 60), 1.0) if fault.burn_hours else np.ones(age.size)
            harm = (fault.risk - 1) * burnt * float(first.rate[host] * first.level[minute])
            harm += c.booting(self._world.family, fault) * float(first.level[minute])
            harm += fault.crash_share * np.exp(-age / fault.crash_minutes) / (fault.crash_minutes * MINUTE_MS)
            harm *= 1 - self._world.family.telling.silent_share
            gain = np.log(np.maximum((usual + harm) / (TOLERATED * usual), 1.0))
            self._gain[place] += np.where(hit, gain, 0.0)
            self._crashed[place] += hit & (gain > 0)

    def _told(self, toll: Floats, now_ms: int) -> Floats:
        """What of the toll has been told by now."""
        telling = self._world.family.telling
        late_ms = telling.down_seconds * 1000 + telling.minutes * MINUTE_MS

        def by(at_ms: float) -> Floats:
            told: Floats = toll[:, int(np.clip(at_ms // MINUTE_MS, 0, toll.shape[1] - 1))]
            return told

        later = late_ms + telling.late_hours * HOUR_MS
        return (1 - telling.late_share) * by(now_ms - late_ms) + telling.late_share * by(now_ms - later)
