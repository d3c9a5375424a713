"""One act of the demo: a healthy fleet, then the incident, with a rollout that obeys the halts of the running line."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from pipeline.demo.account import Account, clock, counted, power, settle
from pipeline.demo.progress import HARMLESS_SECONDS, Leg, Progress, events_a_second, events_read, minutes_ms
from pipeline.demo.rollout import Line
from pipeline.demo.watch import Seen
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.logging import printable
from pipeline.runtime.waiting import Deadline, wait_for
from pipeline.simulate.run import Run, shift_ms
from pipeline.simulate.scenario import FASTEST, Scenario, unix_ms
from pipeline.simulate.simulation import Simulation

CATCH_UP_SECONDS = 60.0
POLL_SECONDS = 0.05
HEAR_SECONDS = 15.0  # for acknowledgements
TOLD_SECONDS = 2.0  # between two lines of the incident

Say = Callable[[str], None]


class Pace(NamedTuple):
    """How event time is compressed: fast where nothing happens, slow around the release, for the fleet's clock runs on
    while the detector thinks: at speed 60 a tenth of a second costs six of the fleet's seconds."""

    events_per_second: float = 30_000.0  # where nothing happens
    approach_minutes: float = 2.0  # before the release, at `speed`
    speed: float = 60.0
    patience_minutes: float = 15.0  # after the release; past it, at `hurry`
    hurry: float = 300.0
    harmless_seconds: float = HARMLESS_SECONDS  # of ours, for a story in which nothing is at fault


QUICK = Pace(approach_minutes=1.0, speed=120.0, patience_minutes=10.0, hurry=900.0, harmless_seconds=30.0)


