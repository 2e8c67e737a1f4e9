"""Expanded percentile intervals: as wide for few patients as a t interval would be."""

from __future__ import annotations

import numpy as np


def expanded_levels(units: int, level: float) -> tuple[float, float]:
    """Tell which quantiles of the resampled scores bound the expanded percentile interval.

    Resamples of n units spread less than the units they stand for, by sqrt((n - 1) / n), and the normal distribution
    has shorter tails than t. Taking quantiles further out makes up for both: exactly so for means of a normal score.

    Args:
        units: n resampled, at least 2.
        level: coverage aimed at, in (0, 1).

    Returns: two quantiles in (0, 1), symmetric about one half.

    Source: Hesterberg 2015, "What teachers should know about the bootstrap", the expanded percentile interval.

    >>> [round(quantile, 4) for quantile in expanded_levels(40, 0.95)]  # instead of 0.025 and 0.975
    [0.0203, 0.9797]
    """
    from scipy import stats

    tail = float(stats.norm.sf(np.sqrt(units / (units - 1)) * stats.t.isf((1 - level) / 2, units - 1)))
    return tail, 1 - tail
