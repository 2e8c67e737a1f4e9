"""LogME: the evidence of a Bayesian linear model that reads the class from the features."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.ranking.inputs import check_inputs, check_variant
from medgraft.ranking.scores.class_sums import class_sums
from medgraft.ranking.scores.eigen_coordinates import eigen_coordinates
from medgraft.ranking.scores.gram import gram
from medgraft.ranking.scores.spread import check_spread

Array = NDArray[np.float64]

ROUNDS = 11
"""The authors' limit for the search of alpha and beta."""

SETTLED = 1e-3
"""The authors' relative change of alpha/beta at which the search ends."""

RIDGE = 1e-5
"""The authors' guard of both divisions; it is what keeps beta finite where n <= D and every label is fitted."""


def log_me(
    features: ArrayLike, labels: ArrayLike, *, variant: Literal["exact", "as_published"] = "exact"
) -> float:
    """Tell how probable the labels are under a Bayesian linear model of the features, per image.

    Args:
        features: (n, D) real numbers; neither centred nor scaled here.
        labels: (n,) whole numbers 0..C-1.
        variant: "exact" is the log marginal likelihood of the class indicators (0/1, no intercept) at the alpha and
            beta found. "as_published" is what the authors' fixed-point code returns: it forgets D - n terms of the
            determinant where n < D, which inflates the scores of small targets; only for their tables.

    Returns: any real number, higher is better; mean over classes and images. "exact" does not change with columns
        of zeros. Where 11 rounds do not settle alpha and beta (n < D and features that know little), "exact" lies
        below the maximum over alpha and beta.

    Raises:
        ShapeError, DataError: as `medgraft.ranking.inputs.check_inputs`.
        UndefinedError: one class only, or the same features for every image.

    Source: You et al. 2021 (LogME), fixed-point form of You et al. 2022. Differs: one decomposition of the smaller
        Gram matrix serves all classes; "exact" has the whole determinant and takes the quadratic terms at
        the final alpha and beta, not at those of the round before.

    >>> features = [[0.0, 1.0], [0.2, 0.9], [1.0, 0.1], [0.9, 0.0]]
    >>> round(log_me(features, [0, 0, 1, 1]), 3), round(log_me(features, [0, 1, 0, 1]), 3)
    (-0.247, -1.068)
    """
    check_variant("LogME", variant, ("exact", "as_published"))
    inputs = check_inputs("LogME", features, labels)
    check_spread("LogME", inputs.features)
    images, columns = inputs.features.shape
    decompose = _decompose_columns if images > columns else _decompose_rows
    spectrum = decompose(inputs.features, inputs.labels, inputs.classes)
    found = _search(spectrum, images)
    if variant == "as_published":
        evidence = _evidence(spectrum, found, found.last_ratio, images)
        evidence += max(columns - images, 0) / 2 * np.log(found.alpha)  # the determinant's forgotten terms
    else:
        evidence = _evidence(spectrum, found, found.alpha / found.beta, images)
    return float(evidence.mean() / images)


class _Spectrum(NamedTuple):
    """Features and class indicators in the basis of the features' left singular vectors, k of them.

    values: (k, 1) squared singular values, above 0. shares: (k, C) squared coordinates of the indicators.
    rest: (C,) squared length of what is outside the basis, which no linear model reaches.
    """

    values: Array
    shares: Array
    rest: Array


class _Found(NamedTuple):
    """alpha: (C,) precision of the weights. beta: (C,) of the noise. last_ratio: alpha/beta before the last round."""

    alpha: Array
    beta: Array
    last_ratio: Array


def _decompose_columns(features: NDArray[np.floating], labels: NDArray[np.int64], classes: int) -> _Spectrum:
    """From the (D, D) Gram matrix: left singular vectors are never formed, only their products with indicators."""
    values, coordinates = eigen_coordinates(gram(features), class_sums(features, labels, classes).T)
    return _spectrum(values, coordinates**2 / values[:, None], labels)  # each was times its singular value


def _decompose_rows(features: NDArray[np.floating], labels: NDArray[np.int64], classes: int) -> _Spectrum:
    """From the (n, n) Gram matrix, whose eigenvectors are the left singular vectors."""
    indicators = (labels[:, None] == np.arange(classes)).astype(np.float64)
    values, coordinates = eigen_coordinates(gram(features.T), indicators)
    return _spectrum(values, coordinates**2, labels)


def _spectrum(values: Array, shares: Array, labels: NDArray[np.int64]) -> _Spectrum:
    rest = np.bincount(labels) - shares.sum(axis=0)
    return _Spectrum(values[:, None], shares, np.maximum(rest, 0.0))  # rounding may leave a little below 0


def _search(spectrum: _Spectrum, images: int) -> _Found:
    """Alpha and beta of every class by the authors' rounds; a class that has settled is left as it is."""
    values, shares, _ = spectrum
    alpha, beta, last = (np.ones(shares.shape[1]) for _ in range(3))
    going = np.ones(shares.shape[1], dtype=bool)
    for _ in range(ROUNDS):
        ratio = alpha / beta
        explained = (values / (values + ratio)).sum(axis=0)
        # n - explained, added up without cancellation: it may be far smaller than n
        unexplained = images - len(values) + (ratio / (values + ratio)).sum(axis=0)
        size, misfit = _quadratic_terms(spectrum, ratio)
        alpha = np.where(going, explained / (size + RIDGE), alpha)
        beta = np.where(going, unexplained / (misfit + RIDGE), beta)
        last = np.where(going, ratio, last)
        going &= np.abs(alpha / beta - ratio) / ratio > SETTLED
        if not going.any():
            break
    return _Found(alpha, beta, last)


def _quadratic_terms(spectrum: _Spectrum, ratio: Array) -> tuple[Array, Array]:
    """Squared length of the mean weights (C,), and of what they leave of the indicators (C,)."""
    values, shares, rest = spectrum
    size = (values * shares / (values + ratio) ** 2).sum(axis=0)
    misfit = (shares * (ratio / (values + ratio)) ** 2).sum(axis=0) + rest
    return size, misfit


def _evidence(spectrum: _Spectrum, found: _Found, ratio: Array, images: int) -> Array:
    """Log marginal likelihood of each class's indicators, (C,), with the mean weights of `ratio`."""
    size, misfit = _quadratic_terms(spectrum, ratio)
    # D/2 ln alpha - 1/2 sum_D ln(alpha + beta value): columns without spread cancel, so D itself does not appear
    determinant = np.log1p(spectrum.values * found.beta / found.alpha).sum(axis=0)
    constant = images * (np.log(found.beta) - np.log(2 * np.pi))
    return np.asarray((constant - determinant - found.beta * misfit - found.alpha * size) / 2)
