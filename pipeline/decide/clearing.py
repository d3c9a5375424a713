"""Clearing: the mirror image. An e-process against "the relative risk is at least r" per update and ring; when it
rejects, no harm above r was found. No historical control, and the exposed share bounded from below."""

from typing import Annotated

import numpy as np

from pipeline.decide import evidence as ev
from pipeline.decide.arrays import Column, Floats, Ints, Part
from pipeline.decide.buckets import CrashColumns
from pipeline.decide.name_index import MAX_RINGS
from pipeline.decide.silence.silence import Silence as Silence  # for who keeps both

# Exposed hosts count as overdue when their share of trials falls below this part of its peak: they went silent.
OVERDUE_SHARE = 0.8


class Clearing(Part):
    """Log evidence of "less than r" over (ring, bet, update), and the peak share of exposed trials.

    >>> clearing = Clearing()
    >>> for exposed in (300.0, 30.0):
    ...     clearing.watch(np.full(8, exposed), np.full(8, 1_000.0))
    >>> float(clearing.overdue[0])
    1.0
    """

    log: Annotated[Floats, Column("log", (MAX_RINGS, len(ev.PHI), "updates"), "ln")]
    peak: Annotated[Floats, Column("peak", ("updates",), "share of trials")]
    overdue: Annotated[Floats, Column("overdue", ("updates",), "0 or 1")]

    def close(self, columns: CrashColumns, lower_share: Floats, risk: Floats, ring_of: Ints) -> None:
        """Enter a closed bucket; `lower_share` (C, U), `risk` (R, U): the relative risk to rule out."""
        crashes, exposed = columns.dense(lower_share.shape[1])
        reached = lower_share > 0
        crashes *= reached
        exposed *= reached
        rings = ring_of[columns.strata]
        null = ev.null_share(lower_share, risk[rings])
        for row, ring in enumerate(rings):
            self.log[ring] += exposed[row] * ev.LOG_PHI[:, None]
            self.log[ring] -= crashes[row] * ev.log_normaliser(null[row], ev.PHI[:, None])

    def watch(self, exposed: Floats, eligible: Floats) -> None:
        """Follow the share of exposed trials; (U,) decayed counts over all strata."""
        share = np.minimum(exposed / np.maximum(eligible, 1.0), 1.0)
        error = np.sqrt(share * (1 - share) / np.maximum(eligible, 1.0))
        self.peak = np.where(eligible >= 100, np.maximum(self.peak, share - error), self.peak)
        self.overdue = ((self.peak > 0) & (share + 2 * error < OVERDUE_SHARE * self.peak)).astype(np.float64)

    def log_evidence_of(self, update: int, ring: int) -> float:
        """ln of one mixture."""
        return float(ev.log_mixture(self.log[ring, :, update], ev.PHI_WEIGHT))

    def log_evidence(self) -> Floats:
        """ln of the mixture; (R, U)."""
        return ev.log_mixture(self.log.swapaxes(1, 2), ev.PHI_WEIGHT)


def needed_trials(log_evidence: float, target: float, share: float, crash_rate: float, risk: float) -> int:
    """How many more exposed trials a harmless update is expected to need until it is cleared; 0 when unknown.

    A crash of anyone in the comparison gains max over phi of pi*ln(phi) - ln(1 - p + phi*p); there are
    crash_rate / pi of them per exposed trial.
    """
    if not 0 < share < 1 or crash_rate <= 0:
        return 0
    null = ev.null_share(np.array([share]), risk)
    gain = float((share * ev.LOG_PHI - ev.log_normaliser(null, ev.PHI)).max())
    if gain <= 0:
        return 0
    return max(0, round((target - log_evidence) / gain * share / crash_rate))
