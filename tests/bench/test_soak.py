"""What `andon bench soak` makes of what it has seen."""

from typing import Any

import pytest

from pipeline.bench.soak.judge import Look, Size, changelog, lag, memory, tables, troubles
from pipeline.bench.soak.load import SPREAD_MS, VERSION_MS, Churn, SoakLoad
from pipeline.bench.soak.main import stored
from pipeline.runtime.kafka import KafkaConfig
from pipeline.wire.decode import decode_event
from pipeline.wire.events import Heartbeat

START = 1_790_000_000_000
TIMES = range(0, 901, 5)


def test_memory_after_the_warm_up_is_what_counts() -> None:
    """Growth in the first third is no slope; what comes later is."""
    flat = [Look(at, {"x": 100 if at >= 40 else int(at)}) for at in range(0, 121, 10)]
    assert memory(flat, "x")["slope_bytes_per_minute"] == 0
    rising = [Look(at, {"x": 1_000 + 2 * at}) for at in range(0, 121, 10)]
    assert memory(rising, "x")["slope_bytes_per_minute"] == 120
    assert memory(rising, "x")["growth"] == pytest.approx(160 / 1_160, abs=1e-4)
    assert memory(rising, "y")["growth"] == 0


def lagging(least: float, per_minute: float, saw: int = 0) -> list[Look]:
    """A group that reads 100 a second, commits every 30 s when it is a saw, and falls behind."""
    return [
        Look(
            at,
            lag_messages={"g": round(least + at / 60 * per_minute + saw * (at % 30))},
            messages_per_second={"g": 100},
        )
        for at in TIMES
    ]


def test_lag_that_grows_has_a_slope_and_a_saw_has_none() -> None:
    """Messages a minute, of the least lag of each minute; too few minutes give none."""
    assert lag(lagging(50, 0), "g")["slope_messages_per_minute"] == 0
    assert lag(lagging(50, 0, saw=100), "g")["slope_messages_per_minute"] == 0
    assert lag(lagging(50, 60), "g")["slope_messages_per_minute"] == pytest.approx(60, abs=3)
    assert lag(lagging(50, 60, saw=100), "g")["slope_messages_per_minute"] == pytest.approx(60, abs=3)
    assert lag(lagging(50, 60)[:40], "g")["slope_messages_per_minute"] is None
    assert lag(lagging(50, 0), "g") | {"slope_messages_per_minute": 0} == {
        "median_at_the_end": 50,
        "max": 50,
        "slope_messages_per_minute": 0,
        "messages_per_second": 100,
    }


def stored_look(at: int, bytes_per_event: float, parts: int = 5) -> Look:
    """A thousand events a second in ClickHouse."""
    rows = 1_000 * at
    other = Size(1, 100, 1)
    return Look(at, tables={"events": Size(rows, round(rows * bytes_per_event), parts), "halts": other})


