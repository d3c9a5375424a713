"""What the past says: crashed hosts per trial by stratum, shrunk to the fleet's rate, and how far to trust it.

Evidence against history alone needs no control group, so it can judge an update that went to everyone at once; but a
common shock (a cloud outage) looks just like a fault. The tolerated rate is therefore raised by what the remaining
control hosts cannot rule out, at most SHOCK_LIMIT: with a calm control group it is the historical rate, with none it is
a shock of that size.
"""

from collections.abc import Iterable
from typing import Annotated

import numpy as np

from pipeline.decide.arrays import Bools, Column, Floats, Ints, Part, Plain
from pipeline.decide.book import SIGNATURE_PLACES
from pipeline.decide.buckets import HOUR_BUCKETS
from pipeline.wire.partials import Stratum
from pipeline.wire.spans import HOUR_MS

HOURS = 26
SHRINK_CRASHES = 2.0  # how many crashes of its own outweigh the fleet's rate
LIMIT_ERRORS = 1.64
MINIMUM_TRIALS = 500.0
MINIMUM_CRASHES = 3.0
MINIMUM_HOURS = 2
HISTORY_BUCKETS = 2 * HOUR_BUCKETS  # for so long after its release an update is compared with what was usual before
UNKNOWN_DRIFT = 1.5  # daily drift to allow for while a full day has not been seen
# Times drift and tolerated risk: while nobody is left to ask, a rise of up to some 15 may be a shock.
SHOCK_LIMIT = 7.0


class History(Part):
    """Trials and crashed hosts per (stratum, hour of stream time modulo HOURS).

    >>> history = History()
    >>> history.advance(HOUR_MS)
    >>> history.trials[0, history.place(HOUR_MS)], history.crashes[0, history.place(HOUR_MS)] = 1_000.0, 5.0
    >>> history.ready(), history.advance(2 * HOUR_MS), history.ready()
    (False, None, True)
    >>> bool(history.upper_rates()[0] > history.crash_rate() == 0.005)
    True
    """

    hour: Annotated[int, Plain("hour", int, "hours, unix")]
    first_hour: Annotated[int, Plain("first_hour", int, "hours, unix")]
    trials: Annotated[Floats, Column("trials", ("strata", HOURS), "trials")]
    crashes: Annotated[Floats, Column("crashes", ("strata", HOURS), "crashed hosts")]

    def advance(self, now_ms: int) -> None:
        """Empty the hours that begin."""
        hour = now_ms // HOUR_MS
        if not self.hour:
            self.hour = self.first_hour = hour
        for fresh in range(max(self.hour + 1, hour - HOURS + 1), hour + 1):
            self.trials[:, fresh % HOURS] = 0.0
            self.crashes[:, fresh % HOURS] = 0.0
        self.hour = max(self.hour, hour)

    def place(self, at_ms: int) -> int:
        """The hour's column; what is too old counts into the newest hour."""
        hour = at_ms // HOUR_MS
        return (hour if self.hour - HOURS < hour <= self.hour else self.hour) % HOURS

    def ready(self) -> bool:
        """Whether there is enough of it to judge by."""
        seen = self.hour - self.first_hour + 1
        enough = self.trials.sum() >= MINIMUM_TRIALS and self.crashes.sum() >= MINIMUM_CRASHES
        return bool(seen >= MINIMUM_HOURS and enough)

    def by_ring(self, strata: Iterable[tuple[int, Stratum]]) -> dict[str, float]:
        """Crashed hosts per trial of these strata, by position; of rings that had trials."""
        trials, crashes = self.trials.sum(axis=1), self.crashes.sum(axis=1)
        found: dict[str, list[float]] = {}
        for position, stratum in strata:
            sums = found.setdefault(stratum.ring, [0.0, 0.0])
            sums[0] += float(trials[position])
            sums[1] += float(crashes[position])
        return {ring: crashed / tried for ring, (tried, crashed) in sorted(found.items()) if tried}

    def upper_rates(self) -> Floats:
        """Crashed hosts per trial and stratum, an upper limit that allows for daily drift."""
        trials, crashes = self.trials.sum(axis=1), self.crashes.sum(axis=1)
        fleet = (crashes.sum() + 0.5) / (trials.sum() + 1.0)
        pseudo_trials = SHRINK_CRASHES / fleet
        raised = SHRINK_CRASHES + crashes + LIMIT_ERRORS * np.sqrt(SHRINK_CRASHES + crashes)
        result: Floats = self.drift() * raised / (pseudo_trials + trials)
        return result

    def drift(self) -> float:
        """How far the worst hour of the last day stood above the day's mean; at least 1.2."""
        if self.hour - self.first_hour < 20:
            return UNKNOWN_DRIFT
        trials, crashes = self.trials.sum(axis=0), self.crashes.sum(axis=0)
        fleet = (crashes.sum() + 0.5) / (trials.sum() + 1.0)
        hourly = (4.0 + crashes) / (4.0 / fleet + trials)
        return float(np.clip(hourly.max() / fleet, 1.2, 3.0))

    def crash_rate(self) -> float:
        """Crashed hosts per trial, over all."""
        return float(self.crashes.sum() / max(self.trials.sum(), 1.0))

    def signature_rate(self, crashes_before: float) -> float:
        """Crashes of one signature per trial, an upper limit that stays positive for one never seen."""
        raised = crashes_before + 1.0 + LIMIT_ERRORS * np.sqrt(crashes_before + 0.25)
        return float(self.drift() * raised / max(self.trials.sum(), MINIMUM_TRIALS))


