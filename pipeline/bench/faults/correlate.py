"""Faults of the correlator: killed again and again, also while it recovers; then its state and its halts are compared
with those of a correlator that nobody disturbed, over the very same partials."""

from pipeline.bench.faults.combine import SETTLE_SECONDS
from pipeline.bench.faults.correlator import Correlate, correlator
from pipeline.bench.faults.decided import decided
from pipeline.bench.faults.schedule import Kill, kills
from pipeline.bench.faults.setup import Figures, Setup
from pipeline.bench.faults.stages import READY_SECONDS
from pipeline.bench.faults.under_test import LineUnderTest
from pipeline.bench.faults.watch import Pulse
from pipeline.runtime.waiting import Deadline

KILLS, SHORT_KILLS = 10, 3


def correlator_killed(setup: Setup) -> Figures:
    """kill -9, every other time before it has recovered from the kill before."""
    with LineUnderTest(setup, "correlator-killed") as line:
        correlate, down = correlator(line), Pulse()
        line.combiner()
        line.until("the correlator is ready", correlate.is_ready, READY_SECONDS)
        line.begin()
        line.run_for(2 * SETTLE_SECONDS)
        for kill in kills(setup.seed, line.scenario, SHORT_KILLS if setup.short else KILLS):
            _kill(line, correlate, kill, down)
            correlate.stage.start()
        line.until("the correlator is back", correlate.is_ready, READY_SECONDS)
        down.beat()
        line.run_for(2 * SETTLE_SECONDS)
        line.finish()
        line.combined()
        figures = line.account() | decided(line, correlate)
        return figures | {"kills_in_recovery": line.inside, "longest_stall_seconds": round(down.longest_seconds, 2)}


def _kill(line: LineUnderTest, correlate: Correlate, kill: Kill, down: Pulse) -> None:
    """The one that was just started is killed in its recovery, or some time after it."""
    stage = correlate.stage
    if kill.aim == "inside":
        line.until("it starts", lambda: stage.said("starting"), READY_SECONDS)
        moment = Deadline(kill.after_seconds / 2)
        line.until("it recovers", lambda: moment.has_passed or stage.said("recovered"), READY_SECONDS)
    else:
        line.until("it is ready", correlate.is_ready, READY_SECONDS)
        down.beat()
        down.stop()
        line.run_for(kill.after_seconds)
    stage.kill()
    if stage.said("recovered"):
        down.begin()
    else:
        line.inside += 1
