"""t-tests: against SciPy and statsmodels, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats import weightstats

from medgraft.errors import DataError
from medgraft.statistics import independent_t_test, paired_t_test


def test_a_hand_worked_pair() -> None:
    # Differences 1, 2, 3: t = 2 / (1 / sqrt 3); with two degrees of freedom p = 1 - t / sqrt(t^2 + 2).
    result = paired_t_test([5, 7, 9], [4, 5, 6])
    assert result.statistic == pytest.approx(np.sqrt(12))
    assert result.p == pytest.approx(1 - np.sqrt(12 / 14))
    assert (result.n, result.note) == (3, "")


def test_a_hand_worked_welch() -> None:
    # Means 2 and 4, variances 1 and 4, three each: t = -2 / sqrt(5 / 3).
    result = independent_t_test([1, 2, 3], [2, 4, 6])
    freedom = (5 / 3) ** 2 / ((1 / 3) ** 2 / 2 + (4 / 3) ** 2 / 2)
    assert result.statistic == pytest.approx(-2 / np.sqrt(5 / 3))
    assert result.p == pytest.approx(2 * stats.t.sf(2 / np.sqrt(5 / 3), freedom))


def test_they_are_scipys_and_statsmodels() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(0.5, 1, 17), random.normal(0, 2, 17)
    theirs = stats.ttest_rel(a, b)
    assert paired_t_test(a, b)[:2] == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-7)
    statistic, p, _ = weightstats.ttest_ind(a, b[:9], usevar="unequal")
    assert independent_t_test(a, b[:9])[:3] == pytest.approx((statistic, p, 26))


def test_the_order_turns_the_sign() -> None:
    a, b = [0.9, 0.4, 0.7], [0.1, 0.5, 0.2]
    for test in (paired_t_test, independent_t_test):
        assert test(a, b).statistic == pytest.approx(-test(b, a).statistic)
        assert test(a, b).p == pytest.approx(test(b, a).p)


def test_without_spread_there_is_no_t() -> None:
    constant = paired_t_test([0.9, 0.8, 0.7], [0.8, 0.7, 0.6])
    assert np.isnan(constant.p) and constant.note == "All units differ by the same amount: t does not exist."
    assert np.isnan(paired_t_test([0.9], [0.8]).p)
    assert paired_t_test([0.9, 0.8], [0.9, 0.8])[:3] == (0.0, 1.0, 2)
    assert np.isnan(independent_t_test([1, 1], [2, 2]).p)
    assert independent_t_test([1, 1], [1, 1]).p == 1.0
    single = independent_t_test([1], [2, 3])
    assert np.isnan(single.p) and "A group of one unit" in single.note


def test_missing_scores_are_refused() -> None:
    for test in (paired_t_test, independent_t_test):
        with pytest.raises(DataError, match="at position 0"):
            test([np.nan, 1], [1, 2])
