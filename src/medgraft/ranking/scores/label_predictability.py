"""Label predictability (S_LP): can the labels be read from an image's neighbours once features may be projected?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import ShapeError
from medgraft.ranking.inputs import Inputs, UndefinedError, check_inputs
from medgraft.ranking.scores.spread import check_spread

DIMENSIONS = 50
NEIGHBOURS = 5
MOST_IMAGES = 10_000
"""All pairs of these are compared at each step: about 2 GB."""
SEED = 42
"""The authors'; it decides nothing but rounding in the principal components that the projection starts from."""


def label_predictability(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    exclude_self: bool = True,
    variant: Literal["scale_free", "as_published"] = "scale_free",
) -> float:
    """Tell how often an image's neighbours share its label, after the projection that suits the labels best.

    The projection has seen the labels: features without any relation to them score well above chance too, the more so
    the fewer images there are. Compare sources on the same images only.

    Args:
        features: (n, D) real numbers, n from 7 to 10 000.
        labels: (n,) whole numbers 0..C-1.
        exclude_self: an image is not its own neighbour. False: it is, as in the thesis.
        variant: "as_published" takes features as they are, although their scale decides how far the projection is
            trained. "scale_free" centres them and divides them all by one number first.

    Returns: the mean share of the five nearest neighbours with the image's own label, in [0, 1]. Higher is better.

    Raises:
        ShapeError, DataError: features and labels do not fit together, or more than 10 000 images.
        UndefinedError: one class; fewer than 7 images; features that are all the same.

    Source: Juodelyte, thesis chapter 6, equation for S_LP as its code computes it (mean, not sum): neighbourhood
        components analysis to 50 dimensions, then 5 nearest neighbours. The thesis' number:
        `exclude_self=False, variant="as_published"`.

    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(60) % 3
    >>> label_predictability(np.eye(3)[labels] * 6 + rng.normal(size=(60, 3)), labels) > 0.9
    True
    """
    inputs = check_inputs("Label predictability", features, labels)
    _refuse_size(len(inputs.labels))
    check_spread("Label predictability", inputs.features)
    points = inputs.features.astype(np.float64)
    if variant == "scale_free":
        points -= points.mean(axis=0)
        points /= np.sqrt(np.square(points).sum() / len(points))
    return neighbour_agreement(_project(points, inputs), inputs.labels, exclude_self=exclude_self)


def neighbour_agreement(
    points: NDArray[np.floating], labels: NDArray[np.int64], *, exclude_self: bool = True
) -> float:
    """Give the mean share of the five nearest neighbours that have an image's own label.

    Args:
        points: (n, d) more than five, any scale. labels: (n,).
        exclude_self: whether an image may not be its own neighbour.

    Returns: in [0, 1].

    >>> neighbour_agreement(np.zeros((6, 1)), np.array([0, 0, 0, 0, 0, 1]))  # (5 * 4 + 0) of 6 * 5 neighbours
    0.6666666666666666
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(points)
    nearest = search.kneighbors(None if exclude_self else points, return_distance=False)
    return float((labels[nearest] == labels[:, None]).mean())


def _refuse_size(count: int) -> None:
    if count > MOST_IMAGES:
        raise ShapeError(
            "Label predictability", f"at most {MOST_IMAGES} images, because it compares all pairs",
            f"there are {count}", "Draw a part of them.",
        )  # fmt: skip
    if count < NEIGHBOURS + 2:
        raise UndefinedError(
            "Label predictability",
            f"{NEIGHBOURS + 2} images or more",
            f"there are {count}",
            "Label more images.",
        )


def _project(points: NDArray[np.float64], inputs: Inputs) -> NDArray[np.float64]:
    from sklearn.neighbors import NeighborhoodComponentsAnalysis

    dimensions = min(DIMENSIONS, points.shape[1])
    analysis = NeighborhoodComponentsAnalysis(n_components=dimensions, random_state=SEED)
    return np.asarray(analysis.fit_transform(points, inputs.labels))
