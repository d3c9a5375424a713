"""19 July 2024 with hosts that are never heard of again: what is told by the others suffices."""

from datetime import UTC, datetime

import msgspec

from pipeline.combine.emit import partials_of
from pipeline.combine.event_batch import EventBatch
from pipeline.combine.memory import Memory
from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet
from pipeline.simulate.scenario import Scenario, load, unix_ms
from pipeline.simulate.simulation import Simulation
from pipeline.wire.learned import LearnedDecoder

RELEASE = unix_ms(datetime(2024, 7, 19, 4, 9, tzinfo=UTC))


def scenario(never_report_share: float) -> Scenario:
    """From two and a half hours before the release on, without the outage in a cloud."""
    whole = load("crowdstrike-2024-07-19", hosts=20_000)
    updates = [
        msgspec.structs.replace(one, fault=msgspec.structs.replace(one.fault, never_report_share=never_report_share))
        if one.fault
        else one
        for one in whole.updates
    ]
    starts = datetime(2024, 7, 19, 1, 30, tzinfo=UTC)
    return msgspec.structs.replace(whole, updates=tuple(updates), starts=starts, outages=())


def down_at_halt(never_report_share: float) -> int:
    """Hosts that the update has crashed when it is halted, by the simulator's ledger."""
    simulation = Simulation(scenario(never_report_share), seed=1)
    (guilty,) = simulation.scenario.guilty
    detector, memory, decoder = Detector("acme", PolicySet()), Memory(1 << 16), LearnedDecoder()
    while simulation.now_ms < simulation.end_ms:
        step_ms = 60_000 if simulation.now_ms < RELEASE else 5_000
        sent = [message.value for message in simulation.advance(simulation.now_ms + step_ms)]
        batch = EventBatch(memory)
        batch.add(decoder.decode_all(sent, lambda index, error: None), lambda index: (0, index))
        fold = batch.fold()
        memory.commit(fold)
        halts = [halt for each in partials_of(fold, "0", simulation.now_ms) for halt in detector.step(each).halts]
        if any(halt.version == guilty.version for halt in halts):
            return simulation.ledger.lost(guilty)
    raise AssertionError("never halted")


def test_nine_of_ten_that_never_report_cost_no_more_than_as_many_hosts_again() -> None:
    """With 90 % never heard of again at most twice as many hosts are down at the halt as when all report."""
    assert down_at_halt(0.9) <= 2 * down_at_halt(0.0)
