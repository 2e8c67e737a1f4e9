"""Resamples all at once equal the same rows taken one resample after another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from medgraft.metrics import calibration, classification, weighted

ROWS, RESAMPLES = 40, 60
Pair = tuple[Callable[[np.ndarray], float], Callable[[np.ndarray], np.ndarray]]


def drawn(seed: int) -> np.ndarray:
    """Row indices of many resamples, some of them of very few different rows."""
    generator = np.random.default_rng(seed)
    return np.stack(
        [generator.integers(generator.integers(1, ROWS + 1), size=ROWS) for _ in range(RESAMPLES)]
    )


def same(one: Callable[[np.ndarray], float], many: Callable[[np.ndarray], np.ndarray]) -> None:
    rows = drawn(1)
    weights = np.stack([np.bincount(row, minlength=ROWS) for row in rows]).astype(float)
    expected = np.array([one(row) for row in rows])
    found = many(weights)
    assert found.shape == (RESAMPLES,)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.isfinite(expected).sum() > RESAMPLES // 2


def in_common(truth: np.ndarray, probabilities: np.ndarray, guess: np.ndarray) -> list[Pair]:
    """Metrics defined for one class per row and for several labels alike: by rows, and by weights."""
    return [
        (
            lambda r: classification.auroc(truth[r], probabilities[r]),
            lambda w: weighted.auroc(truth, probabilities, w),
        ),
        (
            lambda r: classification.average_precision(truth[r], probabilities[r]),
            lambda w: weighted.average_precision(truth, probabilities, w),
        ),
        (
            lambda r: classification.accuracy(truth[r], guess[r]),
            lambda w: weighted.accuracy(truth, guess, w),
        ),
        (
            lambda r: calibration.expected_calibration_error(truth[r], probabilities[r]),
            lambda w: weighted.expected_calibration_error(truth, probabilities, w),
        ),
        (
            lambda r: calibration.brier(truth[r], probabilities[r]),
            lambda w: weighted.brier(truth, probabilities, w),
        ),
    ]


@pytest.mark.parametrize("classes", [2, 4])
def test_one_class_per_row(classes: int) -> None:
    generator = np.random.default_rng(classes)
    truth = generator.integers(classes, size=ROWS)
    probabilities = generator.dirichlet(np.ones(classes), size=ROWS).round(1)  # many ties
    probabilities /= probabilities.sum(1, keepdims=True)
    guess = probabilities.argmax(1)
    for one, many in in_common(truth, probabilities, guess):
        same(one, many)
    same(
        lambda r: classification.balanced_accuracy(truth[r], guess[r], classes),
        lambda w: weighted.balanced_accuracy(truth, guess, classes, w),
    )
    same(
        lambda r: classification.recall_per_class(truth[r], guess[r], classes)[1],
        lambda w: weighted.recall(truth, guess, 1, w),
    )


def test_several_labels_some_of_them_unknown() -> None:
    generator = np.random.default_rng(5)
    truth = generator.integers(2, size=(ROWS, 3)).astype(float)
    truth[generator.random((ROWS, 3)) < 0.3] = np.nan
    probabilities = generator.random((ROWS, 3)).round(1)
    guess = (probabilities > 0.5).astype(np.int64)

    def of_label(r: np.ndarray, column: int, metric: Callable[..., object]) -> object:
        known = ~np.isnan(truth[r, column])
        return metric(truth[r, column][known], guess[r, column][known], 2)

    def balanced(r: np.ndarray) -> float:
        both = [c for c in range(3) if {0.0, 1.0} <= set(truth[r, c])]
        return (
            float(np.mean([of_label(r, c, classification.balanced_accuracy) for c in both]))
            if both
            else np.nan
        )

    for one, many in in_common(truth, probabilities, guess):
        same(one, many)
    same(balanced, lambda w: weighted.balanced_accuracy(truth, guess, 3, w))
    same(
        lambda r: of_label(r, 0, classification.recall_per_class)[1],  # type: ignore[index]
        lambda w: weighted.recall(truth, guess, 0, w),
    )


def test_scores_that_are_no_numbers_give_none() -> None:
    truth, probabilities = np.array([0, 1, 1]), np.array([[0.5, 0.5], [np.nan, np.nan], [0.2, 0.8]])
    weights = np.ones((2, 3))
    for metric in (
        weighted.auroc,
        weighted.average_precision,
        weighted.brier,
        weighted.expected_calibration_error,
    ):
        assert np.isnan(metric(truth, probabilities, weights)).all()
