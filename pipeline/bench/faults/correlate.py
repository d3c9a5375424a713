"""Faults of the correlator: killed again and again, also while it recovers; then its state and its halts are compared
with those of a correlator that nobody disturbed, over the very same partials."""

import time
from collections import Counter
from typing import Any

import numpy as np
from confluent_kafka import Producer

from pipeline.bench.faults.combine import SETTLE_SECONDS
from pipeline.bench.faults.ledger import by_fleet, judge
from pipeline.bench.faults.line import DRAIN_SECONDS, READY_SECONDS, Correlate, Figures, Line, Setup
from pipeline.bench.faults.schedule import Kill, kills
from pipeline.bench.faults.watch import Broker, Decision, Pulse
from pipeline.correlate.checkpoint import FleetState, unpack
from pipeline.correlate.config import GROUP
from pipeline.decide import arrays
from pipeline.runtime import topic_admin
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.wire.halts import decode_halt
from pipeline.wire.topics import PARTIALS

KILLS, SHORT_KILLS = 10, 3
CALM = "calm."  # after the prefix of a scenario: the undisturbed line's topics
FLUSH_SECONDS = 30.0


def correlator_killed(setup: Setup) -> Figures:
    """kill -9, every other time before it has recovered from the kill before."""
    with Line(setup, "correlator-killed") as line:
        correlate, down = line.correlator(), Pulse()
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


def _kill(line: Line, correlate: Correlate, kill: Kill, down: Pulse) -> None:
    """The one that was just started is killed in its recovery, or some time after it."""
    stage = correlate.stage
    if kill.aim == "inside":
        line.until("it starts", lambda: stage.said("starting"), READY_SECONDS)
        moment = time.monotonic() + kill.after_seconds / 2
        line.until("it recovers", lambda: time.monotonic() > moment or stage.said("recovered"), READY_SECONDS)
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


def _catch_up(line: Line, correlate: Correlate) -> None:
    """Returns when it has taken in every partial, has said what follows, and has stopped with a last checkpoint."""

    def taken() -> dict[str, int]:
        return {name: fleet["partials"] for name, fleet in correlate.fleets().items()}

    due = dict(line.partials.by_fleet)
    try:
        line.until("the correlator has taken in every partial", lambda: taken() == due, DRAIN_SECONDS)
    except AndonError as error:
        raise AndonError(f"{error}\npartials {due}, taken in {taken()}") from None
    correlate.stage.stop()


def decided(line: Line, correlate: Correlate) -> Figures:
    """What it has decided, against what it would have decided undisturbed. It is stopped for that."""
    _catch_up(line, correlate)
    return _compare(line, _calm_run(line), line.broker.halts())


def _calm_run(line: Line) -> KafkaConfig:
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
    _catch_up(line, line.correlator("calm", prefix=prefix))
    return kafka


def _compare(line: Line, calm: KafkaConfig, said: Counter[Decision]) -> Figures:
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


def different(ours: dict[str, FleetState], theirs: dict[str, FleetState]) -> list[str]:
    """What differs between the states of two correlators, as "fleet: what"."""
    found = []
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            found.append(f"{name}: there is one only")
            continue
        left, right = _facts(ours[name]), _facts(theirs[name])
        found += [f"{name}: {what}" for what in left if not same(left[what], right[what])]
    return found


def _facts(state: FleetState) -> dict[str, Any]:
    """All that a state says, but for what is a run's own: offsets, signatures and the wall clock."""
    halts = [decode_halt(raw) for raw in state.halts]
    said = [(h.key, h.action, h.epoch, h.rings, h.policy, h.reason, h.evidence) for h in halts]
    return {
        "partials": state.partials,
        "events": state.events,
        "halts": said,
        "detector": arrays.unpack(state.detector),
    }


def same(left: Any, right: Any) -> bool:
    """Whether two unpacked states are equal, arrays to the last bit; NaN equals NaN."""
    if isinstance(left, np.ndarray):
        return (
            isinstance(right, np.ndarray) and left.dtype == right.dtype and np.array_equal(left, right, equal_nan=True)
        )
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)
