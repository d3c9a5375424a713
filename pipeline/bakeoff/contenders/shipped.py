"""Rules that ship with fleets' own tools today, as their sources say them, over counts that they would have."""

from collections.abc import Sequence

import numpy as np

from pipeline.bakeoff.protocol import Call, Past, Step, halts
from pipeline.wire.spans import DAY_MS, HOUR_MS

PHASE_HOURS, PHASE_POINTS = 6, 10


class Ubuntu:
    """Phased updates (ubuntu/error-tracker): looked at every six hours, ten points more if it is clean. Halted when
    today's crashes exceed mean + sd of 15 days of the version before, scaled by share and time of day; when that has
    no data, by any; or when a signature unseen before hit three systems. At 100 % it has been let through."""

    def __init__(self, past: Past) -> None:
        self._limit = float(np.rint(past.daily.mean() + past.daily.std()))
        self._has_past = bool(past.daily.any())
        self._known = past.signatures
        self._day = self._phase = 0
        self._today = np.zeros(len(past.updates))
        self._new: list[dict[object, set[str]]] = [{} for _ in past.updates]

    def see(self, step: Step) -> Sequence[Call]:
        """Crashes count by UTC day."""
        if step.now_ms // DAY_MS != self._day:
            self._day = step.now_ms // DAY_MS
            self._today[:] = 0
        for crash in step.crashes:
            for update in crash.exposed:
                self._today[update] += crash.is_first
                if crash.signature is not None and crash.signature not in self._known:
                    self._new[update].setdefault(crash.signature, set()).add(crash.host)
        if step.now_ms // (PHASE_HOURS * HOUR_MS) == self._phase:
            return ()
        self._phase = step.now_ms // (PHASE_HOURS * HOUR_MS)
        phases = (step.now_ms - step.first_ms) / (PHASE_HOURS * HOUR_MS)
        share = np.minimum(PHASE_POINTS * (1 + np.floor(phases)), 100) / 100
        excess = self._today - self._limit * share * (step.now_ms % DAY_MS / DAY_MS)
        bad = (self._today >= 3) & (excess > 1) if self._has_past else self._today >= 1
        bad |= np.array([any(len(hosts) >= 3 for hosts in seen.values()) for seen in self._new])
        begun = step.first_ms > 0
        clean = np.flatnonzero(begun & ~bad & (share >= 1)).tolist()
        return [*halts(begun & bad), *(Call(update, "clear") for update in clean)]


class Lvfs:
    """LVFS firmware (fwupd/lvfs-website): demoted at five failures when less than 70 % of its reports are
    successes. A success is a host's first clean report: here hosts are trials over hours."""

    def __init__(self, past: Past) -> None:
        self._enough = np.full(len(past.updates), 5)

    def see(self, step: Step) -> Sequence[Call]:
        """Over 26 weeks, that is since the update came."""
        failures = step.totals.crashed
        success = step.totals.trials / np.maximum((step.now_ms - step.first_ms) / HOUR_MS, 1.0)
        return list(halts((failures >= self._enough) & (100 * success < 70 * (success + failures))))


class HawkBit:
    """hawkBit (ThresholdRolloutGroupErrorCondition): paused when errors exceed 50 % of ALL targets of a group, silent
    ones too. A group is a ring."""

    def __init__(self, past: Past) -> None:
        self._targets = past.targets
        self._errors = np.zeros(past.targets.shape)

    def see(self, step: Step) -> Sequence[Call]:
        """A crashed host is an error."""
        for crash in step.crashes:
            for update in crash.exposed:
                self._errors[update, crash.ring] += crash.is_first
        return list(halts(np.any((self._errors > 0.5 * self._targets) & (self._targets > 0), axis=1)))


class IotAbort:
    """AWS IoT jobs' abort criteria: a share of failed and timed-out executions (10 %), once 20 have been executed."""

    SHARE, LEAST = 0.10, 20

    def __init__(self, past: Past) -> None:
        self._share = np.full(len(past.updates), self.SHARE)

    def see(self, step: Step) -> Sequence[Call]:
        """Executed are the hosts that reported with it."""
        hosts = step.totals.trials / np.maximum((step.now_ms - step.first_ms) / HOUR_MS, 1.0) + step.totals.crashed
        return list(halts((hosts >= self.LEAST) & (step.totals.crashed >= self._share * hosts)))


class Autopatch:
    """Autopatch's monitoring rule: paused when the share that rolled back, here crashed, reaches 5 % of the targets."""

    def __init__(self, past: Past) -> None:
        self._targets = past.targets.sum(axis=1)

    def see(self, step: Step) -> Sequence[Call]:
        """Of all that it is meant for."""
        return list(halts((step.totals.crashed > 0) & (step.totals.crashed >= 0.05 * self._targets)))


class Sentry:
    """Sentry's release health: crash-free sessions below 99.5 %, with at least 50 sessions of the release."""

    LIMIT, LEAST = 0.995, 50

    def __init__(self, past: Past) -> None:
        self._limit = np.full(len(past.updates), 1 - self.LIMIT)

    def see(self, step: Step) -> Sequence[Call]:
        """A session is a trial or a crash."""
        sessions = step.totals.trials + step.totals.crashed
        return list(halts((sessions >= self.LEAST) & (step.totals.crashed > self._limit * sessions)))
