"""`andon bench latency`: from producing the crash that decides to the halt readable on `fleet.halts`.

The whole line runs as `andon up` starts it, under a steady load, which the archive stores meanwhile. Then one update
after another turns bad: its hosts crash one at a time until its halt comes. Which crash decided is in the halt itself:
`evidence.stream_time` is the moment of the newest crash with the update in the partial that decided, every crash has a
moment of its own, and crashes lie further apart than a micro-batch lasts, so a partial has one of them at most. A halt
of which none of these crashes was the newest is counted apart.
"""

import json
import os
import random
import tempfile
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from confluent_kafka import Producer

from pipeline.bench.brokers import described, python
from pipeline.bench.halts import LineHalts
from pipeline.bench.latency_load import FLEET, Background, TrialFleet
from pipeline.bench.view import get
from pipeline.local.machine.usage import peak_rss_bytes, usage
from pipeline.local.stack import LocalStack
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.runtime.waiting import Deadline
from pipeline.wire import topics
from pipeline.wire.halts import Halt

APART_SECONDS = (0.15, 0.25)  # between crashes; a micro-batch lasts 0.1 s at most
MAX_CRASHES = 60  # of one update, before the bench only waits for its halt
LATE_SECONDS = 30.0
POLICY = "[default]\nmax_halts_per_hour = 10000\n"  # the bench halts more in a minute than a person should in a year


class Setup(NamedTuple):
    """What is measured."""

    halts: int
    events_per_second: int
    hosts: int
    warm_up_seconds: float
    seed: int


class Trial(NamedTuple):
    """One update's end."""

    seconds: float | None  # from the deciding crash to the halt; None when no crash of ours decided
    crashes: int  # hosts that had crashed by then, as the halt says


class Crasher:
    """Makes hosts of an update crash, one at a time, until its halt comes."""

    def __init__(self, kafka: KafkaConfig, fleet: TrialFleet, halts: LineHalts, seed: int) -> None:
        self._producer = Producer(producer_config(kafka, "bench-crashes"))
        self._topic = kafka.topic_prefix + topics.EVENTS.name
        self._fleet, self._halts = fleet, halts
        self._random = random.Random(seed)

    def run(self, trial: int) -> Trial:
        """Raises AndonError when the halt does not come."""
        produced: dict[int, float] = {}
        hosts = list(range(trial, self._fleet.hosts, self._fleet.trials))
        for host in self._random.sample(hosts, MAX_CRASHES):
            moment = wall_clock_ms()
            key, value = self._fleet.crash(host, moment, f"0xbad{trial:03d}")
            produced[moment] = time.monotonic()
            self._producer.produce(self._topic, value, key)
            self._producer.poll(0)
            found = self._wait(trial, self._random.uniform(*APART_SECONDS))
            if found is not None:
                return self._attribute(found, produced)
        if (found := self._wait(trial, LATE_SECONDS)) is None:
            raise AndonError(f"no halt of {self._fleet.update(trial)} after {MAX_CRASHES} crashed hosts")
        return self._attribute(found, produced)

    def close(self) -> None:
        """Wait for the last acknowledgement."""
        self._producer.flush(LATE_SECONDS)

    def _attribute(self, found: tuple[Halt, float], produced: dict[int, float]) -> Trial:
        halt, at = found
        assert halt.evidence is not None, "halts of the correlator carry evidence"
        decided = produced.get(halt.evidence.stream_time)
        return Trial(None if decided is None else at - decided, halt.evidence.crashed_hosts)

    def _wait(self, trial: int, seconds: float) -> tuple[Halt, float] | None:
        """The update's halt, and when it was read (monotonic)."""
        deadline = Deadline(seconds)
        while not deadline.has_passed:
            found, at = self._halts.poll(deadline.left_seconds), time.monotonic()
            for halt in found:
                if halt.product == self._fleet.update(trial).product:
                    return halt, at
        return None


