"""Principal components of features, in the smaller of the two spaces and without a float64 copy of all of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgraft.ranking.scores.class_sums import class_sums
from medgraft.ranking.scores.gram import double_blocks, gram
from medgraft.ranking.scores.spread import check_spread

FLAT = 1e-12
"""A direction with less than this share of the largest variance is rounding, not variation."""


class Components(NamedTuple):
    """scores: (n, k) float64, the centred images along the components. variances: (k,) of them, divided by n - 1,
    largest first, all positive. total: the variance of all D features together."""

    scores: NDArray[np.float64]
    variances: NDArray[np.float64]
    total: float


def principal_components(
    who: str, features: NDArray[np.floating], *, most: int | None = None, share: float = 1.0
) -> Components:
    """Reduce features to the directions in which they vary, exactly and always with the same result.

    Args:
        who: the score that asks, for its messages.
        features: (n, D), checked.
        most: at most so many components; all if not given.
        share: the fewest components that hold more than this share of the variance, (0, 1].

    Returns: the components; the sign of each is arbitrary.

    Raises:
        UndefinedError: all images have the same features.

    >>> found = principal_components("PCA", np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]))
    >>> found.variances, np.abs(found.scores[:, 0]).round(6)
    (array([4.]), array([2., 0., 2.]))
    """
    count, width = features.shape
    check_spread(who, features)
    centre = class_sums(features, np.zeros(count, np.int64), 1)[0] / count
    products = _products_of_images(features) if count < width else gram(features, centre)
    values, vectors = np.linalg.eigh(products)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = int((values > FLAT * values[0]).sum())
    total = float(np.trace(products))
    if share < 1.0:
        kept = min(kept, int((np.cumsum(values[:kept]) <= share * total).sum()) + 1)
    if most is not None:
        kept = min(kept, most)
    if count < width:
        scores = vectors[:, :kept] * np.sqrt(values[:kept])
    else:
        scores = np.empty((count, kept))
        for rows, block in double_blocks(features, centre):
            scores[rows] = block @ vectors[:, :kept]
    return Components(scores, values[:kept] / (count - 1), total / (count - 1))


def _products_of_images(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, n) products of the centred images: for few images much smaller than those of the features, (D, D)."""
    total = np.zeros((len(features), len(features)))
    for _, block in double_blocks(features.T):
        centred = block - block.mean(axis=1, keepdims=True)
        total += centred.T @ centred
    return total
