"""Calibration against naive loops, scikit-learn and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from medgraft.errors import ShapeError
from medgraft.metrics.calibration import brier, expected_calibration_error, reliability_bins

NAN = float("nan")


def drawn(classes: int, rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(classes)
    return random.integers(0, classes, rows), random.dirichlet(np.full(classes, 0.5), rows)


def naive_error(truth: np.ndarray, probabilities: np.ndarray, bins: int) -> float:
    total = 0.0
    for number in range(bins):
        right, confidence = [], []
        for label, row in zip(truth, probabilities):
            top = max(row)
            if number / bins < top <= (number + 1) / bins:
                right.append(float(list(row).index(top) == label))
                confidence.append(top)
        total += abs(sum(right) - sum(confidence))
    return total / len(truth)


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("bins", [15, 4])
def test_error_agrees_with_a_naive_loop(classes: int, bins: int) -> None:
    truth, probabilities = drawn(classes)
    ours = expected_calibration_error(truth, probabilities, bins)
    assert ours == pytest.approx(naive_error(truth, probabilities, bins))


@pytest.mark.slow  # for the import
def test_error_agrees_with_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    truth, probabilities = drawn(3)
    theirs = functional.multiclass_calibration_error(
        torch.tensor(probabilities), torch.tensor(truth), num_classes=3, n_bins=15, norm="l1"
    )
    assert expected_calibration_error(truth, probabilities) == pytest.approx(float(theirs), abs=1e-6)


def test_bins_hold_their_upper_edge_and_tell_empty_from_wrong() -> None:
    bins = reliability_bins([0, 0, 1], [[0.5, 0.5], [1.0, 0.0], [0.75, 0.25]], bins=4)
    assert bins.edges.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert bins.cases.tolist() == [0, 1, 1, 1]
    np.testing.assert_array_equal(bins.accuracy, [NAN, 1.0, 0.0, 1.0])
    np.testing.assert_array_equal(bins.confidence, [NAN, 0.5, 0.75, 1.0])


def test_brier_sums_over_classes() -> None:
    truth, probabilities = drawn(4)
    naive = [
        sum((p - float(k == label)) ** 2 for k, p in enumerate(row))
        for label, row in zip(truth, probabilities)
    ]
    assert brier(truth, probabilities) == pytest.approx(sum(naive) / len(naive))


def test_brier_of_two_classes_is_twice_the_one_sided_score() -> None:
    truth, probabilities = drawn(2)
    one_sided = brier_score_loss(truth, probabilities[:, 1])
    for given in (probabilities, probabilities[:, 1], probabilities[:, 1:]):
        assert brier(truth, given) == pytest.approx(2 * one_sided)


def test_known_multilabel_cells_are_cases_of_two_classes() -> None:
    truth = np.array([[1.0, NAN], [0.0, 1.0]])
    chances = np.array([[0.8, 0.1], [0.4, 0.3]])
    flat_truth, flat_chances = np.array([1, 0, 1]), np.array([0.8, 0.4, 0.3])
    assert brier(truth, chances) == brier(flat_truth, flat_chances)
    error = expected_calibration_error(truth, chances)
    assert error == expected_calibration_error(flat_truth, flat_chances)
    assert error == pytest.approx((abs(1 - 0.8) + abs(1 - 0.6) + abs(0 - 0.7)) / 3)


def test_no_cases_is_undefined() -> None:
    assert np.isnan(brier([], np.empty((0, 3))))
    assert np.isnan(expected_calibration_error([], np.empty((0, 3))))


@pytest.mark.parametrize("truth", [[0, 1, 1], [0, 2], [0, -1]])
def test_truth_that_does_not_fit_is_told(truth: list[int]) -> None:
    with pytest.raises(ShapeError, match="A calibration metric needs"):
        brier(truth, [[0.5, 0.5], [0.5, 0.5]])
