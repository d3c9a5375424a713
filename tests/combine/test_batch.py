"""A micro-batch and the times of its records, which its topic may leave to senders."""

import orjson
import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, Message

from pipeline.combine.batch import Batch
from pipeline.combine.emit import partials_of
from pipeline.combine.event_batch import DEFAULT_WINDOW_MS
from pipeline.combine.memory import Memory
from pipeline.correlate.check import check_partial
from pipeline.wire.learned import LearnedDecoder
from pipeline.wire.spans import DAY_MS, MINUTE_MS

NOW = 1_790_000_000_000
COMMON = {"v": 1, "kind": "heartbeat", "fleet": "acme", "ring": "r", "os": "o", "model": "m", "updates": []}


def message(host: str, ts: int, stamp: tuple[int, int]) -> Message:
    """A heartbeat of that time, in a record with that timestamp."""
    value = orjson.dumps(COMMON | {"id": host, "host": host, "ts": ts})
    return Message(topic="fleet.events", partition=0, offset=0, value=value, timestamp=stamp)


@pytest.mark.parametrize("ahead_ms", [11 * MINUTE_MS, 365 * DAY_MS])
def test_a_senders_clock_does_not_vouch_for_itself(ahead_ms: int) -> None:
    """Where a topic takes senders' times, an event ahead of now is refused, and the partial of the others is such as
    the correlator takes."""
    batch = Batch(LearnedDecoder(), Memory(1 << 12), DEFAULT_WINDOW_MS)
    there = NOW + ahead_ms
    fast, other = (message(str(ts), ts, (TIMESTAMP_CREATE_TIME, ts)) for ts in (there, NOW))
    batch.take([fast, other], NOW)
    assert [letter.reason for letter in batch.dead_letters] == ["future_timestamp"]
    (partial,) = partials_of(batch.fold(), "0", batch.ingested_at_ms)
    assert (partial.events, partial.ingested_at_ms) == (1, NOW)
    check_partial(partial, NOW)


def test_the_brokers_clock_does() -> None:
    """Whatever this machine's says."""
    batch = Batch(LearnedDecoder(), Memory(1 << 12), DEFAULT_WINDOW_MS)
    batch.take([message("h", NOW, (TIMESTAMP_LOG_APPEND_TIME, NOW))], NOW - DAY_MS)
    assert (batch.events, batch.ingested_at_ms, batch.dead_letters) == (1, NOW, [])
