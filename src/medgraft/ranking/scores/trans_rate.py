"""TransRate: how many more bits features take together than class by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import SettingsError
from medgraft.ranking.inputs import UndefinedError, check_inputs
from medgraft.ranking.scores.gram import gram
from medgraft.ranking.scores.spread import check_spread

Array = NDArray[np.float64]


def trans_rate(features: ArrayLike, labels: ArrayLike, *, epsilon: float = 1e-4) -> float:
    """Tell how much the class says about the features: their coding rate less that of the classes.

    Args:
        features: (n, D) real numbers; centred here and scaled to a mean squared length of 1.
        labels: (n,) whole numbers 0..C-1.
        epsilon: squared distortion at which features are coded, in those units, above 0.

    Returns: nats, from 0, higher is better. It grows with D: compare models with equally many features. Where classes
        have fewer images than D and the features' variance does not decay, the order may be reversed.

    Raises:
        ShapeError, DataError: as `medgraft.ranking.inputs.check_inputs`.
        SettingsError: `epsilon` is not above 0.
        UndefinedError: fewer than three classes: of two equally large ones the second moments about the common mean
            are the same whatever the features, and the difference is noise; n <= D, where rates count images instead
            of classes and better features score lower; or the same features for every image.

    Source: Huang et al. 2022. Differs: features have a mean squared length of 1 (the paper's listing leaves the
        scale, the authors' later code sets every length to 1); classes count by their size, as in the paper's
        equation, not equally, as in its listing.

    >>> features = [[0.0, 1.0], [0.1, 0.8], [1.0, 0.1], [0.9, 0.0], [2.0, 2.0], [2.1, 2.2]]
    >>> round(trans_rate(features, [0, 0, 1, 1, 2, 2]), 3), round(trans_rate(features, [0, 1, 2, 0, 1, 2]), 3)
    (2.15, 0.201)
    """
    if not epsilon > 0:
        raise SettingsError("TransRate", "an epsilon above 0", f"it is {epsilon}", "Take 1e-4.")
    inputs = check_inputs("TransRate", features, labels)
    check_spread("TransRate", inputs.features)
    array, images = inputs.features, len(inputs.labels)
    if inputs.classes < 3 or images <= array.shape[1]:
        raise UndefinedError(
            "TransRate", "three classes or more and more images than features",
            f"there are {inputs.classes} classes and {images} images with {array.shape[1]} features",
            "Rank by LogME, which needs neither.",
        )  # fmt: skip
    mean = array.mean(axis=0, dtype=np.float64)
    together = gram(array, mean)
    # The mean squared length is trace / n, so Z'Z / (n epsilon) of scaled features is Z'Z / (trace epsilon).
    unit = float(np.trace(together)) * epsilon
    rate = _coding_rate(together / unit)
    for label, size in enumerate(np.bincount(inputs.labels)):
        of_class = _inner_products(array[inputs.labels == label], mean)
        rate -= size / images * _coding_rate(of_class * (images / size / unit))
    return float(max(rate, 0.0))  # below 0 by rounding only: log det is concave


def _inner_products(features: NDArray[np.floating], mean: Array) -> Array:
    """Centred Gram matrix of columns or of images, whichever is smaller: both have the same eigenvalues above 0."""
    if len(features) > features.shape[1]:
        return gram(features, mean)
    centred = features - mean
    return np.asarray(centred @ centred.T)


def _coding_rate(products: Array) -> float:
    """Half the log determinant of 1 + products, in nats."""
    diagonal = np.diag(np.linalg.cholesky(products + np.eye(len(products))))
    return float(np.log(diagonal).sum())