class Past(Part):
    """What history says of each update, as of its start, and what the hosts without it have shown since."""

    rates: Annotated[
        Floats, Column("rates", ("strata", "updates"), "crashed hosts per trial; NaN without history", np.nan)
    ]
    expected: Annotated[Floats, Column("past_expected", ("updates",), "crashed hosts that history allows")]
    exposure: Annotated[Floats, Column("past_exposure", ("updates",), "tolerated exposed trials")]
    shock: Annotated[Floats, Column("shock", ("updates",), "times the rate", 1.0)]
    # evidence against history as it last stood: in all, and by the place of a signature
    settled: Annotated[Floats, Column("settled", ("updates", 1 + SIGNATURE_PLACES), "ln", -np.inf)]
    # decayed as the trials, by scale
    control_crashes: Annotated[Floats, Column("control_crashes", (3, "strata", "updates"), "crashed control hosts")]

    def begin(self, updates: Ints, history: History) -> None:
        """What history says is fixed when an update first appears."""
        ready = history.ready()
        self.rates[:, updates] = history.upper_rates()[:, None] if ready else np.nan
        self.expected[updates] = self.exposure[updates] = 0.0 if ready else np.inf

    def expose(self, strata: Ints, updates: Ints, tolerated: Floats) -> None:
        """Rows of exposed trials, each times its update's tolerated risk."""
        allowed = tolerated * self.shock[updates]
        rates = self.rates[strata, updates]
        known = np.isfinite(rates)
        if not known.all():
            rates = np.where(known, rates, np.nanmax(rates) if known.any() else np.nan)
        np.add.at(self.expected, updates, allowed * rates)
        np.add.at(self.exposure, updates, allowed)

    def decay(self, by_scale: list[float]) -> None:
        """Time has passed: what is left of the control crashes on each scale."""
        for scale in range(3):
            self.control_crashes[scale] *= by_scale[scale]

    def watch(self, expected: Floats) -> None:
        """How far crash rates may have risen for all, as the control hosts tell; `expected` (2, U) of them."""
        self.shock = shock_factor(self.control_crashes[1:].sum(axis=1), expected)


def shock_factor(control_crashes: Floats, control_expected: Floats) -> Floats:
    """By how much crash rates may have risen for everyone, as far as the control hosts cannot rule it out.

    Counts by (scale, update), the fastest scale left out; the scale that leaves the most room counts, for a shock may
    have begun just now.
    """
    upper = control_crashes + 1.0 + LIMIT_ERRORS * np.sqrt(control_crashes + 1.0)
    rise = (upper / np.maximum(control_expected, 1e-9)).max(axis=0)
    result: Floats = np.minimum(np.maximum(rise, 1.0), SHOCK_LIMIT)
    return result


def upper_exposure(trials: Floats) -> Floats:
    """An upper limit of the trials that the exposed hosts have stood, from those that have been seen."""
    result: Floats = trials + 2.0 + 2.0 * np.sqrt(trials + 1.0)
    return result


def control_rises(control_crashes: Floats, control_expected: Floats, tolerated: float, errors: float) -> Bools:
    """Whether control hosts crash more than history allows: an outage is going on (three crashes at least)."""
    expected = tolerated * control_expected
    result: Bools = (control_crashes >= 3) & (control_crashes > expected + errors * np.sqrt(expected))
    return result
