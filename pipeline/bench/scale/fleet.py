"""A fleet of any size whose hosts report in turn, as events for the real fold: no host is kept, each is computed from
its number. What hosts are and have installed comes from PROFILES kinds of host; their names, so all that is hashed,
counted once or sampled, are their own."""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pipeline.wire.events import AnyEvent, Boot, Crash, Heartbeat, Signature, Update
from pipeline.wire.spans import DAY_MS, HOUR_MS

FLEET = "scale"
START_MS = 1_790_000_000_000
PROFILES = 20_000
RINGS, SYSTEMS, MODELS = 4, 2, 7  # times each other: 56 strata, the most that are kept apart with four rings
REACH = 0.15  # of the hosts get an update, over RAMP_MS; so a host lists some six of forty
RAMP_MS, LIVE_MS = DAY_MS, 7 * DAY_MS
SHARE_OF_BOOTS, CRASHES_PER_HOST_DAY = 0.15, 0.01
DELAY_MS = 2_000  # an event is so old when it comes, on the average
GUILTY = Update("vendor", "guilty", "1", START_MS - HOUR_MS)
SIGNATURES = tuple(Signature(f"0x{number:02x}", f"m{number}.sys") for number in range(12))
FAULT = Signature("0x50", "guilty.sys")
NEVER_MS = 1 << 62
_STRIDE = 7_368_787  # a prime: hosts report in an order that is none


class FleetSize(NamedTuple):
    """So many hosts, each reporting once in `report_minutes`, with so many live updates."""

    hosts: int
    report_minutes: float
    updates: int
    seed: int

    @property
    def events_per_second(self) -> float:
        """Clean reports."""
        return self.hosts / (self.report_minutes * 60)


@dataclass(frozen=True)
class Profile:
    """What hosts of a kind are: the words of an event, and the updates in the order of their installation."""

    place: dict[str, Any]
    updates: tuple[Update, ...]
    is_struck: bool  # has the guilty update

    def listed(self, at_ms: int) -> tuple[tuple[Update, ...], int]:
        """Those installed by then, and when there is one more."""
        many = bisect.bisect_right(self.updates, at_ms, key=lambda each: each.installed_at)
        return self.updates[:many], self.updates[many].installed_at if many < len(self.updates) else NEVER_MS


class ScaleFleet:
    """Its events in the order of their coming; `at_ms` only goes up."""

    def __init__(self, size: FleetSize) -> None:
        self.size = size
        self._draw = np.random.default_rng(size.seed)
        self._profiles = [self._profile() for _ in range(PROFILES)]
        self._reports = self._crashes = 0
        self._listed: list[tuple[Update, ...]] = [()] * PROFILES
        self._due_ms = np.zeros(PROFILES, np.int64)  # when a kind of host gets its next update

    def _profile(self) -> Profile:
        draw = self._draw
        ring = int(np.searchsorted((0.01, 0.1, 0.4), draw.random(), side="right"))
        place = {
            "ring": f"ring-{ring}",
            "os": f"windows-{draw.integers(SYSTEMS)}",
            "model": f"model-{draw.integers(MODELS)}",
            "site": f"site-{draw.integers(500)}",
        }
        live = self.size.updates - 1
        has = np.flatnonzero(draw.random(live) < REACH)
        at = START_MS + HOUR_MS - LIVE_MS + has * (LIVE_MS // live) + (draw.random(has.size) * RAMP_MS).astype(np.int64)
        updates = [Update("vendor", f"p{n}", "1", int(ms)) for n, ms in zip(has.tolist(), at, strict=True)]
        is_struck = bool(draw.random() < REACH)
        updates += [GUILTY] if is_struck else []
        return Profile(place, tuple(sorted(updates, key=lambda each: each.installed_at)), is_struck)

    def _refresh(self, at_ms: int) -> None:
        """What each kind of host lists by now."""
        for kind in np.flatnonzero(self._due_ms <= at_ms).tolist():
            self._listed[kind], self._due_ms[kind] = self._profiles[kind].listed(at_ms)

    def reports(self, at_ms: int, count: int) -> Iterator[tuple[int, AnyEvent]]:
        """The next `count` clean reports, that come at that moment: each host's number, and its event."""
        self._refresh(at_ms)
        hosts, profiles, listed, first = self.size.hosts, self._profiles, self._listed, self._reports
        self._reports += count
        ages = self._draw.exponential(DELAY_MS, count).astype(np.int64)
        boots = self._draw.random(count) < SHARE_OF_BOOTS
        rows = zip(range(first, first + count), (at_ms - ages).tolist(), boots.tolist(), strict=True)
        for number, ts, is_boot in rows:
            host = number * _STRIDE % hosts
            kind = host % PROFILES
            common: dict[str, Any] = {"v": 1, "id": "e", "fleet": FLEET, "host": f"h-{host:09d}", "ts": ts}
            common |= profiles[kind].place
            if is_boot:
                yield host, Boot(prior="clean", updates=listed[kind], **common)
            else:
                yield host, Heartbeat(updates=listed[kind], **common)

    def crashes(self, at_ms: int, seconds: float) -> Iterator[tuple[int, AnyEvent]]:
        """The ordinary crashes of so many seconds."""
        for _ in range(self._draw.poisson(self.size.hosts * CRASHES_PER_HOST_DAY / 86_400 * seconds)):
            signature = SIGNATURES[min(int(self._draw.exponential(2)), len(SIGNATURES) - 1)]
            yield self._crash(int(self._draw.integers(self.size.hosts)), at_ms, signature)

    def struck(self, at_ms: int, count: int) -> Iterator[tuple[int, AnyEvent]]:
        """Of so many hosts that would report now, those with the guilty update: each crashes."""
        self._refresh(at_ms)
        for _ in range(count):
            host = self._crashes * _STRIDE % self.size.hosts
            self._crashes += 1
            if self._profiles[host % PROFILES].is_struck:
                yield self._crash(host, at_ms, FAULT)

    def _crash(self, host: int, at_ms: int, signature: Signature) -> tuple[int, AnyEvent]:
        kind = host % PROFILES
        common: dict[str, Any] = {"v": 1, "id": "c", "fleet": FLEET, "host": f"h-{host:09d}", "ts": at_ms}
        return host, Crash(signature=signature, updates=self._listed[kind], **common, **self._profiles[kind].place)
