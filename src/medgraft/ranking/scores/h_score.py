"""H-score: how much of the features' variance lies between classes, in units of the whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.ranking.inputs import Inputs, UndefinedError, check_inputs
from medgraft.ranking.scores.class_sums import class_sums
from medgraft.ranking.scores.gram import centred_image_gram, double_blocks, gram
from medgraft.ranking.scores.spread import check_spread

Array = NDArray[np.float64]

FLOOR = 1e-12
"""Least share of the mean variance that is added to every direction: without it a covariance that is not shrunk
and has a direction without variance could not be inverted."""


def h_score(features: ArrayLike, labels: ArrayLike) -> float:
    """Tell how far apart the classes' mean features lie, measured by the features' covariance.

    This is the regularised form: the covariance is shrunk towards a sphere by the share of Ledoit and Wolf, so that
    it can be inverted where there are fewer images than features, and the score is multiplied by what was kept.

    Args:
        features: (n, D) real numbers; the score does not change with their common scale or a shift.
        labels: (n,) whole numbers 0..C-1.

    Returns: [0, C - 1], higher is better; 0 where all classes have the same mean.

    Raises:
        ShapeError, DataError: as `medgraft.ranking.inputs.check_inputs`.
        UndefinedError: one class only, every image a class of its own, or the same features for every image.

    Source: Bao et al. 2019 (H-score); Ibrahim et al. 2022, with the shrinkage of Ledoit & Wolf 2004. Differs: both
        covariances are divided by n; where n <= D the (n, n) Gram matrix is inverted instead, which is equal.

    >>> features = [[0.0, 1.0], [0.2, 0.9], [1.0, 0.1], [0.9, 0.0]]
    >>> round(h_score(features, [0, 0, 1, 1]), 3), round(h_score(features, [0, 1, 0, 1]), 3)
    (0.968, 0.032)
    """
    inputs = check_inputs("H-score", features, labels)
    check_spread("H-score", inputs.features)
    images, columns = inputs.features.shape
    if inputs.classes == images:
        raise UndefinedError(
            "H-score", "a class with two images or more", f"each of {images} images is a class of its own",
            "Add images, or merge classes.",
        )  # fmt: skip
    sizes = np.bincount(inputs.labels)
    if images > columns:
        products, lengths, right = _of_columns(inputs, sizes)
        left = right
    else:
        products, lengths, right, left = _of_images(inputs, sizes)
    shrinkage = _ledoit_wolf(products, lengths, columns)
    ridge = max(shrinkage, FLOOR) * lengths.sum() / images / columns
    between = _solve((1 - shrinkage) / images * products, ridge, right)
    return float((1 - shrinkage) * (left * between).sum())


def _of_columns(inputs: Inputs, sizes: NDArray[np.int64]) -> tuple[Array, Array, Array]:
    """Centred (D, D) Gram matrix, squared lengths of images (n,), weighted class means (D, C)."""
    features, labels, classes = inputs
    sums = class_sums(features, labels, classes)
    mean = sums.sum(axis=0) / len(labels)
    lengths = np.concatenate([(block**2).sum(axis=1) for _, block in double_blocks(features, mean)])
    means = (sums - sizes[:, None] * mean) / np.sqrt(len(labels) * sizes)[:, None]
    return gram(features, mean), lengths, means.T


def _of_images(inputs: Inputs, sizes: NDArray[np.int64]) -> tuple[Array, Array, Array, Array]:
    """The same by the (n, n) Gram matrix K: a(aI + bK)^-1 K a' = aX'(aI + bXX')^-1 Xa' with class indicators a."""
    features, labels, classes = inputs
    products = centred_image_gram(features)
    indicators = (labels[:, None] == np.arange(classes)) / np.sqrt(len(labels) * sizes)
    return products, np.diag(products).copy(), indicators, products @ indicators


def _ledoit_wolf(products: Array, lengths: Array, columns: int) -> float:
    """Share of the sphere in the shrunk covariance, [0, 1], from any centred Gram matrix and squared lengths."""
    images = len(lengths)
    # The covariance's squared Frobenius norm, which both Gram matrices share.
    squared = float((products**2).sum()) / images**2
    from_sphere = squared - (lengths.sum() / images) ** 2 / columns
    error = (float((lengths**2).mean()) - squared) / images
    return min(1.0, error / from_sphere) if error > 0 and from_sphere > 0 else 0.0


def _solve(matrix: Array, ridge: float, right: Array) -> Array:
    from scipy.linalg import cho_factor, cho_solve

    matrix[np.diag_indices_from(matrix)] += ridge
    return np.asarray(cho_solve(cho_factor(matrix, overwrite_a=True, check_finite=False), right))
