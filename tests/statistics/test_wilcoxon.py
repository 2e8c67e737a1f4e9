"""The signed-rank test: against SciPy, against enumeration, and by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from medgraft.errors import DataError, ShapeError
from medgraft.statistics import paired_wilcoxon


def enumerated(differences: np.ndarray) -> float:
    """Two-sided p over all signs of the ranks, from the definition."""
    ranks = stats.rankdata(np.abs(differences))
    observed = min(ranks[differences > 0].sum(), ranks[differences < 0].sum())
    sums = [
        sum(rank for rank, sign in zip(ranks, signs) if sign) for signs in product([0, 1], repeat=len(ranks))
    ]
    return min(1.0, 2 * np.mean(np.array(sums) <= observed))


def test_a_hand_worked_case() -> None:
    # Ranks 1 to 5, only the second negative: of 32 subsets {}, {1} and {2} sum to at most 2.
    result = paired_wilcoxon([1, 0, 3, 4, 5], [0, 2, 0, 0, 0])
    assert (result.statistic, result.p, result.n) == (2.0, 6 / 32, 5)


def test_ties_share_their_rank_and_stay_exact() -> None:
    # Ranks 2, 2, 2, 4, one of the twos negative: of 16 subsets {} and three of one two.
    result = paired_wilcoxon([1, 1, 0, 2], [0, 0, 1, 0])
    assert (result.statistic, result.p) == (2.0, 0.5)
    random = np.random.default_rng(1)
    for _ in range(5):
        differences = random.integers(1, 5, 9) * random.choice([-1, 1], 9)
        assert paired_wilcoxon(differences, np.zeros(9)).p == pytest.approx(enumerated(differences))


def test_ties_that_rounding_hides_are_found() -> None:
    a, b = np.array([0.9, 0.8, 0.7, 0.2]), np.array([0.8, 0.7, 0.8, 0.0])
    assert paired_wilcoxon(a, b).p == 0.5


@pytest.mark.parametrize("number", [5, 12, 50, 51, 200])
def test_without_ties_it_is_scipys(number: int) -> None:
    random = np.random.default_rng(number)
    a, b = random.normal(0.3, 1, number), random.normal(0, 1, number)
    theirs = stats.wilcoxon(a, b, method="exact" if number <= 50 else "asymptotic")
    ours = paired_wilcoxon(a, b)
    assert (ours.statistic, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert ("Normal approximation" in ours.note) == (number > 50)


def test_many_ties_are_scipys_approximation() -> None:
    random = np.random.default_rng(3)
    a, b = random.integers(0, 6, 40), random.integers(0, 5, 40)
    theirs = stats.wilcoxon(a, b, zero_method="wilcox", correction=False, method="asymptotic")
    ours = paired_wilcoxon(a, b)
    assert (ours.statistic, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    zeros = int((a == b).sum())
    assert ours.n == 40 - zeros > 14
    assert ours.note == f"{zeros} of 40 units without a difference are left out. Normal approximation."


def test_either_order_gives_the_same_p() -> None:
    a, b = [0.9, 0.4, 0.7, 0.8, 0.6], [0.1, 0.5, 0.2, 0.6, 0.3]
    assert paired_wilcoxon(a, b) == paired_wilcoxon(b, a)


def test_too_few_patients_are_told() -> None:
    five = paired_wilcoxon([1, 2, 3, 4, 5], [0, 0, 0, 0, 0])
    assert five.p == 0.0625
    assert five.note == (
        "With 5 units the smallest p this test can give is 0.0625: it cannot show a difference at 0.05."
    )
    assert paired_wilcoxon([1, 2, 3, 4, 5], [0, 0, 0, 0, 0], alpha=0.1).note == ""
    assert paired_wilcoxon([1, 2, 3, 4, 5, 6], [0] * 6).note == ""
    # Six patients, of whom one does not differ, are five.
    assert "smallest p this test can give is 0.0625" in paired_wilcoxon([1, 2, 3, 4, 5, 0], [0] * 6).note


def test_no_difference_at_all_has_p_1() -> None:
    assert paired_wilcoxon([0.1, 0.2], [0.1, 0.2]) == (0.0, 1.0, 0, "No difference in any of 2 units.")
    assert paired_wilcoxon([0.3], [0.2])[1:3] == (1.0, 1)


def test_missing_scores_and_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="A paired Wilcoxon test needs scores that are finite"):
        paired_wilcoxon([0.1, np.nan], [0.1, 0.2])
    with pytest.raises(ShapeError):
        paired_wilcoxon([0.1], [0.1, 0.2])