class Act:
    """Plays a scenario against the line."""

    def __init__(self, scenario: Scenario, seed: int, line: Line, pace: Pace, say: Say) -> None:
        self._seed, self._pace, self._watch, self._say = seed, pace, line.watch, say
        self._rollout = line.rollout
        self._shift = shift_ms(scenario, FASTEST, wall_clock_ms())
        self._simulation = Simulation(scenario, seed, self._shift)
        self._run = Run(self._simulation, line.sink, line.rollout.orders)
        self._scenario = scenario
        self._began = time.monotonic()
        self._told = 0.0
        self._announced = 0
        self._progress = Progress([Leg(self._simulation.end_ms, pace.speed)], self._simulation.now_ms)

    def play(self, correlate_url: str) -> Account:
        """The whole act, and its account."""
        self._rollout.settle(self._run.obey)
        if not self._scenario.guilty:
            self._harmless()
        else:
            release = unix_ms(self._scenario.incident_at) + self._shift
            self._healthy(release - minutes_ms(self._pace.approach_minutes), correlate_url)
            self._run.until(release, self._pace.speed, self._tell_progress)
            self._incident(release)
            self._go_on(Leg(self._simulation.end_ms, self._fast()))
        self._catch_up(correlate_url)
        self._hear_all()
        return settle(self._run, self._watch, self._seed, time.monotonic() - self._began)

    def _fast(self) -> float:
        return max(self._pace.speed, self._pace.events_per_second / events_a_second(self._scenario))

    def _go_on(self, *legs: Leg) -> None:
        """With a word now and then on how far it has come."""
        self._progress = Progress(legs, self._simulation.now_ms)
        for until_ms, speed in legs:
            self._run.until(until_ms, speed, self._tell_progress)

    def _begin(self) -> None:
        fleet = self._scenario.fleet
        self._say(f"{self._scenario.title}")
        self._say(
            f"{counted(fleet.hosts, 'host')} report; on their way: {counted(len(self._scenario.updates), 'update')}"
        )

    def _harmless(self) -> None:
        """There is no moment to slow down for: so long that the detector can follow, and that a person can wait."""
        self._begin()
        self._say("Nothing that is released is at fault: nothing should be halted")
        span_seconds = (self._simulation.end_ms - self._simulation.now_ms) / 1000
        self._go_on(Leg(self._simulation.end_ms, max(self._pace.speed, span_seconds / self._pace.harmless_seconds)))

    def _now(self) -> str:
        return clock(self._simulation.now_ms - self._shift)

    def _healthy(self, until_ms: int, correlate_url: str) -> None:
        self._begin()
        fleet = self._scenario.fleet
        began = time.monotonic()
        self._go_on(Leg(until_ms, self._fast()))
        self._catch_up(correlate_url)
        seconds, crashes = time.monotonic() - began, self._simulation.ledger.reports["crash"]
        since = datetime.fromtimestamp(unix_ms(self._scenario.starts) / 1000, UTC)
        self._say(
            f"{since:%H:%M} to {self._now()[:5]} UTC, sent and judged in {seconds:.0f} s: "
            f"{counted(self._run.sent, 'event')}, {counted(crashes, 'crash')}, "
            f"{counted(len(self._watch.halted(fleet.name)), 'halt')}"
        )

    def _incident(self, release_ms: int) -> None:
        for update in sorted(self._scenario.guilty):
            self._say(f"{self._now()} UTC  {printable('/'.join(update))} is released")
        patience = release_ms + minutes_ms(self._pace.patience_minutes)
        account = unix_ms(self._scenario.account_at) + self._shift
        legs = [Leg(min(patience, account), self._pace.speed), Leg(account, self._pace.hurry)]
        self._progress = Progress(legs, self._simulation.now_ms)
        self._run.until(min(patience, account), self._pace.speed, self._tell)
        if not self._is_over():
            self._run.until(account, self._pace.hurry, self._tell)

    def _is_over(self) -> bool:
        guilty = self._scenario.guilty
        return bool(guilty) and guilty <= {o.update for o in self._run.obeyed}

    def _tell(self) -> bool:
        self._tell_halts()
        if self._is_over():
            return True
        if time.monotonic() - self._told >= TOLD_SECONDS:
            self._told = time.monotonic()
            for update in sorted(self._scenario.guilty):
                reached, lost = self._simulation.reached(update), self._simulation.ledger.lost(update)
                reported = self._simulation.ledger.reports["crash"]
                evidence = power(self._watch.evidence(self._scenario.fleet.name, update))
                left = f"{self._progress.left_seconds(self._simulation.now_ms):.0f}"
                self._say(
                    f"{self._now()} UTC  reached {counted(reached, 'host')}, {lost:,} down; "
                    f"{counted(reported, 'crash report')} in all; evidence {evidence}; at most {left} s left"
                )
        return False

    def _tell_progress(self) -> bool:
        self._tell_halts()
        if line := self._progress.line(self._simulation.now_ms, self._shift):
            crashes = self._simulation.ledger.reports["crash"]
            halts = len(self._watch.halted(self._scenario.fleet.name))
            sent = counted(self._run.sent, "event")
            self._say(f"{line}; {sent}, {counted(crashes, 'crash')}, {counted(halts, 'halt')}")
        return False

    def _tell_halts(self) -> bool:
        """What was obeyed, once its record was seen here, too: its words are the record's."""
        self._watch.read()
        for obeyed in self._run.obeyed[self._announced :]:
            seen = next((s for s in self._watch.halts if obeyed.of(s.halt)), None)
            if seen is None:
                break
            self._say(self._halt_line(seen, obeyed.spared))
            self._announced += 1
        return False

    def _halt_line(self, seen: Seen, spared: int) -> str:
        halt = seen.halt
        return (
            f"{self._now()} UTC  HALT {printable('/'.join(seen.update))} in {', '.join(map(printable, halt.rings))}, "
            f"signed by {halt.kid}: {printable(halt.reason)}. The rollout stops with {counted(spared, 'host')} still "
            "to come"
        )

    def _hear_all(self) -> None:
        """Wait until what was obeyed is acknowledged, and the watch has read that."""
        self._rollout.settle(self._run.obey)
        obeyed = [o for o in self._run.obeyed if not o.order.doubt]

        def heard() -> bool:
            self._tell_halts()
            return all(any(o.of(s.halt) and self._watch.obeyed(s) for s in self._watch.halts) for o in obeyed)

        if not wait_for(heard, HEAR_SECONDS, POLL_SECONDS):
            raise AndonError(f"what was obeyed is not acknowledged within {HEAR_SECONDS:g} s")

    def _catch_up(self, correlate_url: str) -> None:
        """Wait until the detector has taken in every event: a backlog is no part of incident or account."""
        self._run.settle()
        fleet = self._scenario.fleet.name
        deadline = Deadline(CATCH_UP_SECONDS)
        while True:
            try:
                count, why = events_read(correlate_url, fleet), "it stalls"
            except AndonError as error:  # the supervisor may be starting it anew
                count, why = 0, str(error)
            if count >= self._run.sent:
                break
            if deadline.has_passed:
                raise AndonError(f"the detector has read {count:,} of {self._run.sent:,} events of {fleet}: {why}")
            self._run.obey()
            time.sleep(POLL_SECONDS)
        self._run.obey()
        self._tell_halts()
