"""Classification metrics on many resamples at once, each told by how often it holds every row.

The same definitions as in `classification` and `calibration`, where single values are computed; for the bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def auroc(truth: NDArray[np.float64], probabilities: Floats, weights: Floats) -> Floats:
    """AUROC on each resample; see `classification.auroc`.

    Args:
        truth: (N,) classes, or (N, K) of 0, 1 and NaN where missing.
        probabilities: (N, K) without NaN.
        weights: (R, N), how often each resample holds each row.

    Returns: (R,), NaN where undefined.

    >>> probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> auroc(np.array([0.0, 1.0, 0.0]), probabilities, np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]))
    array([1. , 0.5])
    """
    return _over_classes(_ranked_auroc, truth, probabilities, weights)


def average_precision(truth: NDArray[np.float64], probabilities: Floats, weights: Floats) -> Floats:
    """Average precision on each resample; see `classification.average_precision`. Args and Returns as for `auroc`."""
    return _over_classes(_ranked_precision, truth, probabilities, weights)


def accuracy(truth: NDArray[np.float64], predicted: NDArray[np.int64], weights: Floats) -> Floats:
    """Share of right predictions (cells, for several labels) on each resample; NaN without any known truth."""
    known = ~np.isnan(truth)
    right = known & (truth == predicted)
    return _ratio(_per_row(right) @ weights.T, _per_row(known) @ weights.T)


def recall(truth: NDArray[np.float64], predicted: NDArray[np.int64], index: int, weights: Floats) -> Floats:
    """Share of the cases of one class (or label) that were found on each resample; NaN without cases."""
    if truth.ndim == 2:
        present, found = truth[:, index] == 1, predicted[:, index] == 1
    else:
        present, found = truth == index, predicted == index
    return _ratio((present & found) @ weights.T, present @ weights.T)


def balanced_accuracy(
    truth: NDArray[np.float64], predicted: NDArray[np.int64], classes: int, weights: Floats
) -> Floats:
    """Mean recall over the classes that a resample holds; for several labels the mean over labels of the mean of
    sensitivity and specificity, where a resample holds both present and absent cases."""
    if truth.ndim == 1:
        return _nan_mean(np.stack([recall(truth, predicted, index, weights) for index in range(classes)]))
    sensitivity = [recall(truth, predicted, index, weights) for index in range(classes)]
    specificity = [recall(1 - truth, 1 - predicted, index, weights) for index in range(classes)]
    return _nan_mean((np.stack(sensitivity) + np.stack(specificity)) / 2)


def expected_calibration_error(
    truth: NDArray[np.float64], probabilities: Floats, weights: Floats, bins: int = 15
) -> Floats:
    """ECE on each resample; see `calibration.expected_calibration_error`."""
    row, one_hot, chances = _cases(truth, probabilities)
    predicted = chances.argmax(1)[:, None]
    confidence = np.take_along_axis(chances, predicted, 1)[:, 0]
    right = np.take_along_axis(one_hot, predicted, 1)[:, 0]
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, "left") - 1, 0, bins - 1)
    gaps = np.zeros((len(truth), bins))
    np.add.at(gaps, (row, place), right - confidence)
    cases = np.bincount(row, minlength=len(truth))
    return _ratio(np.abs(weights @ gaps).sum(1), weights @ cases)


def brier(truth: NDArray[np.float64], probabilities: Floats, weights: Floats) -> Floats:
    """Brier score on each resample; see `calibration.brier`."""
    row, one_hot, chances = _cases(truth, probabilities)
    errors = np.bincount(row, ((chances - one_hot) ** 2).sum(1), minlength=len(truth))
    return _ratio(weights @ errors, weights @ np.bincount(row, minlength=len(truth)))


Ranked = Callable[[Floats, Floats], Floats]
"""Weights of present and of absent cases in groups of equal scores, (R, G) each, best group last -> (R,)."""


def _over_classes(
    score: Ranked, truth: NDArray[np.float64], probabilities: Floats, weights: Floats
) -> Floats:
    """Class 1 of two, the mean over classes against the rest, or the mean over labels where they are known."""
    columns = range(probabilities.shape[1])
    if truth.ndim == 2:
        cases = [(truth[:, index] == 1, ~np.isnan(truth[:, index]), index) for index in columns]
    elif len(columns) == 2:
        cases = [(truth == 1, np.ones(len(truth), bool), 1)]
    else:
        cases = [(truth == index, np.ones(len(truth), bool), index) for index in columns]
    found = []
    for present, known, index in cases:
        scores = probabilities[:, index]
        if np.isnan(scores).any():
            found.append(np.full(len(weights), np.nan))
            continue
        order = np.argsort(scores, kind="stable")
        starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
        ordered = weights[:, order]
        with_class = np.add.reduceat(ordered * (present & known)[order], starts, axis=1)
        without = np.add.reduceat(ordered * (~present & known)[order], starts, axis=1)
        found.append(score(with_class, without))
    return _nan_mean(np.stack(found))


def _ranked_auroc(present: Floats, absent: Floats) -> Floats:
    beaten = present * (np.cumsum(absent, axis=1) - absent / 2)
    return _ratio(beaten.sum(1), present.sum(1) * absent.sum(1))


def _ranked_precision(present: Floats, absent: Floats) -> Floats:
    found = np.cumsum(present[:, ::-1], axis=1)
    above = np.cumsum((present + absent)[:, ::-1], axis=1)
    precision = np.divide(found, above, out=np.zeros_like(found), where=above > 0)
    return _ratio((present[:, ::-1] * precision).sum(1), found[:, -1])


def _cases(truth: NDArray[np.float64], probabilities: Floats) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Row, one-hot truth and class probabilities of every case: a row, or a known cell of several labels."""
    if truth.ndim == 1:
        return np.arange(len(truth)), np.eye(probabilities.shape[1])[truth.astype(np.int64)], probabilities
    row, column = np.nonzero(~np.isnan(truth))
    chance, label = probabilities[row, column], truth[row, column].astype(np.int64)
    return row, np.eye(2)[label], np.stack([1 - chance, chance], 1)


def _per_row(cells: NDArray[np.bool_]) -> Floats:
    counts: Floats = (cells if cells.ndim == 1 else cells.sum(1)).astype(np.float64)
    return counts


def _ratio(part: Floats, whole: Floats) -> Floats:
    shares: Floats = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return shares


def _nan_mean(values: Floats) -> Floats:
    """Mean over the first axis of what is defined."""
    there = ~np.isnan(values)
    return _ratio(np.where(there, values, 0.0).sum(0), there.sum(0).astype(np.float64))
