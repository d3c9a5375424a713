"""`andon bench faults --short`, as CI runs it: kills of every stage, a broker restarted, a ClickHouse that fails."""

import json
import subprocess
import sys

import pytest

from pipeline.local.kafka.jars import KafkaJars

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
    killed, others = (
        ("combiner", "correlator", "archive"),
        ("combiner-scaled", "clickhouse-failing", "brokers-restarted"),
    )
    assert set(found["scenarios"]) == {*(f"{stage}-killed" for stage in killed), *others}
    for name in ("lost", "repeated", "lost_halts", "repeated_halts", "wrong_cells"):
        assert found[name] == 0, found
    for stage in killed:
        assert found["scenarios"][f"{stage}-killed"]["kills"] == 3
        assert found["scenarios"][f"{stage}-killed"]["events"] > 1_000
    assert found["scenarios"]["combiner-killed"]["kills_in_transaction"] >= 1
    assert found["scenarios"]["archive-killed"]["kills_between_insert_and_commit"] >= 1
    assert found["scenarios"]["brokers-restarted"]["halts"] >= 3
    assert found["scenarios"]["combiner-scaled"]["slots"] == [1, 4, 2]
    refused = found["scenarios"]["clickhouse-failing"]["refusals_logged"]
    assert all(refused[word] for word in ("refused", "ACCESS_DENIED", "NOT_ENOUGH_SPACE"))