def test_bytes_per_event_and_parts_are_read_after_the_warm_up_and_at_the_end() -> None:
    """The first third counts for nothing: merges have not caught up then."""
    looks = [stored_look(at, 90 if at < 300 else 40 if at < 600 else 50, at // 100) for at in TIMES]
    events, halts = tables(looks)
    assert (events["rows"], events["bytes"]) == (900_000, 45_000_000)
    assert (events["bytes_per_event_after_warm_up"], events["bytes_per_event_at_the_end"]) == (40, 50)
    assert (events["parts_after_warm_up"], events["parts_at_the_end"]) == (4, 8)
    assert halts["table"] == "halts"
    assert tables([Look(0), Look(5)]) == []


def test_the_changelog_is_read_by_the_update() -> None:
    """Bytes a second may grow with the updates that are watched, and not otherwise."""
    steady = [Look(at, changelog_bytes=at * at, live_updates=2 * at) for at in TIMES]
    found = changelog(steady)
    assert found["changelog_bytes_per_second"] == 900
    assert found["changelog_bytes_per_second_after_warm_up"] < found["changelog_bytes_per_second_at_the_end"]
    names = [f"changelog_bytes_per_update_and_second_{when}" for when in ("after_warm_up", "at_the_end")]
    assert [found[name] for name in names] == [1.0, 1.0]
    leaking = changelog([Look(at, changelog_bytes=at * at, live_updates=20) for at in TIMES])
    assert leaking[names[1]] > 1.5 * leaking[names[0]]


def test_remembered_crashes_are_no_leak() -> None:
    """They are bounded, by a day and in number; the rest of the state is judged."""
    looks = [Look(at, changelog_bytes=100 * at + 3 * at * at, live_updates=20, remembered=10 * at) for at in TIMES]
    found = changelog(looks)
    assert found["remembered_crashes_at_the_end"] == 8000
    names = [f"changelog_bytes_per_update_and_second_{when}" for when in ("after_warm_up", "at_the_end")]
    assert [found[name] for name in names] == [5.0, 5.0]


TABLE = {
    "table": "events",
    "rows": 9,
    "bytes": 1_000,
    "parts": 9,
    "bytes_per_event_after_warm_up": 40.0,
    "bytes_per_event_at_the_end": 41.0,
    "parts_after_warm_up": 9,
    "parts_at_the_end": 12,
}
LAG = {"median_at_the_end": 99, "max": 9_000, "slope_messages_per_minute": 1.0, "messages_per_second": 20}
CALM: dict[str, Any] = {
    "stages": {"combine": {"growth": 0.01, "restarts": 0}},
    "lag_messages": {"andon-combine": LAG},
    "tables": [TABLE],
    "changelog_bytes_per_update_and_second_after_warm_up": 10.0,
    "changelog_bytes_per_update_and_second_at_the_end": 10.5,
    "on": {"events_per_second": 20, "minutes": 10.0},
    "seconds": 599.0,
    "events_per_second": 19,
    "load_error": "",
    "lost": 0,
    "repeated": 0,
}


def test_without_a_trouble_nothing_is_told() -> None:
    """Also in a run too short for a slope."""
    assert troubles(CALM) == []
    assert troubles(CALM | {"lag_messages": {"andon-combine": LAG | {"slope_messages_per_minute": None}}}) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stages": {"combine": {"growth": 0.2, "restarts": 1}}}, ["combine grew by 20%", "combine was restarted"]),
        (
            {"stages": {"broker": {"growth": 0.2, "restarts": 0, "bound_bytes": 9 << 20, "peak_rss_bytes": 10 << 20}}},
            ["broker grew past 9 MiB"],
        ),
        ({"stages": {"broker": {"growth": 0.2, "restarts": 0, "bound_bytes": 9, "peak_rss_bytes": 9}}}, []),
        (
            {"lag_messages": {"andon-combine": LAG | {"median_at_the_end": 101}}},
            ["andon-combine lags by 101 messages"],
        ),
        (
            {"lag_messages": {"andon-combine": LAG | {"slope_messages_per_minute": 20.0}}},
            ["the lag of andon-combine grows by 20.0 messages a minute"],
        ),
        (
            {"tables": [TABLE | {"bytes_per_event_at_the_end": 45.0}]},
            ["events grew from 40.0 to 45.0 bytes per event", "ClickHouse grew from 40.0 to 45.0 bytes per event"],
        ),
        ({"tables": [TABLE | {"parts_at_the_end": 30}]}, ["events has 30 parts"]),
        ({"tables": [TABLE | {"parts_after_warm_up": 101, "parts_at_the_end": 101}]}, ["events has 101 parts"]),
        (
            {"changelog_bytes_per_update_and_second_at_the_end": 12.0},
            ["the changelog's bytes for each update that is watched grew from 10.0 to 12.0 a second"],
        ),
        ({"events_per_second": 18}, ["18 events a second instead of 20"]),
        ({"seconds": 500.0, "load_error": "E: x"}, ["the load broke off: E: x", "it ran for 500.0 of 600 s"]),
        ({"lost": 3, "repeated": 2}, ["3 events lost", "2 events repeated"]),
    ],
)
def test_each_trouble_is_told(changes: dict[str, Any], said: list[str]) -> None:
    """Growth, lag, restarts, losses, repeats, and a load that was not what was asked for."""
    assert troubles(CALM | changes) == said


def test_a_load_that_dies_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread ends, and what ended it is kept."""
    load = SoakLoad(KafkaConfig("127.0.0.1:1"), 10, 1_000, 1)
    monkeypatch.setattr(load, "_one", lambda _: 1 / 0)
    load.start()
    load.join(10)
    assert not load.is_alive()
    assert load.error == "ZeroDivisionError: division by zero"


def test_a_repeat_is_seen_and_never_stands_in_for_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows as they lie in the table are counted beside distinct ids; it waits for the ids and not for the rows."""
    asked: list[str] = []
    ids = iter((4, 5))

    def ask(_: object, query: str, *__: object, **___: object) -> str:
        asked.append(query)
        return f"6\t{next(ids)}\n" if "uniqExact" in query else "6"

    monkeypatch.setattr("pipeline.bench.soak.main.ask", ask)
    monkeypatch.setattr("pipeline.bench.soak.main.POLL_SECONDS", 0.0)
    info: Any = None
    assert stored(info, 5) == (6, 5)
    assert not any("FINAL" in query or "events_once" in query for query in asked)


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
