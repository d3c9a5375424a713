"""The textbook's rules, each looking at every partial with a crash in it ("peeking") unless it says otherwise."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.bakeoff.protocol import Call, Floats, Past, Step, halts

LEAST_HOSTS = 3
ALPHA = 0.001  # of a test that is looked at again and again: what people use who know that 0.05 will not do


class FixedShare:
    """Halt when 2 % of the hosts that report with the update have crashed, and at least three."""

    SHARE = 0.02

    def __init__(self, past: Past) -> None:
        self._share = self.SHARE

    def see(self, step: Step) -> Sequence[Call]:
        """A host reports hourly: trials over the hours since the first stand for hosts."""
        if not step.crashes:
            return ()
        hours = np.maximum((step.now_ms - step.first_ms) / 3_600_000, 1.0)
        hosts = step.totals.trials / hours
        return list(halts((step.totals.crashed >= LEAST_HOSTS) & (step.totals.crashed > self._share * hosts)))


class ZTest:
    """Two proportions, pooled, one-sided (statsmodels: proportions_ztest), at every crash."""

    def __init__(self, past: Past) -> None:
        from statsmodels.stats.proportion import proportions_ztest

        self._test = proportions_ztest

    def see(self, step: Step) -> Sequence[Call]:
        """Exposed against control since the update came."""
        if not step.crashes:
            return ()
        totals = step.totals
        trials, crashed = totals.control()
        calls = []
        for update in np.flatnonzero((totals.crashed >= LEAST_HOSTS) & (trials + crashed > 0)).tolist():
            counts = np.array([totals.crashed[update], crashed[update]])
            sizes = counts + np.array([totals.trials[update], trials[update]])
            if counts[0] * sizes[1] > counts[1] * sizes[0]:
                _, p = self._test(counts, sizes, alternative="larger")
                if p < ALPHA:
                    calls.append(Call(update))
        return calls


class MaxSprt:
    """Poisson MaxSPRT against history (Kulldorff et al. 2011): max over risks of x ln(x/mu) - (x - mu), T = 20, alpha
    0.05: the critical value that is published, 3.467952."""

    CRITICAL = 3.467952

    def __init__(self, past: Past) -> None:
        self._rate = max(past.crashes_a_trial, 1e-9)

    def see(self, step: Step) -> Sequence[Call]:
        """Expected is what the past's rate makes of the exposed trials."""
        if not step.crashes:
            return ()
        x = step.totals.crashed.astype(float)
        mu = np.maximum(self._rate * step.totals.trials, 1e-9)
        ratio = np.where(x > mu, x * np.log(np.maximum(x, 1) / mu) - (x - mu), 0.0)
        return list(halts((ratio >= self.CRITICAL) & (x >= LEAST_HOSTS)))


class Cusum:
    """Page's CUSUM of the Poisson log likelihood ratio at twice the past's rate, h = 5 (about one false alarm in a few
    hundred expected crashes)."""

    RISK, LIMIT = 2.0, 5.0

    def __init__(self, past: Past) -> None:
        self._rate = past.crashes_a_trial
        self._sum = np.zeros(len(past.updates))
        self._before = np.zeros((2, len(past.updates)))

    def see(self, step: Step) -> Sequence[Call]:
        """The sum never falls below 0."""
        now = np.stack((step.totals.trials, step.totals.crashed)).astype(float)
        trials, crashed = now - self._before
        self._before = now
        rise = crashed * np.log(self.RISK) - (self.RISK - 1) * self._rate * trials
        self._sum = np.maximum(self._sum + rise, 0.0)
        return list(halts((self._sum >= self.LIMIT) & (step.totals.crashed >= LEAST_HOSTS)))


class MannWhitney:
    """Mann-Whitney's U (scipy) of the crash rates of minutes, exposed against control, from the tenth minute on."""

    MINUTES = 10

    def __init__(self, past: Past) -> None:
        from scipy.stats import mannwhitneyu

        self._test = mannwhitneyu
        self._before = np.zeros((4, len(past.updates)))
        self._minute = 0
        self._rates: list[Floats] = []

    def see(self, step: Step) -> Sequence[Call]:
        """A minute has a rate of each side when both had trials."""
        minute = step.now_ms // 60_000
        if minute == self._minute:
            return ()
        self._minute = minute
        totals = step.totals
        now = np.stack((totals.trials, totals.crashed, *totals.control())).astype(float)
        trials, crashed, others, other_crashes = now - self._before
        self._before = now
        with np.errstate(divide="ignore", invalid="ignore"):
            self._rates.append(np.stack((crashed / trials, other_crashes / others)))
        self._rates = self._rates[-240:]
        suspect = np.flatnonzero((totals.crashed >= LEAST_HOSTS) & (crashed > 0)).tolist()
        return [Call(update) for update in suspect if self._differs(update)]

    def _differs(self, update: int) -> bool:
        pairs: npt.NDArray[np.float64] = np.array([rates[:, update] for rates in self._rates])
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        if len(pairs) < self.MINUTES or not pairs[:, 0].any():
            return False
        return float(self._test(pairs[:, 0], pairs[:, 1], alternative="greater").pvalue) < ALPHA
