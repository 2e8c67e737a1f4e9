"""Features added up by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medgraft.ranking.scores.gram import double_blocks


def class_sums(
    features: NDArray[np.floating], labels: NDArray[np.int64], classes: int
) -> NDArray[np.float64]:
    """Add up the features of each class; divided by the class sizes these are its means.

    Args:
        features: (n, D), any floating type.
        labels: (n,) 0..classes-1.
        classes: C.

    Returns: (C, D) float64.

    >>> class_sums(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([0, 1, 1]), 2).tolist()
    [[1.0, 2.0], [8.0, 10.0]]
    """
    total = np.zeros((classes, features.shape[1]))
    for rows, block in double_blocks(features):
        indicators = (labels[rows, None] == np.arange(classes)).astype(np.float64)
        total += indicators.T @ block
    return total
