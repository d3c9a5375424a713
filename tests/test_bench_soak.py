"""What `andon bench soak` makes of what it has seen."""

from typing import Any

import pytest

from pipeline.bench.soak import Look, memory, troubles
from pipeline.bench.soak_load import SPREAD_MS, VERSION_MS, Churn
from pipeline.wire.events import Heartbeat, decode_event

START = 1_790_000_000_000


def test_memory_after_the_warm_up_is_what_counts() -> None:
    """Growth in the first third is no slope; what comes later is."""
    flat = [Look(at, {"x": 100 if at >= 40 else int(at)}, {}) for at in range(0, 121, 10)]
    assert memory(flat, "x")["slope_bytes_per_minute"] == 0
    rising = [Look(at, {"x": 1_000 + 2 * at}, {}) for at in range(0, 121, 10)]
    assert memory(rising, "x")["slope_bytes_per_minute"] == 120
    assert memory(rising, "x")["growth"] == pytest.approx(160 / 1_160, abs=1e-4)
    assert memory(rising, "y")["growth"] == 0


def test_growth_lag_restarts_and_losses_are_told() -> None:
    """Each trouble is named; without one there is none."""
    calm: dict[str, Any] = {
        "stages": {"combine": {"growth": 0.01, "restarts": 0}},
        "lag_messages": {"andon-combine": {"median_at_the_end": 99, "max": 9_000}},
        "on": {"events_per_second": 20},
        "lost": 0,
        "repeated": 0,
    }
    assert troubles(calm) == []
    bad = calm | {
        "stages": {"combine": {"growth": 0.2, "restarts": 1}},
        "lag_messages": {"andon-combine": {"median_at_the_end": 101, "max": 101}},
        "lost": 3,
    }
    assert troubles(bad) == [
        "combine grew by 20%",
        "combine was restarted",
        "andon-combine lags by 101 messages",
        "3 events lost",
    ]


def test_the_fleet_churns() -> None:
    """Events are valid; hosts are replaced in time, versions succeed each other, none is installed in the future."""
    fleet = Churn(1_000, START)
    hosts, versions = set(), set()
    for minute in range(0, 121, 10):
        now = START + minute * 60_000
        event = decode_event(fleet.event(7, minute, '"kind":"heartbeat"', now)[1].encode())
        assert isinstance(event, Heartbeat)
        assert all(now - VERSION_MS - SPREAD_MS <= update.installed_at <= now for update in event.updates)
        hosts.add(event.host)
        versions |= {update.version for update in event.updates}
    assert len(hosts) == 2
    assert len(versions) >= 12
