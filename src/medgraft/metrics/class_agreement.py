"""Whether images lie among those of their class at another site."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import DataError, ShapeError

WHO = "class_agreement"


def class_agreement(
    asked: ArrayLike,
    known: ArrayLike,
    asked_labels: ArrayLike,
    known_labels: ArrayLike,
    asked_patients: ArrayLike,
    known_patients: ArrayLike,
    *,
    neighbours: int = 5,
) -> float:
    """Share of an image's nearest neighbours among known images that are of its class, its own patient left out.

    Args:
        asked, known: (n, D) and (m, D) features, compared by Euclidean distance as they are; the same twice asks how
            images lie among each other.
        asked_labels, known_labels: (n,) and (m,) of any kind.
        asked_patients, known_patients: (n,) and (m,); known images of an image's own patient do not count.
        neighbours: how many, at least 1; fewer where there are fewer of other patients.

    Returns: the mean over classes of the mean share, in [0, 1]; about 1 / classes by chance, however many images each
        class has.

    Raises:
        ShapeError: features, labels and patients do not fit together.
        DataError: an image has no known image of another patient, or a feature is not finite.

    >>> class_agreement([[0.1], [9.0]], [[0.0], [1.0], [8.0]], "ab", "aab", [0, 1], [2, 3, 4], neighbours=2)
    0.75
    """
    points, others = (np.asarray(features, dtype=np.float64) for features in (asked, known))
    labels, other_labels = _listed(asked_labels), _listed(known_labels)
    patients, other_patients = _listed(asked_patients), _listed(known_patients)
    for features, *columns in ((points, labels, patients), (others, other_labels, other_patients)):
        if features.ndim != 2 or any(column.shape != features.shape[:1] for column in columns):
            raise ShapeError(
                WHO, "features of shape (images, D), one label and one patient per image",
                f"they are {', '.join(str(array.shape) for array in (features, *columns))}",
                "Give one row per image.",
            )  # fmt: skip
    if points.shape[1] != others.shape[1]:
        raise ShapeError(
            WHO, "features of one length", f"they have {points.shape[1]} and {others.shape[1]}",
            "Give those of one model.",
        )  # fmt: skip
    if not (np.isfinite(points).all() and np.isfinite(others).all()):
        raise DataError(WHO, "finite features", "some are not", "Leave out the model that gives them.")
    shares = np.empty(len(points))
    for row, point in enumerate(points):
        allowed = np.flatnonzero(other_patients != patients[row])
        if not len(allowed):
            raise DataError(
                WHO, "known images of other patients", "there are none", "Add images of other patients."
            )
        distances = np.linalg.norm(others[allowed] - point, axis=1)
        nearest = allowed[np.argsort(distances, kind="stable")[:neighbours]]
        shares[row] = (other_labels[nearest] == labels[row]).mean()
    return float(np.mean([shares[labels == label].mean() for label in np.unique(labels)]))


def _listed(values: ArrayLike) -> NDArray[np.generic]:
    return np.asarray(list(values) if isinstance(values, str) else values)
