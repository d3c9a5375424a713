"""How far a story has come: its own date, how much of our time is left, and what the detector has read of it."""

import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pipeline.runtime.errors import AndonError
from pipeline.simulate.scenario import Scenario, unix_ms
from pipeline.wire.spans import MINUTE_MS

STATE_SECONDS = 5.0
TOLD_SECONDS = 5.0  # between two lines
HARMLESS_SECONDS = 90.0  # of a story in which nothing is at fault, without what starts and ends a demo
HARMLESS_EVENTS = 900_000  # so many, every machine sends and judges in that time


def minutes_ms(count: float) -> int:
    """So many minutes."""
    return round(count * MINUTE_MS)


class Leg(NamedTuple):
    """Part of a story: until when, and at how many of its seconds a second of ours."""

    until_ms: int
    speed: float


class Progress:
    """Says now and then how far the story has come. Times in ms of the story's own clock."""

    def __init__(self, legs: Sequence[Leg], began_ms: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._legs, self._began_ms, self._clock = legs, began_ms, clock
        self._began = self._told = clock()

    def left_seconds(self, now_ms: int) -> float:
        """By the pace that is meant, and no faster than it has been so far."""
        meant = self._seconds(self._began_ms, now_ms)
        slower = max(1.0, (self._clock() - self._began) / meant) if meant >= 1.0 else 1.0
        return slower * self._seconds(now_ms, self._legs[-1].until_ms)

    def _seconds(self, from_ms: int, to_ms: int) -> float:
        seconds = 0.0
        for until_ms, speed in self._legs:
            until_ms = min(until_ms, to_ms)
            seconds += max(0, until_ms - from_ms) / 1000 / speed
            from_ms = max(from_ms, until_ms)
        return seconds

    def line(self, now_ms: int, shift_ms: int) -> str | None:
        """The story's date and what is left, when it is time for it; its clock is ahead of the story by `shift_ms`."""
        if self._clock() - self._told < TOLD_SECONDS:
            return None
        self._told = self._clock()
        when = datetime.fromtimestamp((now_ms - shift_ms) / 1000, UTC)
        left = round(self.left_seconds(now_ms))
        return f"{when:%Y-%m-%d %H:%M} UTC, {left // 60} min {left % 60} s left"


def hosts_of_harmless(scenario: Scenario, hosts: int) -> int:
    """No more hosts than can be followed through such a story in its time."""
    span_seconds = (unix_ms(scenario.ends) - unix_ms(scenario.starts)) / 1000
    of_one_host = events_a_second(scenario) * span_seconds / scenario.fleet.hosts
    return max(1, min(hosts, round(HARMLESS_EVENTS / of_one_host)))


def events_a_second(scenario: Scenario) -> float:
    """Of its own time, by the whole fleet."""
    fleet = scenario.fleet
    return fleet.hosts * (1 / (60 * fleet.heartbeat_minutes) + fleet.boots_per_host_day / 86_400)


def events_read(correlate_url: str, fleet: str) -> int:
    """How many of the fleet's events the detector has taken in, by its own page.

    Raises:
        AndonError: when the page does not answer.
    """
    try:
        with urllib.request.urlopen(f"{correlate_url}/state", timeout=STATE_SECONDS) as answer:
            state = json.load(answer)
    except (OSError, ValueError) as error:
        raise AndonError(f"{correlate_url}/state does not answer: {error}") from None
    return sum(int(entry["events"]) for entry in state["fleets"] if entry["fleet"] == fleet)
