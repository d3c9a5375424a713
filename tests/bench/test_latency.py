"""What `andon bench latency` reports, without a line."""

from pathlib import Path

import pytest
from confluent_kafka import Producer
from support.waiting import DEADLINE_SECONDS, until

from pipeline.bench.brokers import build
from pipeline.bench.halts import LineHalts
from pipeline.bench.latency import Setup, Trial, figures
from pipeline.bench.latency_load import Background, TrialFleet
from pipeline.halt.signing import load_or_create
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.wire.halts import Halt, encode_halt

SETUP = Setup(halts=3, events_per_second=100, hosts=10, warm_up_seconds=1.0, seed=1)


def test_halts_that_no_crash_of_ours_decided_are_counted() -> None:
    """They are in no percentile, and are not passed over; of none but these there is no figure at all."""
    background = Background(KafkaConfig(), TrialFleet(10, 2), 100, 1)
    background.events, background.seconds = 500, 5.0
    trials = [Trial(0.1, 3), Trial(None, 4), Trial(0.3, 5)]
    found = figures(SETUP, trials, background, {}, ["broker", "archive"])
    assert (found["halts"], found["halts_decided_by_a_crash"], found["halts_without_such_a_crash"]) == (3, 2, 1)
    assert (found["p50_seconds"], found["max_seconds"]) == (0.2, 0.3)
    assert found["on"]["stages"] == ["broker", "archive"]
    assert "--enable-optimizations (PGO)" in found["on"]["python_build"]
    with pytest.raises(AndonError, match="no halt was decided by a crash"):
        figures(SETUP, [Trial(None, 4)], background, {}, [])


HALT = Halt(
    action="halt",
    fleet="bench",
    vendor="acme",
    product="agent-1",
    version="2.0",
    rings=("*",),
    epoch=1,
    issued_at=0,
    expires_at=0,
    decided_by="andon",
    policy="",
    reason="",
    evidence=None,
    kid="",
)


def test_only_the_lines_own_halts_are_measured(embedded: EmbeddedBroker, tmp_path: Path) -> None:
    """A halt that the line's key did not sign ends the bench: it would measure whoever wrote it."""
    kafka = KafkaConfig(bootstrap_servers=embedded.bootstrap_servers, topic_prefix=f"{tmp_path.name}.")
    own, stranger = load_or_create(tmp_path / "own").sign(HALT), load_or_create(tmp_path / "other").sign(HALT)
    producer = Producer({"bootstrap.servers": embedded.bootstrap_servers})

    def said(halt: Halt) -> None:
        producer.produce(f"{kafka.topic_prefix}fleet.halts", encode_halt(halt), halt.key)
        assert producer.flush(DEADLINE_SECONDS) == 0

    said(own)
    halts = LineHalts(kafka, tmp_path / "own")
    try:
        assert until("it is read", lambda: halts.poll(0.1)) == [own]
        said(stranger)
        with pytest.raises(AndonError, match=r"somebody else writes fleet\.halts of this line: unknown_key"):
            until("it is read", lambda: halts.poll(0.1))
    finally:
        halts.close()


def test_a_build_of_python_is_told_by_how_it_was_configured() -> None:
    """Profile-guided or not, linked as a whole or not: each is worth some percent."""
    assert build("'--enable-shared' '--enable-optimizations' '--with-lto'").endswith(
        "configured with --enable-optimizations (PGO), with LTO"
    )
    assert build("'--prefix=/usr'").endswith("configured without --enable-optimizations (PGO)")
