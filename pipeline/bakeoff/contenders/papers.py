"""Rules of which papers and their code tell: Mozilla's crash correlations, Gandalf, Kayenta, and a change point."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.bakeoff.protocol import Call, Crashed, Past, Step
from pipeline.wire.spans import HOUR_MS, MINUTE_MS


class Mozilla:
    """Crash correlations (marco-c/crashcorrelations): among the crashes of one signature an update is listed 15 points
    more often than among all, in at least five; chi squared at 0.05/2 over the candidates, phi at least 0.03.
    What correlates is taken for a halt, every quarter of an hour."""

    EVERY_MS = 15 * MINUTE_MS

    def __init__(self, past: Past) -> None:
        from scipy.stats import chi2_contingency

        self._test, self._size, self._at = chi2_contingency, len(past.updates), 0
        self._by_look: dict[object, Counter[int]] = {}
        self._looks: Counter[object] = Counter()
        self._all: Counter[int] = Counter()

    def see(self, step: Step) -> Sequence[Call]:
        """Crashes without a signature are one group."""
        for crash in step.crashes:
            self._looks[crash.signature] += 1
            self._by_look.setdefault(crash.signature, Counter()).update(crash.exposed)
            self._all.update(crash.exposed)
        if step.now_ms - self._at < self.EVERY_MS:
            return ()
        self._at = step.now_ms
        return [Call(update) for look in self._looks for update in range(self._size) if self._differs(look, update)]

    def _differs(self, look: object, update: int) -> bool:
        group, total, have = self._looks[look], self._looks.total(), self._by_look[look][update]
        rest = total - group
        if have < 5 or not rest or have / group - self._all[update] / total < 0.15:
            return False
        others = self._all[update] - have
        table = [[have, group - have], [others, rest - others]]
        if not all(map(sum, zip(*table, strict=True))):
            return False
        found = self._test(table)
        return bool(found.pvalue <= 0.05 / 2 / self._size and np.sqrt(found.statistic / total) >= 0.03)


class Gandalf:
    """Gandalf (NSDI 2020): hours whose crashes exceed Holt-Winters' forecast (statsmodels, 15 days by hour) by 4 sigma;
    each is a vote for the updates on its hosts, weighted by how soon after release: within 1 h, 24 h, 72 h. Votes from
    before the release are vetoes. Blamed is the highest ST = sum of w log((P - B + 1) / (B + 1)), when half of its
    hosts' faults are its own; SS: faulty over deployed clusters (here rings) says whether it spreads."""

    WEIGHTS = ((1.0, 3.0), (24.0, 2.0), (72.0, 1.0))
    LIMIT = 5.0

    def __init__(self, past: Past) -> None:
        from statsmodels.tsa.holtwinters import ExponentialSmoothing

        series = past.hourly.astype(float) + 0.1
        fitted: Any = ExponentialSmoothing(series, seasonal="add", seasonal_periods=24).fit(
            smoothing_level=0.1, smoothing_seasonal=0.1, optimized=False
        )
        self._forecast = float(fitted.forecast(24).mean())
        self._sigma = float(max(np.std(series - fitted.fittedvalues), 0.5))
        self._hour, self._crashes, self._size = 0, list[Crashed](), len(past.updates)
        self._votes = np.zeros((len(self.WEIGHTS), self._size))
        self._vetoes = np.zeros(self._size)

    def see(self, step: Step) -> Sequence[Call]:
        """Looked at every ten minutes, over the hour before."""
        self._crashes = [c for c in (*self._crashes, *step.crashes) if c.at_ms > step.now_ms - HOUR_MS]
        if step.now_ms // (10 * MINUTE_MS) == self._hour:
            return ()
        self._hour = step.now_ms // (10 * MINUTE_MS)
        first = [crash for crash in self._crashes if crash.is_first]
        if len(first) < self._forecast + 4 * self._sigma:
            return ()
        own = np.bincount([u for crash in first for u in crash.exposed], minlength=self._size)
        hours = np.where(step.first_ms > 0, (step.now_ms - step.first_ms) / HOUR_MS, np.inf)
        for place, (within, _) in enumerate(self.WEIGHTS):
            self._votes[place] += own * (hours <= within)
        self._vetoes += np.where(np.isinf(hours), len(first) - own, 0)
        ahead = np.maximum(self._votes - self._vetoes, 0.0)
        weights = np.array([weight for _, weight in self.WEIGHTS])
        blame = (weights[:, None] * np.log((ahead + 1) / (self._vetoes + 1))).sum(axis=0)
        best = int(blame.argmax())
        return [Call(best)] if blame[best] > self.LIMIT and own[best] * 2 > len(first) else ()


