"""`andon bench faults --short`, as CI runs it: each kind of fault once, and every event, halt and aggregate judged."""

import json
import subprocess

import pytest

from pipeline.bench.faults.main import AIMED
from pipeline.local.kafka.jars import KafkaJars
from pipeline.local.machine.process import andon

TIMEOUT_SECONDS = 900.0  # a quiet machine needs a fifth of it; other tests run meanwhile


@pytest.mark.timeout(TIMEOUT_SECONDS + 60)
def test_nothing_is_lost_and_nothing_is_counted_twice(kafka_jars: KafkaJars) -> None:
    """On three Kafka brokers, by a ledger of its own: every event and every halt is there once, and every aggregate;
    and each fault was one: aimed kills hit, refusals of each kind are in the archive's log."""
    assert kafka_jars.java
    argv = andon("bench", "faults", "--short", "--json")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    report = json.loads(done.stdout)
    assert report["troubles"] == []
    (found,) = report["scenarios"].values()
    for name in ("lost", "repeated", "lost_by_brokers", "repeated_by_brokers", "lost_halts", "repeated_halts"):
        assert report[name] == 0, found
    assert (report["wrong_cells"], found["different_states"]) == (0, [])
    assert found["events"] > 5_000
    assert set(found["seen"].values()) == {found["events"]}
    assert found["halts"] >= 3
    assert found["kills"] >= 5  # combiner, archive, ClickHouse, and the correlator twice; more when one missed its aim
    aimed = {name: found[name] for name in AIMED}
    assert aimed == dict.fromkeys(AIMED, 1), found
    assert (found["slots"], found["broker_restarts"], found["cut_seconds"]) == ([1, 3, 2], 1, 10.0)
    assert all(found["refusals_logged"][word] for word in ("refused", "ACCESS_DENIED", "NOT_ENOUGH_SPACE"))
