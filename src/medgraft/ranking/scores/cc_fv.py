"""CC-FV: do pixels of a class look the same in every image, and do features still differ within an image?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import ShapeError
from medgraft.ranking.inputs import UndefinedError, check_inputs

WHO = "CC-FV"
SOFTENING = 1e-3
"""Added to squared distances on the unit sphere: dead pixels coincide, and their energy must stay finite."""


class CcFvTerms(NamedTuple):
    """Of one decoder layer.

    inconsistency: sum over classes of the mean distance between two images' features of the class, at least 0; lower
        is better. It grows with the scale of the features.
    variety: mean over images of the inverse energy of their features on the unit sphere, in [0.03, 2]; higher:
        spread more evenly.
    """

    inconsistency: float
    variety: float


def cc_fv(
    layers: Mapping[str, ArrayLike], labels: ArrayLike, images: ArrayLike, *, background: int | None = 0
) -> float:
    """Tell how well a source's decoder suits a segmentation target: classes alike across images, features varied.

    T = mean over layers of ln(variety / inconsistency).

    Args:
        layers: for each decoder layer (n, D) features of the same n pixels, `sample_pixels(...).features`.
        labels: (n,) the pixels' classes, whole numbers 0..C-1, each at least once.
        images: (n,) to which image each pixel belongs; any values.
        background: class that need not look alike, and counts in the variety only; None where all classes do.

    Returns: real, higher is better. Twice the scale of the features lowers it by ln 2, so it compares sources of one
        architecture and normalisation best.

    Raises:
        ShapeError, DataError: as `check_inputs`; not one image per pixel; no layer.
        UndefinedError: one class; no foreground class with two pixels in each of two images; features that are the
            same in all images.

    Source: Yang et al., MICCAI 2023, "Pick the Best Pre-trained Model", class consistency (Wasserstein distance between
        Gaussians) and feature variety (inverse hyperspherical energy, s = 1). Differs: images without a class are left
        out of its mean instead of counting in N(N - 1); energy is a mean over pairs, so that the number of pixels does
        not matter; class-balanced pixels serve both terms. The published code takes the energy instead of its inverse,
        and that of one mean feature per image, not brought to length 1.

    >>> rng = np.random.default_rng(0)
    >>> labels, images = np.tile([0, 1], 50), np.repeat(range(5), 20)
    >>> alike = rng.normal(size=(100, 4)) + 3 * labels[:, None]
    >>> shifted = alike + images[:, None]
    >>> cc_fv({"decoder1": alike}, labels, images) > cc_fv({"decoder1": shifted}, labels, images)
    True
    """
    if not layers:
        raise ShapeError(WHO, "features of one layer or more", "there are none", "Pass at least one layer.")
    terms = [cc_fv_terms(layer, labels, images, background=background) for layer in layers.values()]
    return float(np.mean([np.log(one.variety / one.inconsistency) for one in terms]))


def cc_fv_terms(
    features: ArrayLike, labels: ArrayLike, images: ArrayLike, *, background: int | None = 0
) -> CcFvTerms:
    """The two parts of CC-FV for one layer; arguments and errors as for `cc_fv`.

    >>> cc_fv_terms([[1, 0], [0, 1], [1, 0], [0, 2]], [0, 0, 1, 1], [5, 5, 6, 6], background=None)
    Traceback (most recent call last):
    medgraft.ranking.inputs.UndefinedError: CC-FV needs a class with two pixels or more in each of two images, ...
    """
    inputs = check_inputs(WHO, features, labels)
    owners = np.asarray(images)
    if owners.shape != inputs.labels.shape:
        raise ShapeError(
            WHO, "the image of every pixel", f"there are {len(inputs.labels)} pixels and images are {owners.shape}",
            "Pass one image number per pixel.",
        )  # fmt: skip
    inconsistency = _inconsistency(inputs.features, inputs.labels, owners, background)
    energies = [
        _energy(inputs.features[owners == image])
        for image in np.unique(owners)
        if (owners == image).sum() > 1
    ]
    return CcFvTerms(inconsistency, float(np.mean([1 / energy for energy in energies])))


def gaussian_distance(one: ArrayLike, other: ArrayLike) -> float:
    """How far apart two clouds of points are, taken for Gaussians: their 2-Wasserstein distance.

    Args:
        one: (n, D) real numbers, n at least 2.
        other: (m, D), m at least 2.

    Returns: at least 0; W^2 = |mean difference|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), covariances with n - 1.

    Source: Dowson & Landau 1982, equation 4.

    >>> gaussian_distance([[0.0], [2.0]], [[3.0], [7.0]])  # means 4 apart, deviations 2^1/2 and 2 * 2^1/2
    4.2426...
    """
    return _distance(_summary(np.asarray(one)), _summary(np.asarray(other)))


class _Summary(NamedTuple):
    """mean: (D,). factor: (r, D), whose product with itself is the covariance; r = min(n, D)."""

    mean: NDArray[np.float64]
    factor: NDArray[np.float64]


def _summary(points: NDArray[np.generic]) -> _Summary:
    values = points.astype(np.float64)
    mean = values.mean(axis=0)
    factor = np.linalg.qr((values - mean) / np.sqrt(len(values) - 1)).R
    return _Summary(mean, factor)


def _distance(one: _Summary, other: _Summary) -> float:
    # With A = R'R and B = S'S, the trace of (A^1/2 B A^1/2)^1/2 is the sum of the singular values of RS': no matrix
    # root, which is unreliable where fewer pixels than features make a covariance singular.
    shared = np.linalg.svd(one.factor @ other.factor.T, compute_uv=False).sum()
    squared = ((one.mean - other.mean) ** 2).sum()
    squared += (one.factor**2).sum() + (other.factor**2).sum() - 2 * shared
    return float(np.sqrt(max(0.0, squared)))  # rounding may leave a little less than nothing


def _inconsistency(
    features: NDArray[np.floating],
    labels: NDArray[np.int64],
    images: NDArray[np.generic],
    background: int | None,
) -> float:
    total, compared = 0.0, False
    for label in set(np.unique(labels).tolist()) - {background}:
        chosen = [np.flatnonzero((labels == label) & (images == image)) for image in np.unique(images)]
        clouds = [_summary(features[rows]) for rows in chosen if len(rows) > 1]
        if len(clouds) > 1:
            compared = True
            total += float(np.mean([_distance(one, other) for one, other in combinations(clouds, 2)]))
    if not compared:
        raise UndefinedError(
            WHO, "a class with two pixels or more in each of two images", "there is none",
            "Add images with masks, or take more pixels of each.",
        )  # fmt: skip
    if total == 0:
        raise UndefinedError(
            WHO, "features that differ between images", "they are the same in all",
            "Leave this source out: its decoder is dead.",
        )  # fmt: skip
    return total


def _energy(features: NDArray[np.floating]) -> float:
    """Mean of 1 / distance over pairs of directions; a feature of all zeros stays at the centre."""
    values = features.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit = np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)
    squares = (unit**2).sum(axis=1)
    squared = np.maximum(0.0, squares[:, None] + squares[None] - 2 * unit @ unit.T)
    pairs = np.triu_indices(len(unit), k=1)
    return float((1 / np.sqrt(squared[pairs] + SOFTENING)).mean())
