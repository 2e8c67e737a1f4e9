"""How well two groups of images can be told apart by their features, patients kept together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import DataError, ShapeError

FEWEST_PATIENTS = 2
"""Of each group: one to learn from, one to be told."""


def separation(
    first: ArrayLike,
    second: ArrayLike,
    first_patients: ArrayLike,
    second_patients: ArrayLike,
    *,
    neighbours: int = 5,
    folds: int = 5,
    seed: int = 0,
    same_patients: bool = False,
) -> float:
    """Tell how often an image's nearest neighbours among other patients say rightly to which group it belongs.

    A neighbour counts by the inverse of its group's size, so that the larger group is not favoured.

    Args:
        first, second: (n, D) and (m, D) features, compared by Euclidean distance as they are.
        first_patients, second_patients: (n,) and (m,) of any kind; all images of a patient are held out together.
            A name that stands in both groups counts as two patients, unless `same_patients`.
        neighbours: how many vote, at least 1.
        folds: parts into which the patients of each group are cut, at most as many as there are patients.
        seed: which patients come into which part.
        same_patients: a name that stands in both groups is one patient, as where one scan was made at two sites, and
            is held out of both together. Otherwise an image's twin would speak for the other group.

    Returns: cross-validated balanced accuracy in [0, 1]: 0.5 where the groups cannot be told apart, 1 where they lie
        apart. A tie is half right.

    Raises:
        ShapeError: features or patients do not fit together.
        DataError: a group has fewer than two patients, or a feature is not finite.

    >>> near, far = np.arange(6.0)[:, None], np.arange(6.0)[:, None] + 100
    >>> separation(near, far, range(6), range(6))
    1.0
    """
    groups = [_checked(first, first_patients), _checked(second, second_patients)]
    if groups[0][0].shape[1] != groups[1][0].shape[1]:
        raise ShapeError(
            "The separation of two groups", "features of one length",
            f"they have {groups[0][0].shape[1]} and {groups[1][0].shape[1]}", "Give those of one model.",
        )  # fmt: skip
    most = min(folds, *(len(np.unique(patients)) for _, patients in groups))
    if most < FEWEST_PATIENTS:
        raise DataError(
            "The separation of two groups", f"{FEWEST_PATIENTS} patients in each",
            f"there are {' and '.join(str(len(np.unique(patients))) for _, patients in groups)}",
            "Add images of other patients.",
        )  # fmt: skip
    rng = np.random.default_rng(seed)
    points = np.concatenate([features for features, _ in groups])
    is_second = np.repeat([False, True], [len(features) for features, _ in groups])
    names = [patients for _, patients in groups]
    cut = (
        _cut_together(names[0], names[1], most, rng)
        if same_patients
        else [_cut(own, most, rng) for own in names]
    )
    parts = np.concatenate(cut)
    right = np.empty(len(points))
    for part in range(most):
        held = parts == part
        says_second = _vote(points[~held], is_second[~held], points[held], neighbours)
        right[held] = np.where(is_second[held], says_second, 1 - says_second)
    return float((right[is_second].mean() + right[~is_second].mean()) / 2)


def _checked(features: ArrayLike, patients: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.generic]]:
    array, named = np.asarray(features), np.asarray(patients)
    if array.ndim != 2 or named.shape != array.shape[:1]:
        raise ShapeError(
            "The separation of two groups", "features of shape (images, D) and one patient per image",
            f"they are {array.shape} and {named.shape}", "Give one row per image.",
        )  # fmt: skip
    if not np.isfinite(array).all():
        raise DataError(
            "The separation of two groups", "finite features", "some are not",
            "Leave out the model that gives them.",
        )  # fmt: skip
    return array, named


def _cut(patients: NDArray[np.generic], parts: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n,) the part of each image: patients are dealt out in turn, so that every part has some of every group."""
    known, of_image = np.unique(patients, return_inverse=True)
    return np.asarray((rng.permutation(len(known)) % parts)[of_image], dtype=np.int64)


def _cut_together(
    first: NDArray[np.generic], second: NDArray[np.generic], parts: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """The same for two groups, a patient of both in one part; those of both are dealt out before the others."""
    both = np.intersect1d(first, second)
    part_of = {name: place % parts for place, name in enumerate(rng.permutation(both).tolist())}
    for group in (first, second):
        others = rng.permutation(np.setdiff1d(group, both)).tolist()
        part_of |= {name: place % parts for place, name in enumerate(others, start=len(both))}
    return [np.array([part_of[name] for name in group.tolist()], dtype=np.int64) for group in (first, second)]


def _vote(
    known: NDArray[np.floating], is_second: NDArray[np.bool_], asked: NDArray[np.floating], neighbours: int
) -> NDArray[np.float64]:
    """(n,) 1 where the neighbours say second, 0 where they say first, 0.5 where they say both alike."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(neighbours, len(known)), algorithm="brute", n_jobs=1).fit(known)
    seconds = is_second[search.kneighbors(asked, return_distance=False)]
    # votes over group sizes, compared in whole numbers so that ties are ties
    for_second = seconds.sum(axis=1) * int((~is_second).sum())
    for_first = (~seconds).sum(axis=1) * int(is_second.sum())
    return np.asarray((np.sign(for_second - for_first) + 1) / 2, dtype=np.float64)
