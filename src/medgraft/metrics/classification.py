"""Are these the right classes, and are the right ones ranked first?

Undefined is NaN, never a guess: AUROC needs both classes, recall and precision need at least one true case.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import ShapeError

Floats = NDArray[np.float64]


def auroc(truth: ArrayLike, probabilities: ArrayLike) -> float:
    """Tell how often a random case of a class is scored above a random case without it.

    Args:
        truth: (N,) integer classes, or (N, K) multilabel of 0 and 1, NaN where missing.
        probabilities: (N, K), any increasing score; (N,) or (N, 1) for the chance of class 1 of two.

    Returns: in [0, 1], ties count half. Two classes: AUROC of class 1. More: mean over classes, each against
        the rest (macro). Multilabel: mean over labels on the rows that have them. A class or label without
        both present and absent cases is left out of the mean; NaN if none is left. NaN scores give NaN.

    Raises:
        ShapeError: the two do not fit together.

    Source: Mann-Whitney U by mid-ranks (Hanley & McNeil 1982); equals scikit-learn's `roc_auc_score`.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return _mean_over_classes(_rank_auroc, truth, probabilities)


def average_precision(truth: ArrayLike, probabilities: ArrayLike) -> float:
    """Tell how pure the top of the ranking is: precision averaged over the steps of recall.

    Args, Returns, Raises: as for `auroc`; undefined only without any present case. Its value under chance is
        the share of present cases, not a half.

    Source: scikit-learn's `average_precision_score` (no interpolation; tied scores enter together).

    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    return _mean_over_classes(_binary_average_precision, truth, probabilities)


def accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Tell the share of right predictions.

    Args:
        truth: (N,) integer classes, or (N, K) multilabel, NaN where missing.
        predicted: like `truth`; labels, not probabilities.

    Returns: in [0, 1]; multilabel: over all cells with truth. NaN if there are none.

    >>> accuracy([0, 1, 2, 2], [0, 1, 2, 1])
    0.75
    """
    known, guess = _paired(truth, predicted)
    there = ~np.isnan(known)
    return float(np.mean(known[there] == guess[there])) if there.any() else float("nan")


def recall_per_class(truth: ArrayLike, predicted: ArrayLike, classes: int) -> Floats:
    """Tell for each class the share of its cases that were found (sensitivity).

    Args:
        truth: (N,) integers in [0, classes).
        predicted: (N,) integers in [0, classes).
        classes: number of classes.

    Returns: (classes,) in [0, 1]; NaN for a class without cases.

    >>> recall_per_class([0, 0, 1], [0, 1, 1], classes=3)
    array([0.5, 1. , nan])
    """
    return np.diagonal(confusion_matrix(truth, predicted, classes, normalise=True)).copy()


def balanced_accuracy(truth: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Tell the mean recall over the classes that occur in `truth`; NaN if none does.

    Args: as for `recall_per_class`.

    >>> balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0], classes=2)
    0.5
    """
    return _nan_mean(recall_per_class(truth, predicted, classes))


def confusion_matrix(
    truth: ArrayLike, predicted: ArrayLike, classes: int, *, normalise: bool = False
) -> Floats:
    """Count which class was taken for which.

    Args:
        truth: (N,) integers in [0, classes).
        predicted: (N,) integers in [0, classes).
        classes: number of classes.
        normalise: divide each row by its sum, so that the diagonal is the recall.

    Returns: (classes, classes), rows are true classes, columns predicted ones; a normalised row without cases
        is NaN.

    Raises:
        ShapeError: lengths differ or a class lies outside.

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], classes=2)
    array([[1., 1.],
           [0., 1.]])
    """
    known, guess = _paired(truth, predicted)
    whole = np.stack([known, guess])
    if known.ndim != 1 or not ((whole >= 0) & (whole < classes) & (whole == np.rint(whole))).all():
        raise ShapeError(
            "A confusion matrix",
            f"classes from 0 to {classes - 1}, one per row",
            f"got shape {known.shape} and values {np.unique(whole)[:9].tolist()}",
            "Give the number of classes of the whole task, and leave out ignored rows.",
        )
    pairs = (known * classes + guess).astype(np.int64)
    matrix: Floats = np.bincount(pairs, minlength=classes**2).reshape(classes, classes).astype(np.float64)
    if normalise:
        rows = matrix.sum(1, keepdims=True)
        matrix = np.divide(matrix, rows, out=np.full_like(matrix, np.nan), where=rows > 0)
    return matrix


def _mean_over_classes(
    score: Callable[[NDArray[np.bool_], Floats], float], truth: ArrayLike, probabilities: ArrayLike
) -> float:
    """Binary, macro one-vs-rest or multilabel, by the shapes; one definition for every ranking metric."""
    known, scores = np.asarray(truth, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    if scores.ndim == 2 and scores.shape[1] == 1 and known.ndim == 1:
        scores = scores[:, 0]
    multilabel = known.ndim == 2
    if (
        len(known) != len(scores)
        or known.ndim > 2
        or scores.ndim > 2
        or (multilabel and known.shape != scores.shape)
    ):
        raise ShapeError(
            "A ranking metric",
            "one row of probabilities per row of truth, and one column per label",
            f"truth has shape {known.shape} and probabilities {scores.shape}",
            "Predict the same rows and classes as the truth.",
        )
    if scores.ndim == 1:
        return score(known == 1, scores)
    if multilabel:
        there = ~np.isnan(known)
        columns = zip(known.T, scores.T, there.T)
        return _nan_mean(np.array([score(k[t] == 1, s[t]) for k, s, t in columns]))
    if scores.shape[1] == 2:
        return score(known == 1, scores[:, 1])
    return _nan_mean(np.array([score(known == k, scores[:, k]) for k in range(scores.shape[1])]))


def _rank_auroc(present: NDArray[np.bool_], scores: Floats) -> float:
    cases, rest = scores[present], np.sort(scores[~present])
    if len(cases) == 0 or len(rest) == 0 or np.isnan(scores).any():
        return float("nan")
    # Counted from both sides, so that a tie is worth a half.
    beaten = np.searchsorted(rest, cases, "left").sum() + np.searchsorted(rest, cases, "right").sum()
    return float(beaten / (2 * len(cases) * len(rest)))


def _binary_average_precision(present: NDArray[np.bool_], scores: Floats) -> float:
    if not present.any() or np.isnan(scores).any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    # Only after the last of tied scores does a threshold exist.
    thresholds = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    found = np.cumsum(present[order])[thresholds]
    precision, recall = found / (thresholds + 1), found / found[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def _nan_mean(values: Floats) -> float:
    """Mean of what is defined, NaN if nothing is (without numpy's warning)."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


def _paired(truth: ArrayLike, predicted: ArrayLike) -> tuple[Floats, Floats]:
    known, guess = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if known.shape != guess.shape:
        raise ShapeError(
            "A classification metric",
            "as many predictions as truths",
            f"truth has shape {known.shape} and predictions {guess.shape}",
            "Pass predicted labels, not probabilities, for the same rows.",
        )
    return known, guess