class Kayenta:
    """Kayenta (MannWhitneyClassifier): hourly, on the crash rates of five minutes; High when the lower limit (98 %) of
    the shift (Hodges-Lehmann) exceeds a quarter of its estimate. Less than half of the data makes it no judgement."""

    SLOT_MS = 5 * MINUTE_MS

    def __init__(self, past: Past) -> None:
        self._slot, self._hour = 0, 0
        self._before = np.zeros((4, len(past.updates)))
        self._rates: list[np.ndarray[Any, Any]] = []

    def see(self, step: Step) -> Sequence[Call]:
        """Both sides need crashes in half of the slots."""
        if step.now_ms // self.SLOT_MS == self._slot:
            return ()
        self._slot = step.now_ms // self.SLOT_MS
        now = np.stack((step.totals.trials, step.totals.crashed, *step.totals.control())).astype(float)
        mine, crashed, others, theirs = now - self._before
        self._before = now
        with np.errstate(divide="ignore", invalid="ignore"):
            self._rates = [*self._rates[-47:], np.stack((crashed / mine, theirs / others))]
        if step.now_ms // HOUR_MS == self._hour or len(self._rates) < 12:
            return ()
        self._hour = step.now_ms // HOUR_MS
        return [Call(u) for u in np.flatnonzero(step.totals.crashed).tolist() if self._is_high(u)]

    def _is_high(self, update: int) -> bool:
        pairs = np.array([rates[:, update] for rates in self._rates])
        experiment, control = (side[np.isfinite(side) & (side > 0)] for side in pairs.T)
        size = min(experiment.size, control.size)
        if 2 * size < len(pairs):
            return False  # NODATA
        shifts = np.sort((experiment[:, None] - control[None, :]).ravel())
        spread = 2.33 * np.sqrt(experiment.size * control.size * (experiment.size + control.size + 1) / 12)
        low = max(int(shifts.size / 2 - spread), 0)
        return bool(shifts[low] > 0.25 * abs(np.median(shifts)) and experiment.mean() > control.mean())


class ChangePoint:
    """PELT (ruptures, rank cost, penalty 10) on the fleet's crashes by quarters of an hour: blamed for a rise is the
    update that was first seen last before it, as a person would who looks at a chart."""

    SLOT_MS = 15 * MINUTE_MS

    def __init__(self, past: Past) -> None:
        from ruptures import Pelt

        self._pelt, self._slot, self._now = Pelt(model="rank", min_size=2, jump=2), 0, 0
        self._counts: list[int] = []

    def see(self, step: Step) -> Sequence[Call]:
        """The last day is looked at, slot by slot."""
        self._now += sum(crash.is_first for crash in step.crashes)
        if step.now_ms // self.SLOT_MS == self._slot:
            return ()
        self._slot = step.now_ms // self.SLOT_MS
        self._counts = [*self._counts[-95:], self._now]
        self._now = 0
        if len(self._counts) < 12:
            return ()
        signal = np.array(self._counts, float)
        changes = self._pelt.fit(signal).predict(pen=10)[:-1]
        if not changes or signal[changes[-1] :].mean() < 2 * max(signal[: changes[-1]].mean(), 0.5):
            return ()
        begun_ms = step.now_ms - (len(signal) - changes[-1]) * self.SLOT_MS
        before = np.where((step.first_ms > 0) & (step.first_ms <= begun_ms + self.SLOT_MS), step.first_ms, 0)
        return [Call(int(before.argmax()))] if before.any() else ()
