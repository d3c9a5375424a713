"""Figures with their limits: rates by Clopper and Pearson, quantiles by order statistics, which assume nothing of a
distribution."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.runtime.errors import AndonError

CONFIDENCE = 0.95


class Figure(NamedTuple):
    """A value with its limits; None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def row(self) -> dict[str, float | None]:
        """For JSON."""
        return {name: None if value is None else round(value, 4) for name, value in self._asdict().items()}


NONE = Figure(None)


def rate(hits: int, of: int, scale: float = 1.0, confidence: float = CONFIDENCE) -> Figure:
    """A share with Clopper and Pearson's limits, times `scale`; none of nothing.

    Raises:
        AndonError: when scipy is not installed.
    """
    if not of:
        return NONE
    try:
        from scipy.stats import binomtest
    except ImportError:
        raise AndonError("scipy is not installed: pip install 'andon[bakeoff]'") from None
    limits = binomtest(hits, of).proportion_ci(confidence, "exact")
    return Figure(scale * hits / of, scale * float(limits.low), scale * float(limits.high))


def quantile(values: Sequence[float], at: float = 0.5, confidence: float = CONFIDENCE) -> Figure:
    """A quantile with the order statistics that hold it with that confidence; without limits where the values are too
    few for such on that side."""
    if not values:
        return NONE
    from scipy.stats import binom

    ordered, size = sorted(values), len(values)
    low = int(binom.ppf((1 - confidence) / 2, size, at))
    high = int(binom.ppf((1 + confidence) / 2, size, at))
    return Figure(
        float(np.quantile(ordered, at, method="median_unbiased" if size > 2 else "linear")),
        float(ordered[low - 1]) if low >= 1 else None,
        float(ordered[high]) if high < size else None,
    )
