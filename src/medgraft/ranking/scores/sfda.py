"""SFDA: how well classes separate once features are moved a little, as fine-tuning would."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.ranking.inputs import Inputs, UndefinedError, check_inputs, check_variant
from medgraft.ranking.scores.class_sums import class_sums
from medgraft.ranking.scores.gram import double_blocks

SMALLEST_SHRINKAGE = 1e-10


class Scatter(NamedTuple):
    """shares: (C,) of the images. means: (C, D) of the classes. within: (D, D) mean scatter around them."""

    shares: NDArray[np.float64]
    means: NDArray[np.float64]
    within: NDArray[np.float64]


class Discriminant(NamedTuple):
    """Scores of the classes are linear. weights: (C, D). bias: (C,)."""

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]


def sfda(
    features: ArrayLike, labels: ArrayLike, *, variant: Literal["scale_free", "as_published"] = "scale_free"
) -> float:
    """Tell how sure a discriminant is of the labels after the images it is unsure of were pushed towards other classes.

    Args:
        features: (n, D) real numbers, n of at least D + C (columns that never change do not count).
        labels: (n,) whole numbers 0..C-1.
        variant: "as_published" shrinks by the variance in the units of the features, so that features times 0.1 give
            another number, and answers with about 1 where there are too few images, whatever the labels.
            "scale_free" measures the variance against that of all features together, and refuses too few images.

    Returns: the mean probability of the true class, in [0, 1]. Higher is better.

    Raises:
        ShapeError, DataError: features and labels do not fit together.
        UndefinedError: one class; features that do not vary within classes; with "scale_free" n < D + C.

    Source: Shao et al. 2022, section 4, and the authors' code for what it leaves open: shrinkage exp(-5 lambda) with
        lambda from six multiplications of the row sums; the confidence is a softmax of probabilities; the second
        analysis keeps the first one's shrinkage.

    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(60) % 3
    >>> sfda(np.eye(3)[labels] * 4 + rng.normal(size=(60, 3)), labels) > sfda(rng.normal(size=(60, 3)), labels)
    True
    """
    check_variant("SFDA", variant, ("scale_free", "as_published"))
    inputs = check_inputs("SFDA", features, labels)
    if variant != "as_published":
        _refuse_saturation(inputs)
    scatter = measure_scatter(inputs)
    shrinkage = choose_shrinkage(scatter, variant)
    first = class_probabilities(inputs.features, fit_discriminant(scatter, shrinkage))
    moved = inputs._replace(features=mix_by_confidence(inputs, scatter.means, first))
    second = class_probabilities(moved.features, fit_discriminant(measure_scatter(moved), shrinkage))
    return float(second[np.arange(len(second)), inputs.labels].mean())


def measure_scatter(inputs: Inputs, who: str = "SFDA") -> Scatter:
    """Measure where the classes lie and how wide they are, for the score or projection named `who`.

    Raises:
        UndefinedError: images of one class do not differ.

    >>> measure_scatter(check_inputs("SFDA", [[0.0], [2.0], [4.0], [6.0]], [0, 0, 1, 1])).within
    array([[1.]])
    """
    sizes = np.bincount(inputs.labels)
    means = class_sums(inputs.features, inputs.labels, inputs.classes) / sizes[:, None]
    within = np.zeros((means.shape[1], means.shape[1]))
    for rows, block in double_blocks(inputs.features):
        away = block - means[inputs.labels[rows]]
        within += away.T @ away
    within /= len(inputs.labels)
    rounding = (8 * np.finfo(np.float64).eps) ** 2 * np.square(means).mean()  # a mean's, of equal numbers
    if np.trace(within) <= rounding * len(within):
        raise UndefinedError(
            who, "features that differ between images of one class", "they do not", "Leave this model out."
        )
    return Scatter(sizes / len(inputs.labels), means, within)


def choose_shrinkage(scatter: Scatter, variant: Literal["scale_free", "as_published"]) -> float:
    """Choose how far to shrink the scatter within classes towards a sphere: the more, the narrower the classes.

    Returns: in [1e-10, 1].

    >>> scatter = Scatter(np.full(2, 0.5), np.zeros((2, 1)), np.ones((1, 1)))
    >>> round(choose_shrinkage(scatter, "as_published"), 6)  # exp(-5)
    0.006738
    """
    largest = _largest_eigenvalue(scatter.within)
    if variant != "as_published":
        away = scatter.means - scatter.shares @ scatter.means
        between = scatter.shares @ np.square(away).sum(axis=1)
        largest /= np.trace(scatter.within) + between  # all variance
    return max(float(np.exp(-5 * largest)), SMALLEST_SHRINKAGE)


def fit_discriminant(scatter: Scatter, shrinkage: float) -> Discriminant:
    """Fit the regularised Fisher discriminant.

    All its directions are kept, so that their product is the inverse of the scatter within classes: nothing has to be
    decomposed.

    >>> fit_discriminant(Scatter(np.full(2, 0.5), np.array([[1.0], [5.0]]), np.ones((1, 1))), 0.5).weights
    array([[1.],
           [5.]])
    """
    from scipy.linalg import solve

    within = (1 - shrinkage) * scatter.within
    within.flat[:: len(within) + 1] += shrinkage * np.trace(scatter.within) / len(within)
    weights = solve(within, scatter.means.T, assume_a="pos").T
    return Discriminant(weights, np.log(scatter.shares) - 0.5 * (scatter.means * weights).sum(axis=1))


def class_probabilities(features: NDArray[np.floating], fitted: Discriminant) -> NDArray[np.float64]:
    """Give (n, C) probabilities of the classes."""
    from scipy.special import softmax

    scores = np.empty((len(features), len(fitted.bias)))
    for rows, block in double_blocks(features):
        scores[rows] = block @ fitted.weights.T + fitted.bias
    return np.asarray(softmax(scores, axis=1))


def mix_by_confidence(
    inputs: Inputs, means: NDArray[np.float64], probabilities: NDArray[np.float64]
) -> NDArray[np.floating]:
    """Push each image towards the mean of the other classes, the further the less sure its own class is (ConfMix).

    Args:
        inputs: n images. means: (C, D) of the classes. probabilities: (n, C); their softmax is the confidence.

    Returns: (n, D), new, of the features' type.
    """
    from scipy.special import softmax

    confidence = softmax(probabilities, axis=1)[np.arange(len(probabilities)), inputs.labels]
    others = (means.sum(axis=0) - means) / (inputs.classes - 1)
    moved = np.empty(inputs.features.shape, np.result_type(inputs.features, np.float32))
    for rows, block in double_blocks(inputs.features):
        own = confidence[rows, None]
        moved[rows] = own * block + (1 - own) * others[inputs.labels[rows]]
    return moved


def _refuse_saturation(inputs: Inputs) -> None:
    """With fewer images than directions and classes, classes do not vary in some direction, along which any labels
    come apart; only the shrinkage hides it."""
    width = int((inputs.features.max(axis=0) != inputs.features.min(axis=0)).sum())
    needed = width + inputs.classes
    if len(inputs.labels) < needed:
        raise UndefinedError(
            "SFDA", f"at least {needed} images for {width} features and {inputs.classes} classes",
            f"there are {len(inputs.labels)}, with which any labels look predictable",
            "Label more images, or use a score that allows fewer, for example LogME.",
        )  # fmt: skip


def _largest_eigenvalue(matrix: NDArray[np.float64]) -> float:
    """As the authors estimate it: six multiplications of the row sums, which may end a little below."""
    vector = matrix.sum(axis=1)
    for _ in range(6):
        length = np.linalg.norm(vector)
        if not length:  # the row sums say nothing
            return float(np.linalg.norm(matrix, 2))
        vector = matrix @ (vector / length)
    return float(np.linalg.norm(vector))
