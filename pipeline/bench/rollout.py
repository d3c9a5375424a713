"""`andon bench rollout`: how fast a rollout system hears of a halt, and the gate answers, with many halts standing.

Records are signed as the correlator signs them, on a broker that holds many halts of a fleet already. A subscriber in
this process obeys and acknowledges all of them first; then one halt after another is produced, and the time from that
until its handler is called is taken, the broker's acknowledgement of the record included. Between them come heartbeats
that name as many of the standing halts as one may.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
from confluent_kafka import Producer

from consumers.rollout import Gate, Halts, Order, Source, Subscriber
from pipeline.bench.brokers import broker_option, described, python, running
from pipeline.bench.collect import quantile
from pipeline.bench.rollout_load import FLEET, PRODUCT, VENDOR, WAIT_SECONDS, acknowledged, beat, put, signed
from pipeline.halt.signing import SigningKey, load_or_create, load_trusted, verify
from pipeline.local.kafka.kinds import BrokerKind
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.runtime.topic_admin import apply
from pipeline.wire.halts import Halt

PAUSE_SECONDS = 0.05  # between two halts
BEAT_EVERY = 20  # halts: a heartbeat every second or two, where a correlator sends one every ten
GATES = 10  # runs of the command


class Setup(NamedTuple):
    """What is measured."""

    broker: BrokerKind
    records: int
    halts: int
    subscribers: int


def measure(setup: Setup) -> dict[str, Any]:
    """One run; what it needs is started and stopped here.

    Raises:
        AndonError: when what must come does not.
    """
    with tempfile.TemporaryDirectory(prefix="andon-bench-") as scratch, running(setup.broker, Path(scratch)) as kafka:
        keys = Path(scratch) / "keys"
        key, own = load_or_create(keys), load_or_create(Path(scratch) / "own")
        apply(kafka, replication=1)
        standing = [signed(key, f"standing-{number}") for number in range(setup.records)]
        put(Producer(producer_config(kafka, "bench-halts")), kafka, standing)
        source = Source(kafka, load_trusted(keys), [FLEET])
        return {
            "records": setup.records,
            "signatures_verified_per_second": _verified(standing, keys),
            **_gate(source),
            **_command(kafka, keys),
            **_shown(setup, kafka, keys, standing[0]),
            **_handed(setup, source, Subscriber("bench", own), key, standing),
            "on": {"broker": described(setup.broker), "cpus": os.cpu_count(), **python()},
        }


def _verified(halts: list[Halt], keys: Path) -> int:
    trusted, began = load_trusted(keys), time.monotonic()
    for halt in halts:
        verify(halt, trusted)
    return round(len(halts) / (time.monotonic() - began))


def _gate(source: Source) -> dict[str, Any]:
    """From a gate's start to its first answer, which all records are read for."""
    began = time.monotonic()
    with Gate(source) as gate:
        decision = gate.decision(VENDOR, PRODUCT, "standing-0", fleet=FLEET, ring="broad")
        ready = time.monotonic() - began
    if decision.state != "HALTED":
        raise AndonError(f"the gate does not see the halt: {decision.reason}")
    return {"gate_ready_seconds": round(ready, 3)}


def _timed(kafka: KafkaConfig, keys: Path, exit_code: int, *words: str) -> tuple[float, bytes]:
    """Wall time of a command, from start to exit, in seconds; and what it printed."""
    environ = os.environ | {
        "ANDON_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "ANDON_KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "ANDON_TRUST_KEYS_DIR": str(keys),
    }
    began, argv = time.monotonic(), [sys.executable, "-P", "-m", "pipeline", *words]
    done = subprocess.run(argv, env=environ, capture_output=True, timeout=WAIT_SECONDS)
    seconds = time.monotonic() - began
    if done.returncode != exit_code:
        raise AndonError(f"andon {words[0]} ended with {done.returncode}: {done.stdout!r} {done.stderr!r}")
    return seconds, done.stdout


def _command(kafka: KafkaConfig, keys: Path) -> dict[str, Any]:
    """Wall time of `andon gate`."""
    asked = "gate", f"{VENDOR}/{PRODUCT}/standing-0", "--fleet", FLEET, "--ring", "broad"
    seconds = sorted(_timed(kafka, keys, 1, *asked)[0] for _ in range(GATES))
    return {
        "gate_command_p50_seconds": round(quantile(seconds, 0.5), 3),
        "gate_command_max_seconds": round(max(seconds), 3),
    }


def _shown(setup: Setup, kafka: KafkaConfig, keys: Path, halt: Halt) -> dict[str, Any]:
    """Wall time of `andon halts show`, with the acknowledgements of many subscribers."""
    acks = acknowledged(keys, halt, setup.subscribers)
    put(Producer(producer_config(kafka, "bench-acks")), kafka, acks)
    seconds, row = _timed(kafka, keys, 0, "halts", "show", halt.key, "--json")
    if (found := len(json.loads(row)["obeyed"])) != setup.subscribers:
        raise AndonError(f"andon halts show knows of {found} of {setup.subscribers} subscribers")
    return {"subscribers": setup.subscribers, "halts_show_seconds": round(seconds, 3)}


def _handed(
    setup: Setup, source: Source, subscriber: Subscriber, key: SigningKey, standing: list[Halt]
) -> dict[str, Any]:
    """All that stands, and then each new halt."""
    called: dict[str, float] = {}
    news = threading.Condition()

    def obey(order: Order) -> None:
        with news:
            called[order.version] = time.monotonic()
            news.notify_all()

    producer, seconds, began = Producer(producer_config(source.kafka, "bench-halts")), [], time.monotonic()
    with Halts(source, subscriber).start(obey) as halts:
        if not halts.settle(WAIT_SECONDS):
            raise AndonError(f"{len(called)} of {setup.records} halts were handed over in {WAIT_SECONDS:g} s")
        settled = time.monotonic() - began
        for number in range(setup.halts):
            if number % BEAT_EVERY == 0:
                put(producer, source.kafka, [beat(key, standing)])
            halt = signed(key, f"new-{number}")
            sent = time.monotonic()
            put(producer, source.kafka, [halt])
            with news:
                if not news.wait_for(lambda version=halt.version: version in called, WAIT_SECONDS):  # type: ignore[misc]
                    raise AndonError(f"{halt.key} was not handed over in {WAIT_SECONDS:g} s")
            seconds.append(called[halt.version] - sent)
            standing.append(halt)
            time.sleep(PAUSE_SECONDS)
    seconds.sort()
    return {
        "all_acknowledged_seconds": round(settled, 3),
        "first_handed_over_seconds": round(min(called.values()) - began, 3),
        "halts": setup.halts,
        "handler_p50_seconds": round(quantile(seconds, 0.5), 4),
        "handler_p99_seconds": round(quantile(seconds, 0.99), 4),
        "handler_max_seconds": round(max(seconds), 4),
    }


@click.command("rollout")
@broker_option
@click.option("--records", default=10_000, show_default=True, help="halts that stand already")
@click.option("--halts", default=200, show_default=True, help="halts that come, one after another")
@click.option("--subscribers", default=1_000, show_default=True, help="who have acknowledged one of the halts")
@click.option("--json", "as_json", is_flag=True, help="one JSON object on standard output")
def command(broker: BrokerKind, records: int, halts: int, subscribers: int, as_json: bool) -> None:
    """From a halt on its topic to a subscriber's handler; the gate's wall time; who obeyed, of many subscribers."""
    found = measure(Setup(broker, records, halts, subscribers))
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, value in found.items():
        click.echo(f"{name:32} {value}")
