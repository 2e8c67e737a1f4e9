"""Does a confidence of 0.8 mean four times out of five?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import ShapeError

Floats = NDArray[np.float64]


class ReliabilityBins(NamedTuple):
    """What a reliability diagram draws, one entry per bin of confidence."""

    edges: Floats
    """(bins + 1,) from 0 to 1; a bin holds its upper edge, the first also 0."""
    confidence: Floats
    """(bins,) mean confidence; NaN where empty."""
    accuracy: Floats
    """(bins,) share that was right; NaN where empty."""
    cases: NDArray[np.int64]
    """(bins,) how many."""


def reliability_bins(truth: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> ReliabilityBins:
    """Tell how often predictions were right, in bins of the confidence in their most probable class.

    Args:
        truth: (N,) integer classes, or (N, K) multilabel of 0 and 1, NaN where missing; there every
            known cell is one case of two classes.
        probabilities: (N, K) in [0, 1], or (N,) for the chance of class 1 of two.
        bins: number of bins of equal width.

    Raises:
        ShapeError: the two do not fit together.

    Source: Guo et al. 2017, section 2. Of equal probabilities the first class counts as predicted.

    >>> reliability_bins([0, 1], [[0.9, 0.1], [0.8, 0.2]], bins=2).accuracy
    array([nan, 0.5])
    """
    one_hot, chances = _cases(truth, probabilities)
    predicted = chances.argmax(1)[:, None]
    confidence = np.take_along_axis(chances, predicted, 1)[:, 0]
    right = np.take_along_axis(one_hot, predicted, 1)[:, 0]
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, "left") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)

    def mean(values: Floats) -> Floats:
        total = np.bincount(place, values, minlength=bins)
        averages: Floats = np.divide(total, count, out=np.full(bins, np.nan), where=count > 0)
        return averages

    return ReliabilityBins(edges, mean(confidence), mean(right), count.astype(np.int64))


def expected_calibration_error(truth: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Tell how far confidence and accuracy lie apart on average (ECE), each bin weighted by its cases.

    Args, Raises: as for `reliability_bins`.

    Returns: in [0, 1], 0 is best; NaN without cases. Grows with fewer cases even for a calibrated model.

    Source: Guo et al. 2017, eq. 3.

    >>> round(expected_calibration_error([0, 1], [[0.9, 0.1], [0.8, 0.2]]), 2)
    0.45
    """
    _, confidence, right, cases = reliability_bins(truth, probabilities, bins)
    if not cases.sum():
        return float("nan")
    return float(np.nansum(cases * np.abs(right - confidence)) / cases.sum())


def brier(truth: ArrayLike, probabilities: ArrayLike) -> float:
    """Tell the mean squared error of the probabilities, summed over classes.

    Args, Raises: as for `reliability_bins`.

    Returns: in [0, 2], 0 is best; NaN without cases. Two classes count both, so it is twice the one-sided
        score that scikit-learn gives for them by default.

    Source: Brier 1950, eq. 2.

    >>> round(brier([0, 1], [[0.9, 0.1], [0.8, 0.2]]), 2)
    0.65
    """
    one_hot, chances = _cases(truth, probabilities)
    return float(((chances - one_hot) ** 2).sum(1).mean()) if len(chances) else float("nan")


def _cases(truth: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """One-hot truth and class probabilities, both (cases, classes)."""
    known, chances = np.asarray(truth, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    if known.ndim == 2 and known.shape == chances.shape:
        there = ~np.isnan(known)
        known, chances = known[there], chances[there]
    elif chances.ndim == 2 and chances.shape[1] == 1:
        chances = chances[:, 0]
    if chances.ndim == 1:
        chances = np.stack([1 - chances, chances], 1)
    if known.shape != chances.shape[:1] or ((known < 0) | (known >= chances.shape[1])).any():
        raise ShapeError(
            "A calibration metric",
            "one row of probabilities per true class and one column per class",
            f"truth has shape {np.shape(truth)} and probabilities {np.shape(probabilities)}",
            "Predict the same rows and classes as the truth.",
        )
    one_hot: Floats = np.eye(chances.shape[1])[known.astype(np.int64)]
    return one_hot, chances
