"""E-processes on a grid of relative risks, in log space.

Every crash is a coin flip: on a host with the update, or on one like it without? Betting on that flip gives a
nonnegative supermartingale under "the update raises no crash rate by more than rho", so the chance that it ever
reaches 1/alpha is at most alpha (Ville's inequality). The mixture over theta is a mixture e-process: Howard et al.,
"Time-uniform, nonparametric, nonasymptotic confidence sequences" (2021); Lindon et al., KDD 2022.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Bets: the relative risks that the mixture considers, beyond the tolerated one. Denser where evidence grows slowly.
THETA: Floats = np.array([1.5, 2, 2.5, 3, 4, 6, 8, 12, 20, 40, 80, 160, 400, 1024], dtype=np.float64)
LOG_THETA: Floats = np.log(THETA)
# Weights fall slowly with theta: a large risk is found within a few crashes even at a small weight.
_RAW_WEIGHTS = np.array([1.4, 1.6, 1.2, 1.2, 1.2, 1.0, 0.9, 0.9, 0.8, 0.8, 0.7, 0.5, 0.4, 0.3])
LOG_WEIGHT: Floats = np.log(_RAW_WEIGHTS / _RAW_WEIGHTS.sum())

# Bets on "less than the relative risk r that would be harm", as a share of r: what clears an update.
PHI: Floats = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.7], dtype=np.float64)
LOG_PHI: Floats = np.log(PHI)
LOG_PHI_WEIGHT: Floats = np.full(len(PHI), -np.log(len(PHI)))

WEIGHT: Floats = np.exp(LOG_WEIGHT)
PHI_WEIGHT: Floats = np.exp(LOG_PHI_WEIGHT)

LN10 = float(np.log(10.0))
LIMIT_ERRORS = 1.64
# Times drift and tolerated risk: while nobody is left to ask, a rise of up to some 15 may be a shock.
SHOCK_LIMIT = 7.0
MAX_ODDS = 50.0  # of exposure, where control hosts stand for exposed ones


def odds_of(share: Floats) -> Floats:
    """Exposed hosts per control host, at most MAX_ODDS; any shape."""
    result: Floats = np.minimum(share / np.maximum(1.0 - share, 1.0 / MAX_ODDS), MAX_ODDS)
    return result


def null_share(exposed_share: Floats, tolerated_risk: float | Floats) -> Floats:
    """The chance that a crash lands on an exposed host if the update's relative risk is just `tolerated_risk`.

    rho*pi / (rho*pi + 1 - pi); any shape.
    """
    odds = tolerated_risk * exposed_share
    result: Floats = odds / (odds + (1.0 - exposed_share))
    return result


def log_normaliser(share: Floats, bets: Floats) -> Floats:
    """ln(1 - p + theta*p) for every share p and bet theta; shapes broadcast."""
    result: Floats = np.multiply(share, bets - 1.0)
    result += 1.0
    return np.log(result, out=result)  # twice as fast as log1p, and exact enough


def bernoulli_log_increment(exposed: Floats, crashes: Floats, share: Floats, bets: Floats = THETA) -> Floats:
    """Log evidence of `exposed` crashed hosts among `crashes`, when each is exposed with chance at most `share`.

    Shapes broadcast; the result has one more axis, the bets.
    """
    result: Floats = exposed[..., None] * np.log(bets) - crashes[..., None] * log_normaliser(share[..., None], bets)
    return result


def poisson_log_increment(observed: Floats, expected: Floats, bets: Floats = THETA) -> Floats:
    """Log evidence of `observed` crashed hosts where history expects at most `expected`; one more axis, the bets."""
    result: Floats = observed[..., None] * np.log(bets) - expected[..., None] * (bets - 1.0)
    return result


def log_mixture(log_evidence: Floats, weight: Floats = WEIGHT) -> Floats:
    """ln of the weighted mean of exp(log_evidence) over the last axis; stable for sums of any size."""
    peak = log_evidence.max(axis=-1)
    shifted = log_evidence - peak[..., None]
    result: Floats = peak + np.log(np.exp(shifted, out=shifted) @ weight)
    return result


def log_sum_exp(terms: Floats) -> Floats:
    """ln sum exp over the last axis; -inf terms count as nothing."""
    peak = terms.max(axis=-1)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        shifted = terms - peak[..., None]
        result: Floats = peak + np.log(np.exp(shifted, out=shifted).sum(axis=-1))
    return result


def shock_factor(control_crashes: Floats, control_expected: Floats) -> Floats:
    """By how much crash rates may have risen for everyone, as far as the control hosts cannot rule it out.

    Counts by (scale, update), the fastest scale left out; the scale that leaves the most room counts, for a shock may
    have begun just now.
    """
    upper = control_crashes + 1.0 + LIMIT_ERRORS * np.sqrt(control_crashes + 1.0)
    rise = (upper / np.maximum(control_expected, 1e-9)).max(axis=0)
    result: Floats = np.minimum(np.maximum(rise, 1.0), SHOCK_LIMIT)
    return result


def common_crashes(crashes: Floats, exposed: Floats, control: Floats, odds: Floats, usual: Floats) -> Floats:
    """How many exposed hosts would crash with a signature that comes to every host alike, an upper limit.

    Since it came up: `crashes` of control hosts with it, `exposed` and `control` trials; `odds` of exposure, `usual`
    all crashes per trial. As far as the control hosts cannot rule it out; while none of them has crashed with it, no
    more than as large a shock as SHOCK_LIMIT allows, all of it with that signature.
    """
    upper = crashes + 1.0 + LIMIT_ERRORS * np.sqrt(crashes + 1.0)
    most = upper_exposure(exposed)
    silent = most * np.minimum(upper / np.maximum(control, 1e-9), SHOCK_LIMIT * usual)
    result: Floats = np.where(crashes > 0, upper * odds, silent)
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
