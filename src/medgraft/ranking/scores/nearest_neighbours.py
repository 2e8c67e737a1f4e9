"""Nearest neighbours: a baseline that every score must beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import SettingsError
from medgraft.ranking.inputs import UndefinedError, check_inputs
from medgraft.ranking.scores.spread import check_spread


def nearest_neighbours(features: ArrayLike, labels: ArrayLike, *, neighbours: int = 5) -> float:
    """Tell how many of an image's nearest neighbours are of its class, the image itself left out.

    Args:
        features: (n, D) real numbers, compared by Euclidean distance as they are.
        labels: (n,) whole numbers 0..C-1.
        neighbours: how many are looked at, 1 to n - 1.

    Returns: [0, 1], higher is better: the mean over images of the share of neighbours of the same class, that is
        the leave-one-out probability of the true class. By chance: the sum of squared class shares. Time grows
        with n squared.

    Raises:
        ShapeError, DataError: as `medgraft.ranking.inputs.check_inputs`.
        SettingsError: `neighbours` is below 1.
        UndefinedError: one class only, no more images than `neighbours`, or the same features for every image.

    Source: Cover & Hart 1967; leave-one-out as Fukunaga & Hummels 1989.

    >>> features = [[0.0, 1.0], [0.2, 0.9], [1.0, 0.1], [0.9, 0.0]]
    >>> nearest_neighbours(features, [0, 0, 1, 1], neighbours=1)
    1.0
    """
    who = "The nearest-neighbour score"
    if neighbours < 1:
        raise SettingsError(who, "one neighbour or more", f"it is to look at {neighbours}", "Take 5.")
    inputs = check_inputs(who, features, labels)
    check_spread(who, inputs.features)
    if len(inputs.labels) <= neighbours:
        raise UndefinedError(
            who, f"more than {neighbours} images", f"there are {len(inputs.labels)}",
            "Add images, or look at fewer neighbours.",
        )  # fmt: skip
    return neighbour_agreement(inputs.features, inputs.labels, neighbours=neighbours)


def neighbour_agreement(
    points: NDArray[np.floating],
    labels: NDArray[np.int64],
    *,
    neighbours: int = 5,
    exclude_self: bool = True,
) -> float:
    """Give the mean share of the nearest neighbours that have an image's own label.

    Args:
        points: (n, d) more than there are neighbours, any scale.
        labels: (n,).
        neighbours: of each image.
        exclude_self: whether an image may not be its own neighbour.

    Returns: in [0, 1].

    >>> neighbour_agreement(np.zeros((6, 1)), np.array([0, 0, 0, 0, 0, 1]))  # (5 * 4 + 0) of 6 * 5 neighbours
    0.6666666666666666
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=neighbours, algorithm="brute", n_jobs=1).fit(points)
    nearest = search.kneighbors(None if exclude_self else points, return_distance=False)
    return float((labels[nearest] == labels[:, None]).mean())
