"""BCa intervals: percentile intervals moved for bias and for a spread that changes with the value."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bca_levels(
    resampled: NDArray[np.float64], value: float, left_out: NDArray[np.float64], level: float
) -> tuple[float, float] | str:
    """Tell which quantiles of the resampled scores bound the BCa interval, or why there is none.

    Args:
        resampled: (R,) scores on resamples, none NaN.
        value: the score on all rows.
        left_out: (U,) scores with one unit left out at a time; NaN where undefined.
        level: coverage aimed at, in (0, 1).

    Returns: two quantiles in (0, 1); or the reason, as part of a sentence, where bias or acceleration is undefined.

    Source: Efron 1987; Efron & Tibshirani 1993, equations 14.10, 14.14 (ties with the value counted half) and 14.15.

    >>> low, high = bca_levels(np.arange(1000.0), 499.5, np.array([1.0, 2.0, 3.0]), 0.95)  # no bias, no skew
    >>> round(low, 6), round(high, 6)
    (0.025, 0.975)
    """
    from scipy.special import ndtr, ndtri

    below = float((resampled < value).mean() + (resampled <= value).mean()) / 2
    if not 0 < below < 1:
        return "every resample lies on one side of the value"
    if np.isnan(left_out).any():
        return "the metric is undefined without one of the units"
    influence = left_out.mean() - left_out
    # Leaving out any unit changes nothing but rounding: no skewness can be told.
    if np.abs(influence).max() <= 1e-12 * max(1.0, float(np.abs(left_out).max())):
        return "no unit changes the metric by itself"
    acceleration = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    bias = float(ndtri(below))
    found = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        moved = bias + float(ndtri(tail))
        stretch = 1 - acceleration * moved
        if stretch <= 0:
            return "the acceleration is too large for this level"
        found.append(float(ndtr(bias + moved / stretch)))
    return found[0], found[1]
