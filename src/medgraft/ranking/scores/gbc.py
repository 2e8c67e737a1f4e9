"""GBC: how much the classes overlap when each is taken for a round Gaussian cloud."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.ranking.inputs import UndefinedError, check_inputs
from medgraft.ranking.scores.class_sums import class_sums
from medgraft.ranking.scores.principal_components import principal_components

Array = NDArray[np.float64]

COMPONENTS = 64
"""The paper's number of principal components."""


def gbc(features: ArrayLike, labels: ArrayLike) -> float:
    """Tell how little the classes overlap: the Gaussian Bhattacharyya coefficient, negated.

    Args:
        features: (n, D) real numbers; reduced to 64 principal components, or as many as have any variance.
        labels: (n,) whole numbers 0..C-1, each at least twice.

    Returns: [-C (C - 1), 0), higher is better: minus the overlap of every class with every other, each pair twice.

    Raises:
        ShapeError, DataError: as `medgraft.ranking.inputs.check_inputs`.
        UndefinedError: one class only; a class of one image, or of equal ones, has no width; or no two classes
            overlap by as much as a number can hold, so that better features could not score higher.

    Source: Pándy et al. 2022, spherical covariances. Differs: the logarithm of the determinants counts once per
        component, as in the paper's equation; the authors' code adds it once.

    >>> features = [[0.0, 1.0], [0.2, 0.9], [1.0, 0.1], [0.9, 0.0]]
    >>> gbc(features, [0, 0, 1, 1]) > gbc(features, [0, 1, 0, 1])
    True
    >>> round(gbc(features, [0, 1, 0, 1]), 3)
    -1.957
    """
    inputs = check_inputs("GBC", features, labels)
    sizes = np.bincount(inputs.labels)
    components = principal_components("GBC", inputs.features, most=COMPONENTS).scores
    means = class_sums(components, inputs.labels, inputs.classes) / sizes[:, None]
    variances = _variances(components, inputs.labels, means)
    _check_widths(inputs.features, inputs.labels, sizes)
    distances = _bhattacharyya_distances(means, variances)
    overlap = float(np.exp(-distances[~np.eye(len(sizes), dtype=bool)]).sum())
    if overlap == 0:
        raise UndefinedError(
            "GBC", "classes that overlap at least a little", "they lie too far apart for a number to hold it",
            "Rank by LogME, which does not saturate.",
        )  # fmt: skip
    return -overlap


def _check_widths(
    features: NDArray[np.floating], labels: NDArray[np.int64], sizes: NDArray[np.int64]
) -> None:
    for label, size in enumerate(sizes):
        own = features[labels == label]
        if size < 2 or not (own != own[0]).any():
            raise UndefinedError(
                "GBC", "two images or more in every class, with different features",
                f"class {label} has {size}" + (" with equal features" if size > 1 else ""),
                "Add images of it, or leave the class out.",
            )  # fmt: skip


def _variances(components: Array, labels: NDArray[np.int64], means: Array) -> Array:
    """Mean over components of the variance within each class, (C,)."""
    squared = ((components - means[labels]) ** 2).mean(axis=1)
    return np.asarray(np.bincount(labels, weights=squared) / np.bincount(labels))


def _bhattacharyya_distances(means: Array, variances: Array) -> Array:
    """Distances between N(mean, variance I) of all classes, (C, C)."""
    squared = ((means[:, None] - means) ** 2).sum(axis=2)
    pooled = (variances[:, None] + variances) / 2
    width = np.log(pooled) - np.log(variances[:, None] * variances) / 2
    return np.asarray(squared / pooled / 8 + means.shape[1] / 2 * width)
