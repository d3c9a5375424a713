"""A fleet's crashed hosts and trials by the minute, and what is usual of that: its worst hour of the last eight days.

What is usual is told by hours that are past by an hour at least, so that what begins now is not measured by itself;
whoever calls says which minutes are not to become usual.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Span = tuple[int, int]  # from one minute to another, both included

WINDOW = 240  # minutes that are looked at
AHEAD = 30  # minutes that reports may be ahead of stream time
_RING = WINDOW + AHEAD + 30
SETTLED = 60  # minutes after which one becomes part of what is usual
HOURS = 8 * 24
DAY_HOURS = 24
HOUR_MINUTES = 60

MINIMUM_MINUTES = 60.0  # of those with reports
MINIMUM_TRIALS, MINIMUM_CRASHES = 500.0, 20.0  # one of the two
LIMIT_ERRORS = 1.64
SHRINK_CRASHES = 16.0  # an hour is told by its own crashes once they are more: of few the worst is chance
# Crashed hosts per trial that are taken for usual where nothing is known; few fleets are that bad for long.
UNKNOWN_RATE = 0.02
UNKNOWN_TRIALS = 100.0  # in the window: of fewer nothing is said where nothing is known


class Usual(NamedTuple):
    """Crashed hosts per trial, and per minute, in the worst hour that is usual, or in the mean while no day is known;
    trials per minute; whether anything is known, and a day."""

    per_trial: float
    per_minute: float
    trials_per_minute: float
    is_known: bool
    has_day: bool

    def expected(self, trials: Floats) -> Floats:
        """Crashed hosts of minutes with so many trials: by trials or by time, whichever is more, so that neither hosts
        that begin to work nor trials that are not told look like a fault."""
        result: Floats = np.maximum(trials * self.per_trial, self.per_minute)
        return result


class Minutes:
    """Positions are unix minutes modulo the ring's size.

    >>> minutes = Minutes()
    >>> minutes.advance(1_000)
    >>> minutes.crash(990, 3.0)
    >>> minutes.crashed_in(989, 991).tolist()
    [0.0, 3.0, 0.0]
    """

    def __init__(self) -> None:
        self.now = self.folded = 0  # minutes: stream time; the last one that is part of what is usual, or never will be
        self.crashed, self.explained, self.trials = (np.zeros(_RING) for _ in range(3))
        # by hour, of what is usual
        self.hourly_crashed, self.hourly_trials, self.hourly_minutes = (np.zeros(HOURS) for _ in range(3))

    def pack(self) -> dict[str, Any]:
        """What a snapshot holds of it."""
        return dict(vars(self))

    def restore(self, stored: dict[str, Any]) -> None:
        """The inverse."""
        for name in vars(self).keys() & stored.keys():
            setattr(self, name, stored[name])

    def advance(self, now: int, not_usual: Sequence[Span] = ()) -> None:
        """Stream time is this minute; those of `not_usual` never become usual."""
        if not self.now:
            self.now, self.folded = now, now - SETTLED
        fresh = np.arange(max(self.now + 1, now - _RING + 1), now + 1) + AHEAD
        for each in (self.crashed, self.explained, self.trials):
            each[fresh % _RING] = 0.0
        before, self.now = self.now, max(self.now, now)
        for hour in range(max(before // HOUR_MINUTES + 1, now // HOUR_MINUTES - HOURS + 1), now // HOUR_MINUTES + 1):
            for column in (self.hourly_crashed, self.hourly_trials, self.hourly_minutes):
                column[hour % HOURS] = 0.0
        self._fold(not_usual)

    def _fold(self, not_usual: Sequence[Span]) -> None:
        upto = self.now - SETTLED
        for minute in range(max(self.folded + 1, self.now - WINDOW), upto + 1):
            place = minute % _RING
            if any(first <= minute <= last for first, last in not_usual) or not self._heard(minute):
                continue
            hour = minute // HOUR_MINUTES % HOURS
            self.hourly_minutes[hour] += 1.0
            self.hourly_trials[hour] += self.trials[place]
            self.hourly_crashed[hour] += max(self.crashed[place] - self.explained[place], 0.0)
        self.folded = max(self.folded, upto)

    def _heard(self, minute: int) -> bool:
        return bool(self.trials[minute % _RING] or self.crashed[minute % _RING])

    def add_trials(self, minutes: Ints, trials: Floats) -> None:
        """Clean trials, by rows; those too old for the window are left out."""
        recent = (minutes > self.now - WINDOW) & (minutes <= self.now + AHEAD)
        np.add.at(self.trials, minutes[recent] % _RING, trials[recent])

    def crash(self, minute: int, hosts: float) -> None:
        """Crashed hosts; of the past what is usual is told anew."""
        minute = min(minute, self.now + AHEAD)
        if minute <= self.now - WINDOW:
            self._crash_long_ago(minute, hosts)
            return
        self.crashed[minute % _RING] += hosts
        if minute <= self.folded:
            self._crash_long_ago(minute, hosts)

    def _crash_long_ago(self, minute: int, hosts: float) -> None:
        hour = minute // HOUR_MINUTES
        if hour > self.now // HOUR_MINUTES - HOURS and self.hourly_minutes[hour % HOURS]:
            self.hourly_crashed[hour % HOURS] += hosts

    def explain(self, minute: int, hosts: float) -> None:
        """So many of its crashed hosts are somebody's fault that is known."""
        if self.now - WINDOW < minute <= self.now + AHEAD:
            self.explained[minute % _RING] += hosts

    def crashed_in(self, first: int, last: int) -> Floats:
        """Crashed hosts that nobody is known to blame for, from one minute to another."""
        places = np.arange(first, last + 1) % _RING
        result: Floats = np.maximum(self.crashed[places] - self.explained[places], 0.0)
        return result

    def explained_in(self, first: int, last: int) -> float:
        """How many crashed hosts of these minutes are explained."""
        places = np.arange(first, last + 1) % _RING
        return float(np.minimum(self.explained[places], self.crashed[places]).sum())

    def trials_in(self, first: int, last: int) -> Floats:
        """Trials from one minute to another."""
        result: Floats = self.trials[np.arange(first, last + 1) % _RING]
        return result

    def usual(self) -> Usual:
        """As far as it is known by now: upper limits."""
        crashed, trials, minutes = (
            float(each.sum()) for each in (self.hourly_crashed, self.hourly_trials, self.hourly_minutes)
        )
        enough = trials >= MINIMUM_TRIALS or crashed >= MINIMUM_CRASHES
        if minutes < MINIMUM_MINUTES or not enough:
            return Usual(UNKNOWN_RATE, 0.0, 0.0, is_known=False, has_day=False)
        most = crashed + 2.0 + LIMIT_ERRORS * float(np.sqrt(crashed + 2.0))
        known = self.hourly_minutes > 0
        rates = [most / max(trials, 1.0), most / minutes]
        has_day = bool(known.sum() >= DAY_HOURS)
        if has_day:
            rates = [
                max(r, self._worst(of, r))
                for r, of in zip(rates, (self.hourly_trials, self.hourly_minutes), strict=True)
            ]
        return Usual(rates[0], rates[1], trials / minutes, True, has_day)

    def _worst(self, of: Floats, mean: float) -> float:
        """The largest rate of an hour, each shrunk to the mean."""
        rates = (SHRINK_CRASHES + self.hourly_crashed) / (SHRINK_CRASHES / mean + of)
        return float(rates[self.hourly_minutes > 0].max())
