"""The exposed share among the hosts that have no halted update: only they are compared once something is halted.

The counts of all trials say what share of all hosts has an update; the samples say only how much that share differs
among the hosts that remain. So a share that is well known stays so, and one that grows is not taken from old samples.
"""

import numpy as np

from pipeline.decide.arrays import Bools, Floats


def share_factor(
    everyone: Floats, remaining: Floats, exposed: Floats, exposed_remaining: Floats, room: Floats
) -> Floats:
    """By how much the exposed share is larger among the remaining hosts than among all, an upper limit; (S, U).

    P(exposed | remains) / P(exposed) = P(remains | exposed) / P(remains), by Bayes; the numerator's upper limit over
    the denominator's lower one. Sampled hosts by stratum (S,): all, and those that remain; the exposed ones among both
    (S, U). `room` (S,) is what the counts leave for P(remains) at most: a halted update that is still being installed
    shows there before it does in the samples. Infinite where nobody may remain.
    """
    remains = (remaining + 1.0) / (everyone + 2.0)
    lower = np.clip(np.minimum(remains - _error(remains, everyone + 2.0), room), 0.0, 1.0)
    keeps = (exposed_remaining + 2.0) / (exposed + 2.0)  # without samples of its own, as if all its hosts remained
    upper = np.minimum(keeps + _error(keeps, exposed + 2.0), 1.0)
    with np.errstate(divide="ignore"):
        result: Floats = upper / lower[:, None]
    return result


def _error(share: Floats, hosts: Floats) -> Floats:
    result: Floats = np.sqrt(share * (1.0 - share) / hosts)
    return result


def among_remaining(share: Floats, factor: Floats, own: Bools) -> Floats:
    """The shares (C, U) among the hosts that remain; `own` (U,) are the halted updates, judged among all hosts."""
    result: Floats = np.where(own, share, np.minimum(share * factor, 1.0))
    return result
