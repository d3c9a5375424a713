"""A scenario as it unfolds: advance time, get the events that hosts send; halt an update, and hosts are spared."""

import heapq
from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.simulate import fleet as f
from pipeline.simulate.encode import BOOT, HEARTBEAT, Encoder, Report, SentEvent
from pipeline.simulate.hazard import Columns, CrashDraw, Cycles, Hazards
from pipeline.simulate.ledger import FAULT, Ledger
from pipeline.simulate.scenario import Scenario, unix_ms
from pipeline.wire.partials import UpdateId
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

STEP_MS = 60_000  # no longer than the shortest way back from a crash, so a host has one downtime a step
MIN_DOWN_MS = 60_000


class Simulation:
    """One run, a function of scenario, seed and the halts that it is told. `shift_ms` moves every time in its events.

    Times that it takes and gives are unix ms, shifted; inside they are ms since the scenario's start.
    """

    def __init__(self, scenario: Scenario, seed: int = 0, shift_ms: int = 0) -> None:
        self.scenario = scenario
        self.epoch_ms = unix_ms(scenario.starts) + shift_ms
        self.end_ms = unix_ms(scenario.ends) + shift_ms
        self.ledger = Ledger(tuple(rollout.update for rollout in scenario.updates))
        self.hosts = f.populate(scenario.fleet, seed)
        self.installed = f.plan_installs(scenario, self.hosts, seed)
        self._seed = seed
        self._now = 0
        self._down_from = np.full(scenario.fleet.hosts, f.NEVER, dtype=np.int32)
        self._down_until = np.zeros(scenario.fleet.hosts, dtype=np.int32)
        self._reports: list[tuple[int, int, Report]] = []
        self._pushed = 0
        self._hazards = Hazards(scenario, self.hosts, self.installed, seed)
        self._encoder = Encoder(scenario, self.hosts, self.installed, seed, self.epoch_ms)
        beat_ms = round(scenario.fleet.heartbeat_minutes * MINUTE_MS)
        phases = f.draws(seed, f.HEARTBEATS).random(scenario.fleet.hosts) * beat_ms
        self._beats = Cycles(beat_ms, lambda number: self._draw_beats(number, beat_ms, phases))
        self._boots = Cycles(HOUR_MS, self._draw_boots)

    @property
    def now_ms(self) -> int:
        """How far it has run."""
        return self.epoch_ms + self._now

    @property
    def id_prefix(self) -> str:
        """What every event id of this run begins with."""
        return self._encoder.id_prefix

    def halt(self, update: UpdateId, rings: Iterable[str], at_ms: int, except_rings: Iterable[str] = ()) -> int:
        """The rollout obeys a halt: hosts of those rings ("*": all but some) that it has not reached are spared. Their
        number.

        A halt does not reach back: what was installed before now stays installed.
        """
        if update not in self.ledger.updates:
            return 0
        listed, left = set(rings), set(except_rings)
        named = np.array([ring not in left and bool({"*", ring} & listed) for ring in self.hosts.rings])
        row = self.installed[self.ledger.updates.index(update)]
        since = max(at_ms - self.epoch_ms, self._now)
        spared = named[self.hosts.ring] & (row > since) & (row != f.NEVER)
        row[spared] = f.NEVER
        return int(spared.sum())

    def reached(self, update: UpdateId) -> int:
        """Hosts on which the update has been installed so far."""
        return int((self.installed[self.ledger.updates.index(update)] <= self._now).sum())

    def advance(self, until_ms: int) -> list[SentEvent]:
        """Run to that time (at most to the scenario's end); the events sent meanwhile, in the order of sending."""
        messages: list[SentEvent] = []
        for start, end in self._steps(until_ms):
            self._crash_hosts(start, end)
            columns, reports = self._clean_trials(start, end), self._due(end)
            messages += self._encoder.encode(*columns, reports)
            self._count(columns[2], reports)
            self._now = end
        return messages

    def advance_unseen(self, until_ms: int) -> None:
        """Run to that time for the ledger's sake, without events."""
        for start, end in self._steps(until_ms):
            self._crash_hosts(start, end)
            self._due(end)
            self._now = end

    def _steps(self, until_ms: int) -> Iterator[tuple[int, int]]:
        until = min(until_ms, self.end_ms) - self.epoch_ms
        while self._now < until:
            yield self._now, min((self._now // STEP_MS + 1) * STEP_MS, until)

    def _draw_beats(self, number: int, beat_ms: int, phases: f.Floats) -> Columns:
        rng = f.draws(self._seed, f.HEARTBEATS, number)
        jitter_ms = self.scenario.fleet.heartbeat_jitter_minutes * MINUTE_MS
        within = (phases + rng.uniform(-jitter_ms, jitter_ms, len(phases))) % beat_ms
        host = np.argsort(within, kind="stable")
        host = host[self.hosts.online[host]]
        return within[host].astype(np.int64) + number * beat_ms, host

    def _draw_boots(self, hour: int) -> Columns:
        rng = f.draws(self._seed, f.BOOTS, hour)
        fleet = self.scenario.fleet
        count = rng.poisson(fleet.hosts * fleet.boots_per_host_day / 24)
        at = np.sort(rng.integers(0, HOUR_MS, count)) + hour * HOUR_MS
        host = rng.integers(0, fleet.hosts, count)
        online = self.hosts.online[host]
        return at[online], host[online]

    def _clean_trials(self, start: int, end: int) -> tuple[f.Ints, f.Ints, f.Ints]:
        (beat_at, beat_host), (boot_at, boot_host) = self._beats.take(start, end), self._boots.take(start, end)
        at, host = np.concatenate([beat_at, boot_at]), np.concatenate([beat_host, boot_host])
        kind = np.repeat(np.array([HEARTBEAT, BOOT]), [len(beat_at), len(boot_at)])
        up = (at < self._down_from[host]) | (at >= self._down_until[host])
        return at[up], host[up], kind[up]

    def _crash_hosts(self, start: int, end: int) -> None:
        for crash in self._hazards.take(start, end):
            if crash.at_ms >= self._down_until[crash.host]:
                self.ledger.crash(crash.host, crash.at_ms, crash.cause)
                self._down_from[crash.host] = crash.at_ms
                self._down_until[crash.host] = self._report(crash)

    def _report(self, crash: CrashDraw) -> int:
        """Line up what the host will say of its crash; when it is up for good."""
        rollout = self.scenario.updates[crash.cause - FAULT] if crash.cause >= FAULT else None
        fault = rollout.fault if rollout is not None else None
        if fault is not None and crash.luck < fault.never_report_share:
            return f.NEVER
        rng = f.draws(self._seed, f.FAULTS, crash.host, crash.at_ms)
        crashed, mean = crash.at_ms, self.scenario.fleet.report_minutes * MINUTE_MS - MIN_DOWN_MS
        for _ in range(fault.loop_crashes if fault is not None else 1):
            booted = min(crashed + MIN_DOWN_MS + int(rng.exponential(max(mean, 1))), f.NEVER)
            self._push(Report(booted, crash.host, crashed, crash.signature))
            self._push(Report(booted, crash.host, crashed, None))
            crashed = booted + int(rng.exponential(MIN_DOWN_MS))
        return booted

    def _push(self, report: Report) -> None:
        self._pushed += 1
        heapq.heappush(self._reports, (report.sent_ms, self._pushed, report))

    def _due(self, end: int) -> list[Report]:
        due = []
        while self._reports and self._reports[0][0] < end:
            due.append(heapq.heappop(self._reports)[2])
        return due

    def _count(self, kinds: f.Ints, reports: list[Report]) -> None:
        counted = self.ledger.reports
        crashes = sum(report.signature is not None for report in reports)
        heartbeats = int((kinds == HEARTBEAT).sum())
        counted["heartbeat"] += heartbeats
        counted["boot"] += len(kinds) - heartbeats + len(reports) - crashes
        counted["crash"] += crashes
        self.ledger.ids += len(kinds) + len(reports)


def without_halts(scenario: Scenario, seed: int, until_ms: int) -> Ledger:
    """What the same hosts would have suffered had nobody halted anything, up to a moment of the scenario's own time."""
    simulation = Simulation(scenario, seed)
    simulation.advance_unseen(until_ms)
    return simulation.ledger
