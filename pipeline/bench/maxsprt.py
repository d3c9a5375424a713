"""Poisson MaxSPRT (Kulldorff et al., "A Maximized Sequential Probability Ratio Test for Drug and Vaccine Safety
Surveillance", Sequential Analysis 2011), the yardstick for `andon bench decide`. Exact, by dynamic programming."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def boundary(critical_value: float, horizon: float, most: int = 400) -> Floats:
    """For each count c >= 1 the largest expected count mu at which c events signal: c*ln(c/mu) - (c - mu) >= CV.

    Solved by bisection; mu never exceeds the horizon T. Shape (most,), entry c-1 for count c.
    """
    counts = np.arange(1, most + 1, dtype=np.float64)
    low, high = np.full(most, 1e-12), counts.copy()
    for _ in range(80):
        middle = (low + high) / 2
        signals = counts * np.log(counts / middle) - (counts - middle) >= critical_value
        low, high = np.where(signals, middle, low), np.where(signals, high, middle)
    result: Floats = np.minimum(low, horizon)
    return result


def signal_probability(limits: Floats, horizon: float, relative_risk: float) -> tuple[float, float]:
    """The chance of a signal before the horizon, and the mean number of events at the signal, given one.

    Between limits events arrive as a Poisson process of rate `relative_risk` per expected event. A signal comes with
    the c-th event when it arrives while mu <= limits[c-1].
    """
    chance, events = 0.0, 0.0
    states = np.zeros(len(limits) + 1)  # states[c]: chance of c events so far without a signal
    states[0] = 1.0
    at = 0.0
    for count, limit in enumerate(limits, start=1):
        if at >= horizon:
            break
        # until `limit`, having fewer than `count` events is the only way not to have signalled
        states = _advance(states, relative_risk * (limit - at))
        for reached in range(count, len(states)):
            chance += states[reached]
            events += states[reached] * count  # limits rise with c: whoever is past c here signalled with event c
        states[count:] = 0.0
        at = limit
    return chance, events / chance if chance else 0.0


def _advance(states: Floats, mean: float) -> Floats:
    if mean <= 0:
        return states
    size = len(states)
    steps = np.arange(size)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size)))])
    pmf = np.exp(steps * np.log(mean) - mean - log_factorial)
    advanced: Floats = np.convolve(states, pmf)[:size]
    return advanced


def critical_value(alpha: float, horizon: float) -> float:
    """The critical value at which the chance of a false signal before the horizon is `alpha`.

    Published (Kulldorff et al. 2011, table 1), alpha 0.05: T=2 3.046977, T=5 3.297183, T=10 3.467952.
    """
    low, high = 0.5, 30.0
    for _ in range(60):
        mid = (low + high) / 2
        chance, _ = signal_probability(boundary(mid, horizon), horizon, 1.0)
        low, high = (mid, high) if chance > alpha else (low, mid)
    return (low + high) / 2
