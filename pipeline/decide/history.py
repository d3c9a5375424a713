"""What the past says: crashed hosts per trial by stratum, shrunk to the fleet's rate, and how far to trust it.

Evidence against history alone needs no control group, so it can judge an update that went to everyone at once; but a
common shock (a cloud outage) looks just like a fault. The tolerated rate is therefore raised by what the remaining
control hosts cannot rule out, at most SHOCK_LIMIT: with a calm control group it is the historical rate, with none it is
a shock of that size.
"""

from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np

from pipeline.decide.arrays import Bools, Column, Floats, Ints, Part, Plain
from pipeline.decide.book import NEW_PLACES, SIGNATURE_PLACES, EvidenceBook
from pipeline.decide.buckets import HOUR_BUCKETS
from pipeline.decide.evidence import LIMIT_ERRORS, control_rises, shock_factor
from pipeline.decide.name_index import MAX_RINGS
from pipeline.wire.partials import BUCKET_MS, Stratum
from pipeline.wire.spans import HOUR_MS

HOURS = 26
SHRINK_CRASHES = 2.0  # how many crashes of its own outweigh the fleet's rate
MINIMUM_TRIALS = 500.0  # with crashes or without: what was never seen in so many is rare
MINIMUM_BUCKETS = 2 * HOUR_BUCKETS  # of time spanned
# So long after it came to a ring the update is compared there with what was usual before,
HISTORY_BUCKETS = 2 * HOUR_BUCKETS
# and so long while the hosts without it are at least as many, to show what comes to all, and the past holds a day.
WATCHED_BUCKETS = 24 * HOUR_BUCKETS
DAY_HOURS = 20
MOST_TRIALS_A_BOOT = 10.0  # more, and servers that boot once a month could never be judged by their past
UNKNOWN_DRIFT = 1.5  # daily drift to allow for while a full day has not been seen


class History(Part):
    """Trials and crashed hosts per (stratum, hour of stream time modulo HOURS).

    >>> history = History()
    >>> history.advance(HOUR_MS + 1)
    >>> history.trials[0, history.place(HOUR_MS)], history.crashes[0, history.place(HOUR_MS)] = 1_000.0, 5.0
    >>> history.advance(3 * HOUR_MS), history.ready(), history.advance(3 * HOUR_MS + 1), history.ready()
    (None, False, None, True)
    >>> bool(history.upper_rates()[0] > history.crash_rate() == 0.005)
    True
    """

    hour: Annotated[int, Plain("hour", int, "hours, unix")]
    first_hour: Annotated[int, Plain("first_hour", int, "hours, unix")]
    first_ms: Annotated[int, Plain("first_ms", int, "unix ms; 0: of a snapshot that did not have it")]
    now_ms: Annotated[int, Plain("now_ms", int, "unix ms")]
    trials: Annotated[Floats, Column("trials", ("strata", HOURS), "trials")]
    crashes: Annotated[Floats, Column("crashes", ("strata", HOURS), "crashed hosts")]
    boots: Annotated[Floats, Plain("boots", lambda: np.zeros(HOURS), "of all trials, those that are boots")]

    def advance(self, now_ms: int) -> None:
        """Empty the hours that begin."""
        hour = now_ms // HOUR_MS
        if not self.hour:
            self.hour, self.first_hour, self.first_ms = hour, hour, now_ms
        self.now_ms = max(self.now_ms, now_ms)
        for fresh in range(max(self.hour + 1, hour - HOURS + 1), hour + 1):
            self.trials[:, fresh % HOURS] = 0.0
            self.crashes[:, fresh % HOURS] = 0.0
            self.boots[fresh % HOURS] = 0.0
        self.hour = max(self.hour, hour)

    def restore(self, stored: Any) -> None:
        """Of a snapshot that did not count boots each trial is as good as a boot."""
        super().restore(stored)
        if "boots" not in stored:
            self.boots = self.trials.sum(axis=0)

    def trials_a_boot(self) -> float:
        """How many trials there were for each boot: so much more a boot stands for, if it is boots that crash."""
        trials, boots = float(self.trials.sum()), float(self.boots.sum())
        return float(np.clip((trials + 1.0) / (boots + 1.0), 1.0, MOST_TRIALS_A_BOOT))

    def place(self, at_ms: int) -> int:
        """The hour's column; what is too old counts into the newest hour."""
        hour = at_ms // HOUR_MS
        return (hour if self.hour - HOURS < hour <= self.hour else self.hour) % HOURS

    def ready(self) -> bool:
        """Whether there is enough of it to judge by."""
        first_ms = self.first_ms or self.first_hour * HOUR_MS
        spanned = max(self.now_ms, self.hour * HOUR_MS) - first_ms >= MINIMUM_BUCKETS * BUCKET_MS
        return bool(spanned and self.trials.sum() >= MINIMUM_TRIALS)

    def spans_a_day(self) -> bool:
        """Whether what is usual at each hour of the day is known, all but."""
        return self.hour - self.first_hour >= DAY_HOURS

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
        fleet = (crashes.sum() + 1.0) / (trials.sum() + 1.0)
        pseudo_trials = SHRINK_CRASHES / fleet
        raised = SHRINK_CRASHES + crashes + LIMIT_ERRORS * np.sqrt(SHRINK_CRASHES + crashes)
        result: Floats = self.drift() * raised / (pseudo_trials + trials)
        return result

    def drift(self) -> float:
        """How far the worst hour of the last day stood above the day's mean; at least 1.2."""
        if not self.spans_a_day():
            return UNKNOWN_DRIFT
        trials, crashes = self.trials.sum(axis=0), self.crashes.sum(axis=0)
        fleet = (crashes.sum() + 0.5) / (trials.sum() + 1.0)
        hourly = (4.0 + crashes) / (4.0 / fleet + trials)
        return float(np.clip(hourly.max() / fleet, 1.2, 3.0))

    def settled(self) -> tuple[float, float]:
        """Crashed hosts and trials before this hour, which what crashes now does not change; of all in the first."""
        now = self.hour % HOURS
        crashes, trials = float(np.add.reduce(self.crashes, axis=None)), float(np.add.reduce(self.trials, axis=None))
        before = trials - float(np.add.reduce(self.trials[:, now]))
        if not before:
            return crashes, trials
        return crashes - float(np.add.reduce(self.crashes[:, now])), before

    def crash_rate(self) -> float:
        """Crashed hosts per trial, over all."""
        return float(self.crashes.sum() / max(self.trials.sum(), 1.0))

    def signature_rate(self, crashes_before: float) -> float:
        """Crashes of one signature per trial, an upper limit that stays positive for one never seen."""
        raised = crashes_before + 1.0 + LIMIT_ERRORS * np.sqrt(crashes_before + 0.25)
        return float(self.drift() * raised / max(self.trials.sum(), MINIMUM_TRIALS))


