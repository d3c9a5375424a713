"""`andon bench faults --short`, as CI runs it: three kills of each stage and a broker restarted, under load."""

import json
import subprocess
import sys

import pytest

from pipeline.local.kafka_jars import KafkaJars

TIMEOUT_SECONDS = 600.0


@pytest.mark.system
@pytest.mark.timeout(TIMEOUT_SECONDS + 60)
def test_nothing_is_lost_and_nothing_is_counted_twice(kafka_jars: KafkaJars) -> None:
    """On three Kafka brokers, by a ledger of its own: every event and every halt is there once, and every aggregate."""
    assert kafka_jars.java
    argv = [sys.executable, "-m", "pipeline", "bench", "faults", "--short", "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    found = json.loads(done.stdout)
    assert set(found["scenarios"]) == {"combiner-killed", "correlator-killed", "archive-killed", "brokers-restarted"}
    for name in ("lost", "repeated", "lost_halts", "repeated_halts", "wrong_cells"):
        assert found[name] == 0, found
    for name in ("combiner-killed", "correlator-killed", "archive-killed"):
        assert found["scenarios"][name]["kills"] == 3
        assert found["scenarios"][name]["events"] > 1_000
    assert found["scenarios"]["combiner-killed"]["kills_in_transaction"] >= 1
    assert found["scenarios"]["archive-killed"]["kills_between_insert_and_commit"] >= 1
    assert found["scenarios"]["brokers-restarted"]["halts"] >= 3
