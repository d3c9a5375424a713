"""Faults of the brokers under the whole line: the leader killed, the network cut, each restarted in turn."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.bench.faults.archive import Storing
from pipeline.bench.faults.combine import SETTLE_SECONDS
from pipeline.bench.faults.correlator import Correlate, correlator
from pipeline.bench.faults.decided import decided
from pipeline.bench.faults.setup import Figures, Setup
from pipeline.bench.faults.stages import READY_SECONDS
from pipeline.bench.faults.under_test import LineUnderTest
from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import client_config
from pipeline.wire import topics

CUT_SECONDS, SHORT_CUT_SECONDS = 30.0, 10.0
DOWN_SECONDS = 12.0  # of a broker that was killed
AFTER_SECONDS = 12.0  # of load after a fault: halts must go on within ten
HALTS_WITHIN_SECONDS = 10.0
SYNC_SECONDS = 90.0
LEADER_KILLS, SHORT_LEADER_KILLS = 2, 1
BROKER_SECONDS = 120.0  # to start or stop one
_HANDS = ThreadPoolExecutor(1, "brokers")  # a broker ends with the thread that started it: this one stays


def leader_killed(setup: Setup) -> Figures:
    """kill -9 of whichever broker leads `fleet.partials`, and back later; again, whoever leads then."""
    with Storing(setup, "leader-killed") as line:
        cluster, correlate = cluster_of(setup), _begin(line)
        stalls = []
        count = SHORT_LEADER_KILLS if setup.short else LEADER_KILLS
        for _ in range(count):
            number = leader(line)
            moment = time.monotonic()
            cluster.kill(number)
            line.run_for(DOWN_SECONDS)
            _meanwhile(line, partial(cluster.restart, number))
            _in_sync(line)
            line.run_for(AFTER_SECONDS)
            stalls.append(line.halts.longest_gap(moment))
        return whole_account(line, correlate, stalls) | {"broker_kills": count}


def network_cut(setup: Setup) -> Figures:
    """Nothing reaches any broker for a while, neither from the line nor from the other brokers."""
    with Storing(setup, "network-cut") as line:
        correlate = _begin(line)
        seconds = SHORT_CUT_SECONDS if setup.short else CUT_SECONDS
        cut(setup, line, seconds)
        moment = time.monotonic()
        line.run_for(2 * AFTER_SECONDS)
        return whole_account(line, correlate, [line.halts.longest_gap(moment)]) | {"cut_seconds": seconds}


def cut(setup: Setup, line: LineUnderTest, seconds: float) -> None:
    """Nothing passes for so long. Raises AndonError where no proxies stand before the brokers."""
    if setup.proxies is None:
        raise AndonError("a cut needs proxies")
    setup.proxies.cut()
    try:
        line.run_for(seconds)
    finally:
        setup.proxies.heal()


def brokers_restarted(setup: Setup) -> Figures:
    """Each in turn, in good order; the next when all replicas are in sync again. The short form restarts the leader."""
    with Storing(setup, "brokers-restarted") as line:
        cluster, correlate = cluster_of(setup), _begin(line)
        numbers = [leader(line)] if setup.short else sorted(cluster.pids)
        stalls = []
        for number in numbers:
            moment = time.monotonic()
            restart(line, cluster, number)
            line.run_for(AFTER_SECONDS)
            stalls.append(line.halts.longest_gap(moment))
        return whole_account(line, correlate, stalls) | {"broker_restarts": len(numbers)}


def restart(line: LineUnderTest, cluster: KafkaCluster, number: int) -> None:
    """A broker, in good order; returns when all replicas are in sync again."""
    _meanwhile(line, partial(cluster.stop, number))
    _meanwhile(line, partial(cluster.restart, number))
    _in_sync(line)


def _meanwhile(line: LineUnderTest, act: Callable[[], None]) -> None:
    """Do this, and go on tending the stages."""
    doing = _HANDS.submit(act)
    line.until("a broker starts or stops", doing.done, BROKER_SECONDS)
    doing.result()


def _begin(line: LineUnderTest) -> Correlate:
    """The whole line under load, halts flowing."""
    correlate = correlator(line)
    line.combiner()
    line.until("the correlator is ready", correlate.is_ready, READY_SECONDS)
    line.begin()
    line.until("the first halts", lambda: len(line.halts.halts) >= 3, READY_SECONDS)
    return correlate


def whole_account(line: Storing, correlate: Correlate, stalls: list[float]) -> Figures:
    """Three judgements in one: partials, halts, ClickHouse; what is lost or repeated anywhere adds up."""
    line.run_for(SETTLE_SECONDS)
    line.finish()
    line.combined()
    partials = line.account()
    decisions = decided(line, correlate)
    line.settled()
    stored = line.stored_account()
    parts = {"partials": partials, "correlator": decisions, "clickhouse": stored}
    both = {name: sum(part[name] for part in parts.values()) for name in ("lost", "repeated")}
    return {
        **stored,
        **decisions,
        **partials,
        **both,
        "seen": {name: part["seen"] for name, part in parts.items()},
        "halts_stalled_seconds": [round(stall, 2) for stall in stalls],
        "halts_late": sum(stall > HALTS_WITHIN_SECONDS for stall in stalls),
    }


def cluster_of(setup: Setup) -> KafkaCluster:
    """Raises AndonError when there is none."""
    if not isinstance(setup.brokers, KafkaCluster):
        raise AndonError("this scenario needs --broker kafka")
    return setup.brokers


def leader(line: LineUnderTest) -> int:
    """The broker that leads `fleet.partials`."""
    name = line.kafka.topic_prefix + topics.PARTIALS.name
    found = AdminClient(client_config(line.kafka, "bench-leader")).list_topics(name, timeout=READY_SECONDS)
    return int(found.topics[name].partitions[0].leader)


def _in_sync(line: LineUnderTest) -> None:
    admin = AdminClient(client_config(line.kafka, "bench-sync"))

    def complete() -> bool:
        try:
            found = admin.list_topics(timeout=1).topics
        except KafkaException:
            return False
        mine = [topic for name, topic in found.items() if name.startswith(line.kafka.topic_prefix)]
        return all(len(p.isrs) == len(p.replicas) for topic in mine for p in topic.partitions.values())

    line.until("all replicas are in sync", complete, SYNC_SECONDS)