class Past(Part):
    """What history says of each update, as of its start, and what the hosts without it have shown since.

    An update's hours begin anew in each ring: of a ring's first two hours its crashes and trials are compared with what
    was usual before; of its first day, while hosts without the update would show what comes to all. Only a signature
    never seen before the update stays under history's eye.
    """

    rates: Annotated[
        Floats, Column("rates", ("strata", "updates"), "crashed hosts per trial; NaN without history", np.nan)
    ]
    ring_since: Annotated[
        Ints, Column("ring_since", ("updates", MAX_RINGS), "bucket of its first exposure there", dtype=np.int64)
    ]
    knows_day: Annotated[
        Bools, Column("past_knows_day", ("updates",), "whether the past held a day at the start", False, np.bool_)
    ]
    watched: Annotated[
        Bools, Column("past_watched", ("updates",), "whether hosts without it would show a shock", False, np.bool_)
    ]
    # in the rings' first hours
    crashed: Annotated[Floats, Column("past_crashed", ("updates",), "crashed hosts, exposed")]
    named: Annotated[Floats, Column("past_named", ("updates", SIGNATURE_PLACES), "of those, by place of a signature")]
    trials: Annotated[Floats, Column("past_trials", ("updates",), "exposed trials")]
    usual: Annotated[Floats, Column("past_usual", ("updates",), "crashed hosts at history's rates")]
    expected: Annotated[Floats, Column("past_expected", ("updates",), "crashed hosts that history allows")]
    boots_expected: Annotated[Floats, Column("past_boots_expected", ("updates",), "the same, were it boots that crash")]
    boot_worth: Annotated[Floats, Column("past_boot_worth", ("updates",), "trials a boot, as of its start", 1.0)]
    # since it appeared
    exposure: Annotated[Floats, Column("past_exposure", ("updates",), "tolerated exposed trials")]
    control: Annotated[Floats, Column("past_control", ("updates",), "control trials")]
    pending: Annotated[Floats, Column("past_pending", ("strata",), "trials, not yet among the control trials")]
    shock: Annotated[Floats, Column("shock", ("updates",), "times the rate", 1.0)]
    elsewhere: Annotated[
        Floats, Column("past_elsewhere", ("updates",), "crashed hosts without it, in all strata; slow")
    ]
    # decayed as the trials, by scale
    control_crashes: Annotated[Floats, Column("control_crashes", (3, "strata", "updates"), "crashed control hosts")]

    def begin(self, updates: Ints, history: History) -> None:
        """What history says is fixed when an update first appears."""
        ready = history.ready()
        self.rates[:, updates] = history.upper_rates()[:, None] if ready else np.nan
        self.expected[updates] = self.exposure[updates] = 0.0 if ready else np.inf
        self.boot_worth[updates] = history.trials_a_boot()

    def begin_rings(self, buckets: Ints, updates: Ints, rings: Ints, ring_of: Ints, history: History) -> None:
        """Exposures, by row: where an update comes to a ring, what is usual there is fixed as of now."""
        fresh = self.ring_since[updates, rings] == 0
        if not fresh.any():
            return
        upper = history.upper_rates() if history.ready() else None
        self.knows_day[updates[fresh]] = upper is not None and history.spans_a_day()
        rows = zip(*(column[fresh].tolist() for column in (buckets, updates, rings)), strict=True)
        for bucket, update, ring in sorted(rows):
            if self.ring_since[update, ring]:
                continue
            self.ring_since[update, ring] = max(bucket, 1)
            if upper is None:
                continue
            self.rates[ring_of == ring, update] = upper[ring_of == ring]
            if not np.isfinite(self.expected[update]):
                self.expected[update] = self.exposure[update] = self.crashed[update] = self.trials[update] = 0.0
                self.usual[update] = self.named[update] = self.boots_expected[update] = 0.0
                self.boot_worth[update] = history.trials_a_boot()

    def is_young(self, buckets: Ints, updates: Ints, rings: Ints) -> Bools:
        """Whether these moments lie in the first hours of an update in a ring. By what is known before."""
        most = np.where(self.knows_day[updates] & self.watched[updates], WATCHED_BUCKETS, HISTORY_BUCKETS)
        result: Bools = buckets - self.ring_since[updates, rings] < most
        return result

    def expose(
        self, strata: Ints, updates: Ints, trials: Floats, tolerated: Floats, young: Bools, boots: Bools
    ) -> None:
        """Rows of exposed trials, the tolerated risk of each one's update, and whether they are boots."""
        allowed = trials * tolerated * self.shock[updates]
        np.add.at(self.exposure, updates, allowed)
        if not young.any():
            return
        rates = self.rates[strata, updates]
        known = np.isfinite(rates)
        if not known.all():
            rates = np.where(known, rates, np.nanmax(rates) if known.any() else np.nan)
        for target, values in ((self.expected, allowed * rates), (self.usual, trials * rates), (self.trials, trials)):
            np.add.at(target, updates[young], values[young])
        booted = young & boots
        worth = self.boot_worth[updates[booted]]
        np.add.at(self.boots_expected, updates[booted], worth * (allowed * rates)[booted])

    def crash(self, updates: list[int], ring: int, bucket: int) -> None:
        """A crashed host that counts for these updates."""
        counted = np.array(updates, dtype=np.int64)
        self.crashed[counted[self.is_young(np.array(bucket), counted, np.array(ring))]] += 1.0

    def crash_named(self, updates: list[int], slots: Ints, signature: int, ring: int, bucket: int) -> None:
        """The same of its signature, by the place that each of these updates has for it (`slots`). A signature that the
        fleet had never seen before the update counts for ever."""
        counted = np.array(updates, dtype=np.int64)
        found, places = np.nonzero(slots[counted] == signature)
        counted = counted[found]
        counts = (places < NEW_PLACES) | self.is_young(np.array(bucket), counted, np.array(ring))
        self.named[counted[counts], places[counts]] += 1.0

    def take_over(self, since: Ints, exposed_trials: Floats, book: EvidenceBook) -> None:
        """What a snapshot of before tells: every ring's hours begin with the update."""
        self.ring_since = np.where(exposed_trials > 0, since[:, None], 0)
        self.crashed, self.named = book.exposed.copy(), book.signature_exposed.copy()
        self.trials = exposed_trials.sum(axis=1)
        self.usual = np.where(np.isfinite(self.expected), self.expected, 0.0)
        book.place_trials[:] = self.trials[:, None]

    def settle(self, active: Bools) -> None:
        """Trials since the last time are control trials, but for those that are taken from them as exposed ones;
        `active` (S, U): where hosts have the updates."""
        if self.pending.any():
            self.control += self.pending @ active
            self.pending[:] = 0.0

    def decay(self, by_scale: list[float]) -> None:
        """Time has passed: what is left of the control crashes on each scale."""
        for scale in range(3):
            self.control_crashes[scale] *= by_scale[scale]
        self.elsewhere *= by_scale[-1]

    def surge(self) -> Floats:
        """(U,) how much more history expects if it is boots that crash, not trials: a push after which every host boots
        brings the crashes of these boots with it."""
        with np.errstate(invalid="ignore", divide="ignore"):
            result: Floats = np.fmax(self.boots_expected / self.expected, 1.0)
        return result

    def of_a_day(self, bucket: int) -> Ints:
        """Updates whose first hours in some ring are past, and whose first day there is not."""
        age = bucket - self.ring_since
        ring = (self.ring_since > 0) & (age >= HISTORY_BUCKETS) & (age < WATCHED_BUCKETS)
        return np.flatnonzero(self.knows_day & ring.any(axis=1))

    def watch_elsewhere(self, updates: Ints, control: Floats, exposed: Floats) -> None:
        """Whether the hosts without each of these would show what comes to all, and show nothing: at least as many
        trials of late, `control` (S, len(updates)) against `exposed`, and no more crashes than usual."""
        expected = np.nansum(control * self.rates[:, updates], axis=0)
        rises = control_rises(self.elsewhere[updates], expected, 1.0, LIMIT_ERRORS)
        self.watched[:] = False
        self.watched[updates] = (control.sum(axis=0) >= exposed) & ~rises

    def watch(self, expected: Floats) -> None:
        """How far crash rates may have risen for all, as the control hosts tell; `expected` (2, U) of them."""
        self.shock = shock_factor(self.control_crashes[1:].sum(axis=1), expected)
