"""Gaps, worst groups and bias-conflicting cases, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.errors import ShapeError
from medgraft.metrics.fairness import bias_sides, count_pairs, cramers_v, gap, worst_group


def test_a_gap_is_the_largest_minus_the_smallest_on_every_resample():
    scores = [[0.9, 0.5, 0.6], [0.7, 0.8, np.nan], [0.8, 0.6, 0.7]]
    assert gap([0.9, 0.7, 0.8]) == pytest.approx(0.2)
    assert gap(scores) == pytest.approx([0.2, 0.3, np.nan], nan_ok=True)


def test_one_group_has_no_gap():
    assert (
        np.isnan(gap([0.9])) and np.isnan(gap(np.zeros((1, 3)))).all() and gap(np.zeros((0, 3))).shape == (3,)
    )


def test_the_worst_group_is_the_lowest_that_is_defined():
    assert worst_group([0.9, np.nan, 0.7, 0.7]) == 2
    assert worst_group([np.nan, np.nan]) == -1 and worst_group([]) == -1


def test_combinations_rarer_than_independence_makes_them_conflict():
    # three classes, three values; under independence each cell of the first row is 10 * (10, 15, 15) / 40
    counts = np.array([[5, 3, 2], [3, 10, 2], [2, 2, 11]])
    # n_k n_v: 100 150 150 / 150 225 225 / 150 225 225, against 40 n_kv: 200 120 80 / 120 400 80 / 80 80 440
    expected = [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    rows, columns = (each.ravel() for each in np.indices((3, 3)))
    assert bias_sides(rows, columns, counts).reshape(3, 3).tolist() == expected


def test_a_majority_value_is_not_aligned_with_every_class():
    # value 0 is the more frequent one in both classes, yet less in class 1 than chance: 30 * 100 < 40 * 80
    counts = [[50, 10], [30, 10]]
    assert bias_sides([0, 0, 1, 1], [0, 1, 0, 1], counts).tolist() == [1, -1, -1, 1]


def test_independent_unknown_and_unseen_combinations_are_neither():
    counts = [[2, 4, 0], [3, 6, 0]]  # exactly independent; the third value never occurs
    assert bias_sides([0, 1, 0, 1, -1, 0], [0, 1, 2, 2, 0, -1], counts).tolist() == [0] * 6


def test_pairs_are_counted_without_the_unknown():
    found = count_pairs([0, 1, 1, 2, -1, 2], [1, 0, 0, 1, 1, -1], (3, 2))
    assert found.tolist() == [[0, 1], [2, 0], [0, 1]] and found.sum() == 4


@pytest.mark.parametrize(
    ("classes", "values"), [([0, 1], [0]), ([0, 2], [0, 1]), ([0, 1], [0, 2]), ([-2, 1], [0, 1])]
)
def test_rows_that_do_not_fit_are_refused(classes, values):
    with pytest.raises(ShapeError):
        count_pairs(classes, values, (2, 2))


def test_cramers_v_is_the_correlation_of_two_by_two():
    classes, values = np.repeat([0, 0, 1, 1], [7, 3, 2, 8]), np.repeat([0, 1, 0, 1], [7, 3, 2, 8])
    expected = abs(np.corrcoef(classes, values)[0, 1])
    assert cramers_v(count_pairs(classes, values, (2, 2))) == pytest.approx(expected)
    assert cramers_v([[5, 0, 0], [0, 5, 0]]) == pytest.approx(1.0) and np.isnan(cramers_v([[5, 5], [0, 0]]))
