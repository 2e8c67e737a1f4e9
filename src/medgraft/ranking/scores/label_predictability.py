"""Label predictability (S_LP): can the labels be read from an image's neighbours once features may be projected?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import SettingsError, ShapeError
from medgraft.ranking.inputs import Inputs, UndefinedError, check_inputs, check_variant
from medgraft.ranking.scores.nearest_neighbours import neighbour_agreement
from medgraft.ranking.scores.spread import check_spread

if TYPE_CHECKING:
    from sklearn.neighbors import NeighborhoodComponentsAnalysis

WHO = "Label predictability"
DIMENSIONS = 50
NEIGHBOURS = 5
MOST_IMAGES = 10_000
"""All pairs of these are compared at each step: about 2 GB."""
SEED = 42
"""The authors', of the components that the projection starts from, which it moves by rounding; and of the folds."""


def label_predictability(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    exclude_self: bool = True,
    variant: Literal["scale_free", "as_published"] = "scale_free",
    folds: int | None = None,
) -> float:
    """Tell how often an image's neighbours share its label, after the projection that suits the labels best.

    Without `folds` the projection has seen the labels: features without any relation to them score well above chance
    too (200 images, 64 features, two classes: 0.7), and good ones tie at 1. Compare sources on the same images only.

    Args:
        features: (n, D) real numbers, n from 7 to 10 000.
        labels: (n,) whole numbers 0..C-1.
        exclude_self: an image is not its own neighbour. False: it is, as in the thesis.
        variant: "as_published" takes features as they are, although their scale decides how far the projection is
            trained. "scale_free" centres them and divides them all by one number first.
        folds: cross-validate in so many parts, 2 or more: the projection has not seen the images it is judged by, nor
            are they neighbours of one another (`exclude_self` is of no matter then). Two to three times the work.

    Returns: the mean share of the five nearest neighbours with the image's own label, in [0, 1]. Higher is better.

    Raises:
        ShapeError, DataError: features and labels do not fit together, or more than 10 000 images.
        SettingsError: fewer than two folds.
        UndefinedError: one class; too few images, in all or, with `folds`, of a class; features that are all the same.

    Source: Juodelyte, thesis chapter 6, equation for S_LP as its code computes it (mean, not sum): neighbourhood
        components analysis to 50 dimensions, then 5 nearest neighbours. The thesis' number:
        `exclude_self=False, variant="as_published"`.

    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(60) % 3
    >>> label_predictability(np.eye(3)[labels] * 6 + rng.normal(size=(60, 3)), labels) > 0.9
    True
    """
    check_variant(WHO, variant, ("scale_free", "as_published"))
    inputs = check_inputs(WHO, features, labels)
    _refuse_size(inputs, folds)
    check_spread(WHO, inputs.features)
    points = scale_points(inputs.features, variant)
    if folds is not None:
        return _held_out(points, inputs.labels, folds)
    projected = fit_projection(points, inputs.labels).transform(points)
    return neighbour_agreement(projected, inputs.labels, exclude_self=exclude_self)


def scale_points(
    features: NDArray[np.floating], variant: Literal["scale_free", "as_published"]
) -> NDArray[np.float64]:
    """Give features as the projection sees them: (n, D) float64, new; "as_published" changes no number.

    >>> scale_points(np.array([[1.0, 1.0], [3.0, 1.0]]), "scale_free").tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    points = features.astype(np.float64)
    if variant != "as_published":
        points -= points.mean(axis=0)
        points /= np.sqrt(np.square(points).sum() / len(points))  # all variances together are 1
    return points


def fit_projection(points: NDArray[np.float64], labels: NDArray[np.int64]) -> NeighborhoodComponentsAnalysis:
    """Fit the projection of (n, D) points that suits their labels best, to 50 dimensions or D where that is fewer."""
    from sklearn.neighbors import NeighborhoodComponentsAnalysis

    dimensions = min(DIMENSIONS, points.shape[1])
    return NeighborhoodComponentsAnalysis(n_components=dimensions, random_state=SEED).fit(points, labels)


def refuse_many(who: str, count: int) -> None:
    """Refuse more images than all pairs can be compared of.

    Raises:
        ShapeError: there are more than 10 000.
    """
    if count > MOST_IMAGES:
        raise ShapeError(
            who, f"at most {MOST_IMAGES} images, because it compares all pairs", f"there are {count}",
            "Draw a part of them.",
        )  # fmt: skip


def _refuse_size(inputs: Inputs, folds: int | None) -> None:
    count, smallest = len(inputs.labels), int(np.bincount(inputs.labels).min())
    refuse_many(WHO, count)
    if folds is not None and folds < 2:
        raise SettingsError(WHO, "two folds or more", f"folds is {folds}", "Take 5, or leave it out.")
    if count < NEIGHBOURS + 2 or (folds is not None and count - -(-count // folds) < NEIGHBOURS):
        raise UndefinedError(
            WHO, f"{NEIGHBOURS} neighbours for each image", f"there are {count} images", "Label more images."
        )
    if folds is not None and smallest < folds:
        raise UndefinedError(
            WHO, f"{folds} images of every class, one for each fold", f"one class has {smallest}",
            "Label more of it, or take fewer folds.",
        )  # fmt: skip


def _held_out(points: NDArray[np.float64], labels: NDArray[np.int64], folds: int) -> float:
    from sklearn.model_selection import StratifiedKFold
    from sklearn.neighbors import NearestNeighbors

    shares = np.empty(len(labels))
    for seen, held in StratifiedKFold(folds, shuffle=True, random_state=SEED).split(points, labels):
        projection = fit_projection(points[seen], labels[seen])
        search = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(projection.transform(points[seen]))
        nearest = search.kneighbors(projection.transform(points[held]), return_distance=False)
        shares[held] = (labels[seen][nearest] == labels[held, None]).mean(axis=1)
    return float(shares.mean())
