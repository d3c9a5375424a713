"""Who crashes when: ordinary crashes, shocks and faults as candidates that are accepted or not as time passes.

Ordinary crashes are drawn at the highest rate that any host can have and thinned to the rate that the host does have
at that moment (Lewis and Shedler 1979), so a halt changes which candidates count and not which are drawn.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.simulate import fleet as f
from pipeline.simulate.ledger import FAULT, ORDINARY, SHOCK
from pipeline.simulate.scenario import Scenario, SignatureShare, unix_ms
from pipeline.wire.events import Signature
from pipeline.wire.spans import DAY_MS, HOUR_MS, MINUTE_MS

Columns = tuple[npt.NDArray[Any], ...]


class Cycles:
    """Drawn columns, one period at a time, the first of them times in order; `take` hands them out as time passes."""

    def __init__(self, period_ms: int, draw: Callable[[int], Columns]) -> None:
        self._period_ms = period_ms
        self._draw = draw
        self._number = -1
        self._columns: Columns = ()

    def take(self, start_ms: int, end_ms: int) -> Columns:
        """The rows of [start, end), which must lie within one period."""
        number = start_ms // self._period_ms
        if number != self._number:
            self._number, self._columns = number, self._draw(number)
        low, high = np.searchsorted(self._columns[0], (start_ms, end_ms))
        return tuple(column[low:high] for column in self._columns)


class CrashDraw(NamedTuple):
    """A crash that happens unless the host is already down. `luck` in [0, 1) decides what is seen of it."""

    at_ms: int
    host: int
    cause: int
    signature: Signature
    luck: float


class Hazards:
    """The crashes of a scenario, in order of time. `installed` is shared with the rollout, which a halt changes."""

    def __init__(self, scenario: Scenario, hosts: f.Population, installed: f.Ints, seed: int) -> None:
        self._scenario = scenario
        self._hosts = hosts
        self._installed = installed
        self._seed = seed
        self._start_ms = unix_ms(scenario.starts)
        self._risks = [
            (row, rollout.fault.relative_risk, hosts.matches(rollout.fault.os, rollout.fault.models))
            for row, rollout in enumerate(scenario.updates)
            if rollout.fault is not None and rollout.fault.relative_risk > 1
        ]
        self._outages = [
            (unix_ms(o.starts) - self._start_ms, unix_ms(o.ends) - self._start_ms, o, self._at_sites(o.sites))
            for o in scenario.outages
        ]
        highest = [risk for _, risk, _ in self._risks] + [outage.factor for outage in scenario.outages]
        self._ceiling = float(np.prod(highest)) * (1 + scenario.fleet.daily_drift)
        self._candidates = Cycles(HOUR_MS, self._draw_candidates)
        self._chains = self._draw_chains()

    def _at_sites(self, sites: tuple[str, ...]) -> f.Mask:
        listed = np.array([not sites or site in sites for site in self._hosts.sites])
        return np.asarray(listed[self._hosts.site])

    def _draw_candidates(self, hour: int) -> Columns:
        rng = f.draws(self._seed, f.CRASHES, hour)
        fleet = self._scenario.fleet
        count = rng.poisson(fleet.hosts * fleet.crashes_per_host_day / 24 * self._ceiling)
        at = np.sort(rng.integers(0, HOUR_MS, count)) + hour * HOUR_MS
        host = rng.integers(0, fleet.hosts, count)
        return at, host, rng.random(count), rng.random(count), rng.random(count)

    def _draw_chains(self) -> Columns:
        """Crashes that follow an installation: (at, host, row, which signature, luck) in order of time."""
        parts: list[Columns] = []
        for row, rollout in enumerate(self._scenario.updates):
            fault = rollout.fault
            if fault is None or not fault.crash_probability:
                continue
            rng = f.draws(self._seed, f.CHAINS, row)
            size = len(self._hosts.online)
            struck = (rng.random(size) < fault.crash_probability) & self._hosts.matches(fault.os, fault.models)
            delay_ms = rng.exponential(fault.crash_minutes * MINUTE_MS, size)
            at = self._installed[row] + delay_ms
            host = np.flatnonzero(struck & (self._installed[row] != f.NEVER) & (self._installed[row] >= 0))
            looks, luck = rng.random(size), rng.random(size)
            parts.append((at[host].astype(np.int64), host, np.full(len(host), row), looks[host], luck[host]))
        if not parts:
            return tuple(np.empty(0) for _ in range(5))
        columns = tuple(np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(columns[0], kind="stable")
        return tuple(column[order] for column in columns)

    def take(self, start_ms: int, end_ms: int) -> list[CrashDraw]:
        """The crashes of [start, end), which must lie within one hour; hosts that are down are not known here."""
        found = [*self._ordinary(start_ms, end_ms), *self._chained(start_ms, end_ms)]
        found.sort(key=lambda crash: (crash.at_ms, crash.host))
        return found

    def _ordinary(self, start_ms: int, end_ms: int) -> Iterator[CrashDraw]:
        at, host, throw, looks, luck = self._candidates.take(start_ms, end_ms)
        online = self._hosts.online[host]
        drift = self._scenario.fleet.daily_drift
        phase = ((at + self._start_ms) % DAY_MS) / DAY_MS
        level = 1 + drift * np.sin(2 * np.pi * phase)
        shocked, fault_row, shocks = level.copy(), np.full(len(at), -1), np.full(len(at), -1)
        for number, (starts, ends, outage, where) in enumerate(self._outages):
            hit = (at >= starts) & (at < ends) & where[host]
            shocked, shocks = np.where(hit, shocked * outage.factor, shocked), np.where(hit, number, shocks)
        total = shocked.copy()
        for row, risk, where in self._risks:
            hit = (self._installed[row, host] <= at) & where[host]
            total, fault_row = np.where(hit, total * risk, total), np.where(hit, row, fault_row)
        mark = throw * self._ceiling
        for i in np.flatnonzero(online & (mark < total)):
            cause, signatures = ORDINARY, self._scenario.fleet.signatures
            if mark[i] >= shocked[i]:
                cause, signatures = FAULT + int(fault_row[i]), self._fault_signatures(int(fault_row[i]))
            elif mark[i] >= level[i]:
                cause, signatures = SHOCK, self._scenario.outages[shocks[i]].signatures
            yield CrashDraw(int(at[i]), int(host[i]), cause, pick(signatures, float(looks[i])), float(luck[i]))

    def _chained(self, start_ms: int, end_ms: int) -> Iterator[CrashDraw]:
        low, high = np.searchsorted(self._chains[0], (start_ms, end_ms))
        rows = (column[low:high].tolist() for column in self._chains)
        for at, host, row, looks, luck in zip(*rows, strict=True):
            if self._installed[row, host] != f.NEVER:
                yield CrashDraw(at, host, FAULT + row, pick(self._fault_signatures(row), looks), luck)

    def _fault_signatures(self, row: int) -> tuple[SignatureShare, ...]:
        fault = self._scenario.updates[row].fault
        return fault.signatures if fault is not None else ()


def pick(signatures: tuple[SignatureShare, ...], throw: float) -> Signature:
    """The signature that a uniform number in [0, 1) falls on."""
    for entry in signatures:
        throw -= entry.share
        if throw < 0:
            return entry.signature
    return signatures[-1].signature