def measure(setup: Setup) -> dict[str, Any]:
    """One run, everything started and stopped here, in a temporary directory on disk."""
    fleet = TrialFleet(setup.hosts, trials=max(200, setup.halts))
    with tempfile.TemporaryDirectory(prefix="andon-bench-") as scratch:
        policy, config = Path(scratch) / "policy.toml", Path(scratch) / "andon.toml"
        policy.write_text(POLICY, "utf-8")
        config.write_text(f"[correlate]\npolicy_file = {json.dumps(str(policy))}\n", "utf-8")
        with LocalStack(Path(scratch) / "line", fleet=FLEET, config=config) as line:
            background, trials = run(setup, fleet, line.info.kafka, Path(line.info.keys_dir))
            info = line.refresh()
            shown = get(info.correlate_url + "/state") or {}
            return figures(setup, trials, background, shown, info.stages) | {
                "peak_rss_bytes": peak_rss_bytes(info.pids["correlate"]),
                **{f"{name}_cpu_seconds": _cpu_seconds(info.pids[name]) for name in ("correlate", "combine")},
            }


def _cpu_seconds(pid: int) -> float:
    found = usage(pid)
    return round(found.cpu_seconds, 2) if found else 0.0


def run(setup: Setup, fleet: TrialFleet, kafka: KafkaConfig, keys: Path) -> tuple[Background, list[Trial]]:
    """The load, and every halt in it."""
    background = Background(kafka, fleet, setup.events_per_second, setup.seed)
    halts = LineHalts(kafka, keys)
    background.start()
    try:
        time.sleep(setup.warm_up_seconds)
        crasher = Crasher(kafka, fleet, halts, setup.seed)
        trials = [crasher.run(trial) for trial in range(setup.halts)]
        crasher.close()
    finally:
        background.stop()
        halts.close()
    return background, trials


def figures(
    setup: Setup, trials: list[Trial], background: Background, shown: dict[str, Any], stages: Iterable[str]
) -> dict[str, Any]:
    """What is reported; `stages` are those that ran."""
    seconds = [trial.seconds for trial in trials if trial.seconds is not None]
    if not seconds:
        raise AndonError("no halt was decided by a crash")
    return {
        "events": background.events,
        "events_per_second": round(background.events / background.seconds),
        "seconds": round(background.seconds, 1),
        "halts": len(trials),
        "halts_decided_by_a_crash": len(seconds),
        "halts_without_such_a_crash": len(trials) - len(seconds),
        "p50_seconds": round(float(np.percentile(seconds, 50)), 4),
        "p99_seconds": round(float(np.percentile(seconds, 99)), 4),
        "max_seconds": round(max(seconds), 4),
        "median_crashes_to_halt": float(np.median([trial.crashes for trial in trials])),
        "changelog_bytes_per_second": round(shown.get("changelog_bytes_per_second", 0.0)),
        "on": {
            **python(),
            "faust": version("faust-streaming"),
            "aiokafka": version("aiokafka"),
            "confluent_kafka": version("confluent-kafka"),
            "broker": described("embedded"),
            "stages": list(stages),
            "cpus": os.cpu_count(),
            **setup._asdict(),
        },
    }


@click.command("latency")
@click.option("--halts", default=60, show_default=True, help="updates that turn bad, one after another")
@click.option("--events-per-second", default=10_000, show_default=True, help="background load")
@click.option("--hosts", default=1_000_000, show_default=True)
@click.option("--warm-up-seconds", default=30.0, show_default=True, help="healthy load before the first crash")
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="one JSON object on standard output")
def command(halts: int, events_per_second: int, hosts: int, warm_up_seconds: float, seed: int, as_json: bool) -> None:
    """From the deciding crash to the readable halt, on the whole line."""
    found = measure(Setup(halts, events_per_second, hosts, warm_up_seconds, seed))
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, value in found.items():
        click.echo(f"{name:28} {value}")
