"""From images to patients: what a test counts as one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import ShapeError
from medgraft.statistics.scores import check_scores


def average_by_unit(values: ArrayLike, units: ArrayLike) -> NDArray[np.float64]:
    """Average the scores of each patient, so that a test counts patients and not images.

    Images of one patient are alike: a test that counts each of them finds differences that are not there.

    Args:
        values: (N,) scores of images.
        units: (N,) identifier of each image's patient (or slide block).

    Returns: (U,) float64, one mean per unit, in the order of the sorted identifiers: equal for every method that was
        scored on the same images.

    Raises:
        ShapeError: lengths differ.
        DataError: a score is missing.

    >>> average_by_unit([0.8, 0.6, 0.9], ["b", "b", "a"]).tolist()
    [0.9, 0.7]
    """
    scores, names = check_scores("Averaging by patient", values), np.asarray(units)
    if names.shape != scores.shape:
        raise ShapeError(
            "Averaging by patient",
            "one unit per score",
            f"got {scores.shape[0]} scores and units of shape {names.shape}",
            "Pass a flat list of equal length.",
        )
    _, membership = np.unique(names, return_inverse=True)
    return np.bincount(membership, weights=scores) / np.bincount(membership)
