"""What the looks of `andon bench soak` say, and what in it is a trouble. Pure."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

WARM_UP_SHARE = 1 / 3  # of the time: caches, arenas and ClickHouse's merges find their size
GROWTH_LIMIT = 0.10  # memory, and bytes per event, may drift by this share of themselves from warm-up to the end
LAG_LIMIT_SECONDS = 5.0  # of events, in the middle of the last third
LAG_GROWTH_SECONDS = 5.0  # of what the group reads: more than a look may miss the moment after a commit by
RATE_LIMIT = 0.95  # of the rate that was asked for must have been reached, and of the time
PARTS_LIMIT = 100  # of a table: a tenth of where ClickHouse begins to slow down inserts
PARTS_GROWTH = 20  # and by more than half
TABLE_SHARE = 0.05  # tables smaller than this share of all bytes are judged with the rest
WINDOW_SECONDS = 60.0  # two checkpoints of the correlator, which commits only then: its lag is a saw
LEAST_WINDOWS = 3
# A crashed host is remembered for a day, at most 400,000 of them (decide/dedup.py), so a run of minutes sees it grow:
# key and time, 9 bytes each, in every checkpoint.
REMEMBERED_BYTES, CHECKPOINT_SECONDS = 18, 30.0


class Size(NamedTuple):
    """Of a table, or of all."""

    rows: int
    bytes: int
    parts: int


class Look(NamedTuple):
    """One moment: seconds since the start; memory by process; lag, and messages read a second, by group; tables; bytes
    that the correlator has written to its changelog, the updates that it watches and the crashes that it remembers."""

    at: float
    rss_bytes: Mapping[str, int] = {}
    lag_messages: Mapping[str, int] = {}
    messages_per_second: Mapping[str, float] = {}
    tables: Mapping[str, Size] = {}
    changelog_bytes: int = 0
    live_updates: int = 0
    remembered: int = 0


def settled(looks: list[Look]) -> list[Look]:
    """Those after the warm-up."""
    return [look for look in looks if look.at >= looks[-1].at * WARM_UP_SHARE]


def thirds(looks: list[Look]) -> tuple[list[Look], list[Look]]:
    """The first and the last third of what follows the warm-up."""
    late = settled(looks)
    third = (late[-1].at - late[0].at) / 3
    return [a for a in late if a.at <= late[0].at + third], [a for a in late if a.at >= late[-1].at - third]


def memory(looks: list[Look], name: str) -> dict[str, float]:
    """Of one process, after the warm-up: bytes at its beginning and end, and slope."""
    late = [look for look in settled(looks) if name in look.rss_bytes]
    if len(late) < 2:
        return {"rss_bytes": 0, "slope_bytes_per_minute": 0, "growth": 0.0}
    at = np.array([look.at for look in late])
    rss = np.array([look.rss_bytes[name] for look in late], dtype=np.float64)
    slope = float(np.polyfit(at, rss, 1)[0])
    return {
        "rss_bytes": round(float(rss.mean())),
        "peak_rss_bytes": round(float(rss.max())),
        "slope_bytes_per_minute": round(slope * 60),
        "growth": round(slope * float(at[-1] - at[0]) / float(rss.mean()), 4),
    }


def lag(looks: list[Look], group: str) -> dict[str, float | None]:
    """Of one group: in the middle of the last third, at most, and its slope after the warm-up.

    The slope is that of the least lag of each minute, by least squares: what is not caught up for a whole minute. None
    when there are fewer than three such minutes."""
    late = [look.lag_messages.get(group, 0) for look in looks if look.at >= looks[-1].at * (1 - WARM_UP_SHARE)]
    floors: dict[int, int] = {}
    for look in settled(looks):
        minute = int((looks[-1].at - look.at) // WINDOW_SECONDS)
        floors[minute] = min(look.lag_messages.get(group, 0), floors.get(minute, 1 << 62))
    if looks[-1].at * (1 - WARM_UP_SHARE) < len(floors) * WINDOW_SECONDS:
        floors.pop(max(floors))  # not a whole one
    slope = None if len(floors) < LEAST_WINDOWS else -float(np.polyfit(list(floors), list(floors.values()), 1)[0])
    return {
        "median_at_the_end": round(float(np.median(late))),
        "max": max(look.lag_messages.get(group, 0) for look in looks),
        "slope_messages_per_minute": None if slope is None else round(slope * 60 / WINDOW_SECONDS, 1),
        "messages_per_second": round(float(np.mean([a.messages_per_second.get(group, 0.0) for a in settled(looks)]))),
    }


def tables(looks: list[Look]) -> list[dict[str, Any]]:
    """Sizes at the end, and bytes per stored event and parts in the first and last third after the warm-up."""
    first, last = thirds(looks)
    there = next((look.tables for look in reversed(looks) if look.tables), {})
    return [{"table": name, **size._asdict(), **_table(name, first, last)} for name, size in sorted(there.items())]


def _table(name: str, first: list[Look], last: list[Look]) -> dict[str, float]:
    def per_event(look: Look) -> float:
        return look.tables.get(name, Size(0, 0, 0)).bytes / look.tables["events"].rows

    def parts(look: Look) -> int:
        return look.tables.get(name, Size(0, 0, 0)).parts

    return {
        "bytes_per_event_after_warm_up": round(_median(per_event, first), 2),
        "bytes_per_event_at_the_end": round(_median(per_event, last), 2),
        "parts_after_warm_up": round(_median(parts, first)),
        "parts_at_the_end": round(_median(parts, last)),
    }


def _median(value: Callable[[Look], float], looks: Iterable[Look]) -> float:
    found = [value(look) for look in looks if "events" in look.tables and look.tables["events"].rows]
    return float(np.median(found)) if found else 0.0


def changelog(looks: list[Look]) -> dict[str, float]:
    """Bytes a second from the start on, and in the first and the last third after the warm-up. Of those, without what
    remembered crashes take, for each update that is watched: both grow for days before the first is forgotten."""
    written = looks[-1].changelog_bytes / looks[-1].at if looks[-1].at else 0.0
    found: dict[str, float] = {"changelog_bytes_per_second": round(written)}
    for name, part in zip(("after_warm_up", "at_the_end"), thirds(looks), strict=True):
        known = [look for look in part if look.changelog_bytes]
        seconds = known[-1].at - known[0].at if known else 0.0
        rate = (known[-1].changelog_bytes - known[0].changelog_bytes) / seconds if seconds else 0.0
        updates, crashes = (_mean(getattr(look, what) for look in known) for what in ("live_updates", "remembered"))
        rest = rate - crashes * REMEMBERED_BYTES / CHECKPOINT_SECONDS
        found[f"changelog_bytes_per_second_{name}"] = round(rate)
        found[f"remembered_crashes_{name}"] = round(crashes)
        found[f"changelog_bytes_per_update_and_second_{name}"] = round(rest / updates, 1) if updates else 0.0
    return found


def _mean(values: Iterable[int]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


# -- troubles


def troubles(found: Mapping[str, Any]) -> list[str]:
    """What has grown, lagged or got lost; or was not what was asked for."""
    said = [words for name, of in found["stages"].items() for words in _grows(name, of)]
    said += [f"{name} was restarted" for name, of in found["stages"].items() if of["restarts"]]
    said += [words for group, of in found["lag_messages"].items() for words in _lags(group, of, found["on"])]
    said += _tables_grow(found["tables"])
    said += _load_fails(found)
    first, last = (found[f"changelog_bytes_per_update_and_second_{when}"] for when in ("after_warm_up", "at_the_end"))
    if last > (1 + GROWTH_LIMIT) * first:
        said.append(f"the changelog's bytes for each update that is watched grew from {first} to {last} a second")
    return said + [f"{found[name]} events {name}" for name in ("lost", "repeated") if found[name]]


def _grows(name: str, of: Mapping[str, Any]) -> list[str]:
    """Of a process; a Java heap grows to what it is allowed before it is swept, so it has a bound instead."""
    if "bound_bytes" in of:
        return [f"{name} grew past {of['bound_bytes'] >> 20} MiB"] if of["peak_rss_bytes"] > of["bound_bytes"] else []
    return [f"{name} grew by {of['growth']:.0%}"] if of["growth"] > GROWTH_LIMIT else []


def _lags(group: str, of: Mapping[str, Any], on: Mapping[str, Any]) -> list[str]:
    said = []
    if of["median_at_the_end"] > LAG_LIMIT_SECONDS * on["events_per_second"]:
        said.append(f"{group} lags by {of['median_at_the_end']} messages")
    minutes = on["minutes"] * (1 - WARM_UP_SHARE)
    slope = of["slope_messages_per_minute"]
    if slope is not None and slope * minutes > LAG_GROWTH_SECONDS * max(1, of["messages_per_second"]):
        said.append(f"the lag of {group} grows by {slope} messages a minute")
    return said


def _tables_grow(found: list[Mapping[str, Any]]) -> list[str]:
    first, last = ("bytes_per_event_after_warm_up", "bytes_per_event_at_the_end")
    everything = sum(of["bytes"] for of in found)
    total = {"table": "ClickHouse", "bytes": everything} | {
        name: sum(of[name] for of in found) for name in (first, last)
    }
    said = [
        f"{of['table']} grew from {of[first]} to {of[last]} bytes per event"
        for of in (*found, total)
        if of["bytes"] > TABLE_SHARE * everything and of[last] > (1 + GROWTH_LIMIT) * of[first]
    ]
    for of in found:
        before, after = of["parts_after_warm_up"], of["parts_at_the_end"]
        if after > PARTS_LIMIT or (after > before + PARTS_GROWTH and after > 1.5 * before):
            said.append(f"{of['table']} has {after} parts")
    return said


def _load_fails(found: Mapping[str, Any]) -> list[str]:
    on, said = found["on"], []
    if found["load_error"]:
        said.append(f"the load broke off: {found['load_error']}")
    if found["seconds"] < RATE_LIMIT * on["minutes"] * 60:
        said.append(f"it ran for {found['seconds']} of {on['minutes'] * 60:.0f} s")
    if found["events_per_second"] < RATE_LIMIT * on["events_per_second"]:
        said.append(f"{found['events_per_second']} events a second instead of {on['events_per_second']}")
    return said
