"""Expanded percentile intervals: as wide as t intervals where these are right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medgraft.statistics.bootstrap import WeightedMetric, bootstrap_interval, paired_difference
from medgraft.statistics.expanded import expanded_levels


def test_a_hand_worked_case() -> None:
    # Ten units: t of 9 degrees of freedom 2.2622, times sqrt(10 / 9) is 2.3845: 0.0086 of the normal distribution.
    assert expanded_levels(10, 0.95) == pytest.approx((0.0086, 0.9914), abs=5e-5)


def test_with_very_many_units_it_is_the_percentile_interval() -> None:
    assert expanded_levels(10**7, 0.9) == pytest.approx((0.05, 0.95), abs=1e-6)


def test_of_a_mean_it_is_as_wide_as_a_t_interval() -> None:
    values = stats.norm.ppf((np.arange(12) + 0.5) / 12)
    mean = WeightedMetric(lambda weights: weights @ values / weights.sum(axis=1), 12)
    interval = bootstrap_interval(mean, np.arange(12), 40000, method="expanded")
    expected = stats.t.interval(0.95, 11, values.mean(), values.std(ddof=1) / np.sqrt(12))
    # Means of twelve have slightly shorter tails than the normal distribution.
    assert (interval.low, interval.high) == pytest.approx(expected, rel=0.03)
    plain = bootstrap_interval(mean, np.arange(12), 40000, method="percentile")
    assert interval.low < plain.low and interval.high > plain.high


def test_differences_have_them_too() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 15))
    means = [WeightedMetric(lambda w, v=v: w @ v / w.sum(axis=1), 15) for v in (a, b)]
    plain, expanded = (paired_difference(*means, np.arange(15), method=m) for m in ("percentile", "expanded"))
    assert expanded.low < plain.low < plain.high < expanded.high
    assert expanded.reason is None
