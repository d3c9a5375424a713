"""Whether a fleet crashes more than it should, from whatever minute on: an e-detector over minutes.

For each minute as a beginning there is a test of "no more than expected since then", a supermartingale (x crashes where
at most m are expected: theta^x * exp(-(theta - 1) * m)). Their sum grows by 1 a minute at most while all is as
expected, so it reaches c within T minutes with a chance of T/c at most (Ville's inequality, of the sum + T - t), and
once in c minutes on average: Shin, Ramdas, Rinaldo, "E-detectors" (2022).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BETS: Floats = np.array([1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 300.0])  # times the rate that is tolerated
_LOG_BETS = np.log(BETS)
_LOG_WEIGHT = -float(np.log(len(BETS)))


def log_rise(crashed: Floats, expected: Floats) -> tuple[float, int]:
    """ln of the detector after these minutes, the oldest first, and the place of the beginning that weighs most.

    `expected` (W,) are at most so many crashed hosts as are tolerated, `crashed` (W,) as many as there were; W > 0.

    >>> log_rise(np.zeros(3), np.full(3, 2.0))[0] < np.log(3)
    True
    >>> log_rise(np.array([0.0, 0.0, 9.0, 8.0]), np.full(4, 0.1))[1]
    2
    """
    steps = crashed[:, None] * _LOG_BETS - expected[:, None] * (BETS - 1.0)
    since = np.cumsum(steps[::-1], axis=0)[::-1] + _LOG_WEIGHT
    by_start = _log_sum(since)
    return float(_log_sum(by_start[None])[0]), int(by_start.argmax())


def _log_sum(logs: Floats) -> Floats:
    """ln of the sums over the last axis."""
    peak = logs.max(axis=-1)
    result: Floats = peak + np.log(np.exp(logs - peak[..., None]).sum(axis=-1))
    return result
