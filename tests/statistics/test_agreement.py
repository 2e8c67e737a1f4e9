"""Weighted Kendall tau: from its definition, against SciPy, and a published case of ties."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from medgraft.errors import DataError, ShapeError
from medgraft.statistics import weighted_tau


def one_way(a: np.ndarray, b: np.ndarray, order_by: np.ndarray) -> float:
    """Sum over pairs of sign agreement, weighted by 1 / rank of both members."""
    place = np.empty(len(a))
    place[np.argsort(-order_by)] = np.arange(len(a))
    weights = {pair: sum(1 / (place[index] + 1) for index in pair) for pair in combinations(range(len(a)), 2)}
    agreed = sum(w * np.sign((a[i] - a[j]) * (b[i] - b[j])) for (i, j), w in weights.items())
    return float(agreed / sum(weights.values()))


def test_a_hand_worked_case() -> None:
    # Pair weights 1 + 1/2, 1 + 1/3, 1/2 + 1/3; the first pair disagrees: (-9 + 8 + 5) / 22 whichever way it is ranked.
    assert weighted_tau([3, 2, 1], [0.8, 0.9, 0.7]) == pytest.approx(4 / 22)


def test_it_follows_its_definition_without_ties() -> None:
    random = np.random.default_rng(0)
    for number in (2, 5, 12):
        a, b = random.normal(size=number), random.normal(size=number)
        assert weighted_tau(a, b) == pytest.approx((one_way(a, b, a) + one_way(a, b, b)) / 2)


def test_ties_as_scipy() -> None:
    a = [0.5, 0.7, 0.6, 0.5, 0.4, 0.6, 0.4, 0.9, 1.0]
    b = [0.4, 0.8, 0.5, 0.6, 0.9, 0.1, 0.1, 0.0, 0.8]
    assert weighted_tau(a, b) == pytest.approx(-0.03453088034401963, abs=1e-12)
    assert weighted_tau(a, b) == pytest.approx(stats.weightedtau(a, b).statistic)
    assert weighted_tau(a, b) == pytest.approx(weighted_tau(b, a))


def test_the_top_counts_more_than_the_bottom() -> None:
    right = np.array([5.0, 4, 3, 2, 1])
    assert (
        weighted_tau(right, [4, 5, 3, 2, 1])
        < weighted_tau(right, [5, 4, 3, 1, 2])
        < 1
        == weighted_tau(right, right)
    )
    assert weighted_tau(right, -right) == pytest.approx(-1)


def test_a_constant_score_orders_nothing() -> None:
    assert np.isnan(weighted_tau([1, 1, 1], [1, 2, 3]))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match="two or more things"):
        weighted_tau([1], [2])
    with pytest.raises(DataError):
        weighted_tau([1, np.nan], [2, 3])
