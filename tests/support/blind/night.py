"""A small fleet's night: heartbeats every half hour, an update to a quarter of the hosts, of which some crash. What a
test makes half-blind, it changes in the events. Times in unix ms."""

from collections.abc import Callable
from typing import Any

import orjson

from pipeline.backtest.run import Backtest
from pipeline.decide.orders import HaltOrder
from pipeline.decide.policy import PolicySet
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

T0 = 1_764_000_000_000  # the update is released
HOSTS, EXPOSED_EVERY, CRASHED = 240, 4, 16
VERSION = "2"
SIGNATURE = {"code": "0x50", "module": "a.sys"}
Event = dict[str, Any]
Change = Callable[[Event], Event | None]


def number_of(event: Event) -> int:
    """Of its host, in the night as it was."""
    return int(event["id"].split("-")[0])


def update(installed_at: int, version: str = VERSION, **more: Any) -> dict[str, Any]:
    """An entry of a list."""
    return {"vendor": "v", "product": "p", "version": version, "installed_at": installed_at} | more


def installed_at(host: int) -> int:
    """Within twenty minutes of the release."""
    return T0 + host * 7_919 % (20 * MINUTE_MS)


def event(kind: str, host: int, ts: int, **more: Any) -> Event:
    """Of a host that lists what it has."""
    has = host % EXPOSED_EVERY == 0 and ts >= installed_at(host)
    common = {"v": 1, "id": f"{host}-{kind}-{ts}", "kind": kind, "fleet": "acme", "host": f"h-{host:04d}", "ts": ts}
    place = {"ring": "broad", "os": "windows-10.0.22631", "model": f"m-{host // 4 % 2}", "site": f"s-{host % 30}"}
    return common | place | {"updates": [update(installed_at(host))] if has else []} | more


def heartbeats(host: int, from_ms: int, to_ms: int) -> list[Event]:
    """Every half hour, at the host's own minute."""
    first = from_ms + host * 104_729 % (30 * MINUTE_MS)
    return [event("heartbeat", host, ts) for ts in range(first, to_ms, 30 * MINUTE_MS)]


def crashes(hosts: int = CRASHED) -> list[Event]:
    """Of so many that have the update, a few minutes after it came."""
    chosen = list(range(0, HOSTS, EXPOSED_EVERY))[:hosts]
    return [
        event("crash", host, installed_at(host) + (2 + place % 5) * MINUTE_MS, signature=SIGNATURE)
        for place, host in enumerate(chosen)
    ]


def night(on_all: Change | None = None, on_crashes: Change | None = None, crashed: int = CRASHED) -> list[Event]:
    """Three hours before the release and one after it, in the order of the events' time. Changes get every event, or
    every crash; None leaves it out."""
    quiet = [each for host in range(HOSTS) for each in heartbeats(host, T0 - 3 * HOUR_MS, T0 + HOUR_MS)]
    told = [changed for each in crashes(crashed) if (changed := on_crashes(each) if on_crashes else each) is not None]
    found = [changed for each in (*quiet, *told) if (changed := on_all(each) if on_all else each) is not None]
    return sorted(found, key=lambda each: (each["ts"], each["id"]))


class Judged:
    """What a backtest makes of a night."""

    def __init__(self, events: list[Event]) -> None:
        run = Backtest(PolicySet())
        self.halts: list[HaltOrder] = [*run.take([orjson.dumps(each) for each in events]), *run.finish()]
        self.summary = run.notes.row()
        self.refused = run.notes.refused

    @property
    def reasons(self) -> dict[str, int]:
        """Of how many updates each holds."""
        found = self.summary["half_blind"]["acme"]["reasons"]
        return {reason: each["updates"] for reason, each in found.items()}

    @property
    def flags(self) -> set[str]:
        """Of all halts."""
        return {flag for halt in self.halts for flag in halt.evidence.flags}
