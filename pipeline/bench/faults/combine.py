"""Faults of the combiner: killed again and again, and scaled up and down."""

from pipeline.bench.faults.schedule import kills
from pipeline.bench.faults.setup import Figures, Setup
from pipeline.bench.faults.under_test import LineUnderTest

KILLS, SHORT_KILLS = 20, 3
SETTLE_SECONDS = 2.0  # undisturbed, before the first fault and after the last
BETWEEN_SECONDS = 12.0  # between two changes of scale


def combiner_killed(setup: Setup) -> Figures:
    """kill -9, every other time inside an open transaction."""
    with LineUnderTest(setup, "combiner-killed") as line:
        combiner = line.combiner()
        line.begin()
        line.run_for(SETTLE_SECONDS)
        for kill in kills(setup.seed, line.scenario, SHORT_KILLS if setup.short else KILLS):
            line.kill(combiner, kill, line.broker.open_transaction)
            combiner.start()
        line.run_for(SETTLE_SECONDS)
        line.finish()
        line.combined()
        return line.account() | {"kills_in_transaction": line.inside}


def combiner_scaled(setup: Setup) -> Figures:
    """From one slot to four, and down to two, under load."""
    with LineUnderTest(setup, "combiner-scaled") as line:
        first = line.combiner(0)
        line.begin()
        line.run_for(BETWEEN_SECONDS / 2)
        more = [line.combiner(slot) for slot in (1, 2, 3)]
        line.run_for(BETWEEN_SECONDS)
        for stage in more[1:]:
            line.stop(stage)
        line.run_for(BETWEEN_SECONDS)
        line.finish()
        line.combined()
        assigned = sum(stage.count("partitions assigned") for stage in (first, *more))
        return line.account() | {"slots": [1, 4, 2], "assignments": assigned}
