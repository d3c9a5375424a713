"""A simulation against the wall clock: so many seconds of event time a second, obeying halts as they come."""

import bisect
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from consumers.rollout import Order
from pipeline.runtime.clock import wall_clock_ms
from pipeline.simulate.scenario import FASTEST, Scenario, unix_ms
from pipeline.simulate.simulation import Simulation as Simulation  # for who runs one
from pipeline.simulate.sinks import Sink
from pipeline.wire.halts import Halt
from pipeline.wire.partials import UpdateId

SLICE_SECONDS = 0.05  # of wall time: how long an event may wait for its slice, and a halt for being obeyed
MAX_SLICE_MS = 60_000  # of event time


class Obeyed(NamedTuple):
    """A halt as the rollout took it: at which event time, and how many planned installations it prevented."""

    order: Order
    at_ms: int
    spared: int

    @property
    def update(self) -> UpdateId:
        """What was stopped."""
        return UpdateId(self.order.vendor, self.order.product, self.order.version)

    def of(self, halt: Halt) -> bool:
        """Whether it is this halt that was obeyed."""
        return (self.order.key, self.order.epoch) == (halt.key, halt.epoch)


def shift_ms(scenario: Scenario, speed: float, now_ms: int) -> int:
    """What to add to the scenario's times so that it ends at the wall time at which its replay ends.

    Event times then never lie in the future: at the start they are as far in the past as replaying is faster than life.
    """
    span_ms = unix_ms(scenario.ends) - unix_ms(scenario.starts)
    lasts_ms = round(span_ms / speed) if speed else 0
    return now_ms + lasts_ms - unix_ms(scenario.ends)


class Run:
    """Sends what the simulated hosts send. `orders` gives what is to be obeyed since it was last asked."""

    def __init__(self, simulation: Simulation, sink: Sink, orders: Callable[[], Iterable[Order]] = tuple) -> None:
        self.simulation = simulation
        self.sent = 0
        self.obeyed: list[Obeyed] = []
        self.crash_sent_ms: dict[int, int] = {}  # wall clock at which the crash of that moment was produced
        self._slices: list[tuple[int, int]] = []  # event time reached, and wall clock when all up to it was produced
        self._sink = sink
        self._orders = orders

    def until(self, until_ms: int, speed: float = FASTEST, on_slice: Callable[[], bool] | None = None) -> None:
        """Run to that event time; `speed` FASTEST waits for nothing but the sink. `on_slice` may end it: True stops."""
        until_ms = min(until_ms, self.simulation.end_ms)
        slice_ms = min(MAX_SLICE_MS, max(1, round(speed * SLICE_SECONDS * 1000))) if speed else MAX_SLICE_MS
        due = time.monotonic()
        while self.simulation.now_ms < until_ms:
            from_ms = self.simulation.now_ms
            next_ms = min(from_ms + slice_ms, until_ms)
            messages = self.simulation.advance(next_ms)
            if speed:
                # A slice that comes late delays what follows: event time never runs faster than it was told to.
                due = max(due + (next_ms - from_ms) / 1000 / speed, time.monotonic())
                time.sleep(max(0.0, due - time.monotonic()))
            for message in messages:
                if message.crashed_ms is not None:
                    self.crash_sent_ms[message.crashed_ms] = wall_clock_ms()
                self._sink.send(message.key, message.value)
            self.sent += len(messages)
            self._slices.append((next_ms, wall_clock_ms()))
            self._sink.serve()
            self.obey()
            if on_slice is not None and on_slice():
                return

    def sent_at(self, moment_ms: int) -> int:
        """Wall clock (unix ms) at which the crash of that moment was produced, or else the slice with that moment."""
        exact = self.crash_sent_ms.get(moment_ms)
        if exact is not None:
            return exact
        place = bisect.bisect_left(self._slices, (moment_ms, 0))
        return self._slices[min(place, len(self._slices) - 1)][1]

    def settle(self) -> None:
        """Return when everything sent has arrived."""
        self._sink.settle()

    def obey(self) -> None:
        """Take what is to be obeyed by now."""
        for order in self._orders():
            if order.action == "halt" and order.fleet == self.simulation.scenario.fleet.name:
                obeyed = Obeyed(order, self.simulation.now_ms, 0)
                spared = self.simulation.halt(obeyed.update, order.rings, obeyed.at_ms, order.except_rings)
                self.obeyed.append(obeyed._replace(spared=spared))
