"""Lines out of order: put in order within LATE_MS, never lost, never held without bound."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backtest_lines import NOW_MS, line

import pipeline.backtest.order as order_module
from pipeline.backtest.order import LATE_MS, Order
from pipeline.wire.decode import decode_event
from pipeline.wire.events import AnyEvent
from pipeline.wire.partials import BUCKET_MS


def event(number: int, ts: int) -> AnyEvent:
    return decode_event(line(number, ts))


def released(order: Order, arrivals: list[tuple[int, AnyEvent]]) -> list[AnyEvent]:
    """Events one by one, each at the stream time given."""
    taken = [found for now_ms, one in arrivals for bucket in order.take([one], now_ms) for found in bucket]
    return taken + [found for bucket in order.finish() for found in bucket]


@given(st.lists(st.integers(0, 3_600_000), min_size=1, max_size=60, unique=True), st.integers(0, 1 << 32))
def test_disorder_does_not_show(offsets: list[int], seed: int) -> None:
    """Whatever moved every line by less than LATE_MS, the events go on in the order of their time."""
    draw = random.Random(seed)
    events = [event(number, NOW_MS + offset) for number, offset in enumerate(sorted(offsets))]
    moved = sorted((one.ts + draw.randrange(LATE_MS), one.id, one) for one in events)
    arrivals, now_ms = [], 0
    for _, _, one in moved:
        now_ms = max(now_ms, one.ts)
        arrivals.append((now_ms, one))
    assert released(Order(), arrivals) == events


def test_a_gap_is_no_disorder() -> None:
    """Events that are read together with others from behind a gap are not late: they stand before it."""
    stream = [event(number, NOW_MS + at) for number, at in enumerate((0, 1, 10 * LATE_MS, 10 * LATE_MS + 1))]
    order = Order()
    found = [one for bucket in order.take(stream, stream[-1].ts) for one in bucket]
    found += [one for bucket in order.finish() for one in bucket]
    assert (found, order.late) == (stream, 0)


def test_what_is_later_goes_on_when_it_came() -> None:
    """A crash of three hours ago stands among the events of the time at which it was reported."""
    stream = [event(number, NOW_MS + number * BUCKET_MS) for number in range(100)]
    late = event(1_000, NOW_MS - 3 * 3_600_000)
    found = released(
        Order(), [*((one.ts, one) for one in stream[:50]), (stream[49].ts, late), *((e.ts, e) for e in stream[50:])]
    )
    assert found.index(late) == 49
    assert [one for one in found if one is not late] == stream


def test_a_fast_clock_waits_for_its_time() -> None:
    """An event hours ahead goes on last, and pushes nothing before it."""
    ahead, stream = event(0, NOW_MS + 20 * 3_600_000), [event(number, NOW_MS + number) for number in range(1, 9)]
    assert released(Order(), [(NOW_MS, ahead), *((NOW_MS, one) for one in stream)]) == [*stream, ahead]


def test_more_than_may_be_held_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound the oldest go on before their time, and none is lost."""
    monkeypatch.setattr(order_module, "MAX_HELD", 10)
    order, stream = Order(), [event(number, NOW_MS + number * BUCKET_MS) for number in range(25)]
    taken = [one for each in stream for bucket in order.take([each], NOW_MS) for one in bucket]
    assert taken == stream[:15]
    assert [one for bucket in order.finish() for one in bucket] == stream[15:]
