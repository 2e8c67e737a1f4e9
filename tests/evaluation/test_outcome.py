"""Truth and predictions become a table and come back; units lose their names."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from medgraft.evaluation.outcome import (
    MEASURES,
    Outcome,
    anonymous,
    from_table,
    metric_of,
    recall_of,
    to_table,
)


def multilabel() -> Outcome:
    truth = np.array([[1, np.nan], [0, 1], [1, 0]])
    probabilities = np.array([[0.9, 0.2], [0.6, 0.7], [0.4, 0.1]])
    return Outcome(truth, (probabilities > 0.5).astype(np.int64), probabilities)


def test_the_table_of_several_labels_has_the_columns_that_reports_read():
    table = to_table(multilabel(), np.array([4, 5, 6]), np.array([0, 0, 1]))
    assert table.columns.tolist() == [
        "row", "unit", "truth_0", "truth_1", "predicted_0", "predicted_1", "p_0", "p_1",
    ]  # fmt: skip
    back = from_table(table)
    for one, other in zip(back, multilabel()):
        np.testing.assert_array_equal(one, other)


def test_a_row_taken_twice_counts_twice():
    outcome = Outcome(np.array([0, 1]), np.array([0, 0]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    assert metric_of(outcome, MEASURES["accuracy"])(np.array([0, 0, 1])) == pytest.approx(2 / 3)


def test_balanced_accuracy_of_labels_is_the_mean_over_labels_that_have_both_answers():
    outcome = multilabel()
    first = metrics.balanced_accuracy_score([1, 0, 1], [1, 1, 0])
    second = metrics.balanced_accuracy_score([1, 0], [1, 0])
    balanced = metric_of(outcome, MEASURES["balanced_accuracy"])
    assert balanced(np.arange(3)) == pytest.approx((first + second) / 2)
    assert np.isnan(balanced(np.array([0])))


def test_recall_without_cases_is_undefined():
    outcome = Outcome(np.array([0, 0]), np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert metric_of(outcome, recall_of(0))(np.arange(2)) == 0.5
    assert np.isnan(metric_of(outcome, recall_of(1))(np.arange(2)))


def test_units_are_numbered_by_first_appearance():
    assert anonymous(np.array(["Zoe", "Anna", "Zoe", "Ben"], dtype=object)).tolist() == [0, 1, 0, 2]
