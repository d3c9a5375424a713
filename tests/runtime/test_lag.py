"""Where the logs end that a consumer is assigned: what it makes of a broker that knows less than it does."""

import pytest
from confluent_kafka import Consumer, TopicPartition
from prometheus_client import REGISTRY

from pipeline.runtime import lag
from pipeline.runtime.lag import Behind, LagReport, Lags


class CutOff(Consumer):
    """Its broker says for some answers what it knew before it was cut off."""

    def __init__(self, stale_answers: int) -> None:
        super().__init__({"group.id": "none"})
        self.stale_answers = stale_answers

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        """Of any log."""
        self.stale_answers -= 1
        return (3, 80) if self.stale_answers >= 0 else (5, 120)


def bounds(stale_answers: int, *committed: int) -> list[tuple[int, int]]:
    """What is believed of logs of which this is committed."""
    consumer = CutOff(stale_answers)
    places = [TopicPartition("t", number, offset) for number, offset in enumerate(committed)]
    found = LagReport(consumer, "combine", "").began(places)
    consumer.close()
    return list(found.values())


def test_an_end_before_what_is_committed_is_asked_for_again() -> None:
    """The broker that led the log before may answer once more: to begin anew would count everything twice."""
    assert bounds(4, -1001, 100) == [(5, 120), (5, 120)]
    assert bounds(4, -1001, 80) == [(3, 80), (3, 80)]


def test_an_end_that_stays_before_it_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is another then."""
    monkeypatch.setattr(lag, "STALE_SECONDS", 0.2)
    assert bounds(1_000, 100) == [(3, 80)]


def test_what_waits_is_younger_than_what_was_read_and_than_the_last_moment_without_any() -> None:
    """A record after an hour's silence has not waited for an hour; a backlog from before the start has, as is known
    once the first of it was read."""
    behind, at = Behind(), ("t", 0)
    assert behind.look({at: 500}, 10_000) == {at: 0.0}
    assert behind.look({at: 500}, 11_000) == {at: 1.0}
    behind.read(at, 4_000)
    assert behind.look({at: 400}, 12_000) == {at: 8.0}
    behind.look({at: 0}, 20_000)
    assert behind.look({at: 1}, 21_000) == {at: 1.0}
    behind.read(at, 20_500)
    assert behind.look({at: 1, ("t", 1): 0}, 23_000) == {at: 2.5, ("t", 1): 0.0}


def test_nobody_waits_for_a_marker() -> None:
    """Behind the last dead letter stands the marker of its transaction for as long as nothing else comes; in a log that
    is written without transactions one message is one that waits."""
    times_ms = iter((1_000, 61_000, 61_000))
    lags = Lags("archive", "p.", lambda: next(times_ms))
    for _ in range(2):
        lags.show({("p.fleet.deadletter", 0): 1, ("p.fleet.halts", 0): 1})
    shown = {
        topic: REGISTRY.get_sample_value("andon_lag_seconds", {"stage": "archive", "topic": topic, "partition": "0"})
        for topic in ("fleet.deadletter", "fleet.halts")
    }
    lags.show({})
    assert shown == {"fleet.deadletter": 0.0, "fleet.halts": 60.0}
