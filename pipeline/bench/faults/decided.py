"""What a correlator has decided, compared with what one decides that nobody disturbs, over the very same partials."""

import time
from collections import Counter
from typing import Any

from confluent_kafka import Producer

from pipeline.bench.faults.correlator import Correlate, correlator
from pipeline.bench.faults.ledger import by_fleet, judge
from pipeline.bench.faults.setup import Figures
from pipeline.bench.faults.states import different
from pipeline.bench.faults.under_test import DRAIN_SECONDS, LineUnderTest
from pipeline.bench.faults.watch import Broker, Decision
from pipeline.correlate.checkpoint import FleetState, unpack
from pipeline.correlate.config import GROUP
from pipeline.runtime import topic_admin
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.wire.topics import PARTIALS

CALM = "calm."  # after the prefix of a scenario: the undisturbed line's topics
FLUSH_SECONDS = 30.0
CATCH_UP_SECONDS = 600.0  # each partial waits for three brokers: 35 a second on two idle cores, fewer beside tests


def _catch_up(line: LineUnderTest, correlate: Correlate) -> None:
    """Returns when it has taken in every partial, has said what follows, and has stopped with a last checkpoint."""

    def taken() -> dict[str, int]:
        return {name: fleet["partials"] for name, fleet in correlate.fleets().items()}

    due, found, moved = dict(line.partials.by_fleet), taken(), time.monotonic()

    def caught_up() -> bool:
        nonlocal found, moved
        before, found = found, taken()
        if found != before:
            moved = time.monotonic()
        elif time.monotonic() > moved + DRAIN_SECONDS:
            raise AndonError(f"{line.scenario}: the correlator takes in nothing for {DRAIN_SECONDS:.0f} s")
        return found == due

    try:
        line.until("the correlator has taken in every partial", caught_up, CATCH_UP_SECONDS)
    except AndonError as error:
        raise AndonError(f"{error}\npartials {due}, taken in {found}") from None
    line.stop(correlate.stage)


def decided(line: LineUnderTest, correlate: Correlate) -> Figures:
    """What it has decided, against what it would have decided undisturbed. It is stopped for that."""
    _catch_up(line, correlate)
    return _compare(line, _calm_run(line), line.broker.halts())


def _calm_run(line: LineUnderTest) -> KafkaConfig:
    """A correlator on a copy of the committed partials, from the first to the last without a fault."""
    prefix = line.kafka.topic_prefix + CALM
    kafka = line.with_prefix(prefix)
    topic_admin.apply(kafka)
    producer = Producer(producer_config(kafka, "bench-copy"))
    for key, value in line.partials.records:
        producer.produce(prefix + PARTIALS.name, value, key)
        producer.poll(0)
    if producer.flush(FLUSH_SECONDS):
        raise AndonError("the partials could not be copied")
    _catch_up(line, correlator(line, "calm", prefix=prefix))
    return kafka


def _compare(line: LineUnderTest, calm: KafkaConfig, said: Counter[Decision]) -> Figures:
    ours, theirs = _states(line.kafka), _states(calm)
    events = judge(by_fleet(line.ledger.events()), {name: state.events for name, state in ours.items()})
    due = Broker(calm).halts()
    halts = judge(due, said)
    return {
        "seen": events.seen,
        "lost": events.lost,
        "repeated": events.repeated,
        "halts": halts.produced,
        "lost_halts": halts.lost,
        "repeated_halts": halts.repeated + sum(count - 1 for count in due.values()),
        "different_states": different(ours, theirs),
    }


def _states(kafka: KafkaConfig) -> dict[str, FleetState]:
    """Every fleet's state in the changelog."""
    table: dict[bytes, bytes] = {}
    for message in Broker(kafka).read(f"{GROUP}-state-changelog"):
        key: Any = message.key()
        table[key] = message.value() or b""
    return {found.header.fleet: found.state for found in unpack(table) if found.state is not None}
