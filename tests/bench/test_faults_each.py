"""`andon bench faults`, one scenario after another in its short form, on Apache Kafka: many kills of one kind each."""

import json
import subprocess

import pytest

from pipeline.bench.faults.main import ONE_OF_EACH, SCENARIOS
from pipeline.local.kafka.jars import KafkaJars
from pipeline.local.machine.process import andon

TIMEOUT_SECONDS = 900.0
EACH = [name for name in SCENARIOS if name != ONE_OF_EACH]  # which has a test of its own, that runs every time


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_SECONDS + 60)
@pytest.mark.parametrize("name", EACH)
def test_a_fault_loses_and_repeats_nothing(kafka_jars: KafkaJars, name: str) -> None:
    """Every event, halt and aggregate is there once, by a ledger of the bench's own."""
    assert kafka_jars.java
    argv = andon("bench", "faults", "--short", "--scenario", name, "--json")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    report = json.loads(done.stdout)
    assert report["troubles"] == []
    assert report["scenarios"][name]["events"] > 1_000
