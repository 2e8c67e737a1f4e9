"""PARC: are images of one class alike to this source, and those of different classes unlike?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import ShapeError
from medgraft.ranking.inputs import UndefinedError, check_inputs, check_variant
from medgraft.ranking.scores.principal_components import principal_components
from medgraft.ranking.scores.spread import check_spread

DIMENSIONS = 32
MOST_IMAGES = 20_000
"""All pairs of these are held at once: about 5 GB."""


def parc(
    features: ArrayLike, labels: ArrayLike, *, variant: Literal["sign_free", "as_published"] = "sign_free"
) -> float:
    """Tell whether the source finds images of one class alike and images of different classes unlike.

    Args:
        features: (n, D) real numbers, at most 20 000 rows, as all pairs are compared; their scale does not matter.
        labels: (n,) whole numbers 0..C-1.
        variant: "as_published" approximates the principal components at random (with the authors' seed), and takes the
            mean over them from every image, so that their signs, which mean nothing, move the score by 0.5 or so.
            "sign_free" takes the exact components and leaves them where they are.

    Returns: 100 times a rank correlation, in [-100, 100], about 0 where the features have nothing to do with the
        labels. The labels only say alike or not, so even perfect features stay below 100. Higher is better.

    Raises:
        ShapeError, DataError: features and labels do not fit together, or more than 20 000 images.
        UndefinedError: one class; features that are all the same; all pairs equally alike.

    Source: Bolya et al. 2021, section 3: 32 principal components (or as many as there are), each standardised; over all
        pairs Spearman's correlation of 1 - Pearson between images and 1 - Pearson between their one-hot labels.
        Differs: the cosine in place of Pearson's correlation, but for "as_published".

    >>> parc([[0.0, 0.0], [0.1, 0.1], [5.0, 2.0], [5.1, 2.3]], [0, 0, 1, 1]) > 80
    True
    """
    check_variant("PARC", variant, ("sign_free", "as_published"))
    inputs = check_inputs("PARC", features, labels)
    if len(inputs.labels) > MOST_IMAGES:
        raise ShapeError(
            "PARC", f"at most {MOST_IMAGES} images, because it compares all pairs",
            f"there are {len(inputs.labels)}", "Draw a part of them.",
        )  # fmt: skip
    if variant == "as_published":
        check_spread("PARC", inputs.features)
        standard = _standardise(_approximate(inputs.features))
        return pair_correlation(standard - standard.mean(axis=1, keepdims=True), inputs.labels)
    return pair_correlation(
        _standardise(principal_components("PARC", inputs.features, most=DIMENSIONS).scores), inputs.labels
    )


def pair_correlation(images: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Correlate over all pairs of images how far apart they point with whether their labels differ.

    Args:
        images: (n, d), compared by the cosine between them: by Pearson's correlation if each has mean 0.
        labels: (n,) whole numbers.

    Returns: 100 times Spearman's correlation, in [-100, 100].

    Raises:
        UndefinedError: all pairs equally far apart, or no two images of one class.

    >>> corners = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> round(pair_correlation(corners, np.array([0, 0, 1, 1])), 2)  # 2 pairs alike, 4 apart of three kinds
    85.28
    """
    from scipy.stats import rankdata

    length = np.linalg.norm(images, axis=1, keepdims=True)
    # An average image points nowhere: as far from every other as one at a right angle.
    unit = np.divide(images, length, out=np.zeros_like(images), where=length > 0)
    first, second = np.triu_indices(len(images), 1)
    unlike = labels[first] != labels[second]  # the only two ranks that distances of one-hot labels take
    # In few directions many pairs are equal up to rounding.
    ranks = rankdata(np.round(1 - (unit @ unit.T)[first, second], 12))
    if unlike.all() or not np.ptp(ranks):
        raise UndefinedError(
            "PARC", "pairs of images that differ in how alike they are", "all pairs are the same",
            "Add images, or leave this model out.",
        )  # fmt: skip
    return float(100 * np.corrcoef(ranks, unlike)[0, 1])


def _standardise(reduced: NDArray[np.floating]) -> NDArray[np.float64]:
    away = reduced - reduced.mean(axis=0, dtype=np.float64)
    width = away.std(axis=0)
    return np.asarray(np.divide(away, width, out=np.zeros_like(away), where=width > 0))


def _approximate(features: NDArray[np.floating]) -> NDArray[np.floating]:
    from sklearn.decomposition import PCA

    analysis = PCA(
        min(DIMENSIONS, *features.shape), svd_solver="randomized", iterated_power=1, random_state=1919
    )
    return np.asarray(analysis.fit_transform(features))
