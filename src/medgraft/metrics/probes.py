"""What can be told from features: a fresh classifier on them, asked about patients that it was not trained on.

That a probe tells an attribute proves nothing alone: a linear one reads the tone of skin from the features of every
model, of those trained without any bias too. Put it beside the probe of such a model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.metrics.classification import auroc, balanced_accuracy

MakeClassifier = Callable[[int], Any]
"""Number of training images to an unfitted classifier of scikit-learn's."""
FEWEST_PATIENTS = 2
"""With each label: one to learn from, one to be told."""


class Probe(NamedTuple):
    """What a probe said of every image while its patient was held out.

    labels: (N,) whole numbers from 0, as asked for.
    predicted: (N,) whole numbers, the likeliest where all labels are equally frequent.
    probabilities: (N, C), rows sum to 1.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @property
    def balanced_accuracy(self) -> float:
        """Mean share of each label that was told; 1 / C by chance."""
        return balanced_accuracy(self.labels, self.predicted, self.probabilities.shape[1])

    @property
    def auroc(self) -> float:
        """Of the second of two labels, or the mean over labels against the rest; 0.5 by chance."""
        return auroc(self.labels, self.probabilities)


def linear_probe(
    features: ArrayLike, labels: ArrayLike, patients: ArrayLike, *, folds: int = 5, seed: int = 0
) -> Probe:
    """Ask a logistic regression which label an image has; all labels count equally in its training.

    Args:
        features: (N, D); each column is standardised on the training folds.
        labels: (N,) whole numbers 0..C-1.
        patients: (N,) of any kind; all images of a patient are held out together.
        folds: parts for cross-validation, from 2, with label shares as equal as patients allow; at most as many as
            the rarest label has patients.
        seed: which patients fall into which part.

    Raises:
        ShapeError: the three do not fit together.
        DataError: fewer than two labels, a label of one patient only, or a feature that is not finite.
        SettingsError: `folds` is below 2.

    Source: Alain & Bengio 2017; scikit-learn's logistic regression, L2 penalty with C = 1.

    >>> features = [[0.0], [0.1], [0.2], [1.0], [0.9], [0.8]]
    >>> probe = linear_probe(features, [0, 0, 0, 1, 1, 1], "abcdef")
    >>> probe.balanced_accuracy, probe.auroc
    (1.0, 1.0)
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return _cross_predict(
        lambda _: make_pipeline(
            StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced")
        ),
        "The linear probe", features, labels, patients, folds, seed, equal_shares=True,
    )  # fmt: skip


def neighbours_probe(
    features: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    neighbours: int = 5,
    folds: int = 5,
    seed: int = 0,
) -> Probe:
    """Ask an image's nearest neighbours among other patients which label it has.

    A vote counts by the inverse of its label's share in training, so that frequent labels are not favoured.

    Args:
        features, labels, patients, folds, seed: as for `linear_probe`.
        neighbours: how many vote, from 1; fewer where there are fewer images.

    Raises: as `linear_probe`; SettingsError also where `neighbours` is below 1.

    Source: Cover & Hart 1967; scikit-learn's classifier, Euclidean distance of features as they are.
    """
    from sklearn.neighbors import KNeighborsClassifier

    who = "The nearest-neighbours probe"
    if neighbours < 1:
        raise SettingsError(who, "one neighbour or more", f"it is to look at {neighbours}", "Take 5.")
    return _cross_predict(
        lambda images: KNeighborsClassifier(min(neighbours, images), algorithm="brute", n_jobs=1),
        who, features, labels, patients, folds, seed, equal_shares=False,
    )  # fmt: skip


def _cross_predict(
    make: MakeClassifier,
    who: str,
    features: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    folds: int,
    seed: int,
    *,
    equal_shares: bool,
) -> Probe:
    from sklearn.model_selection import StratifiedGroupKFold

    points, codes, of_patient = _checked(who, features, labels, patients)
    fewest = min(len(np.unique(of_patient[codes == code])) for code in range(codes.max() + 1))
    if folds < 2:
        raise SettingsError(who, "two folds or more", f"it has {folds}", "Take 5.")
    if fewest < FEWEST_PATIENTS:
        raise DataError(
            who, f"{FEWEST_PATIENTS} patients of every label", f"a label has {fewest}",
            "Add images of other patients, or leave the label out.",
        )  # fmt: skip
    parts = StratifiedGroupKFold(min(folds, fewest), shuffle=True, random_state=seed)
    chances = np.zeros((len(codes), codes.max() + 1))
    for known, held in parts.split(points, codes, of_patient):
        chances[held] = _told(make, points[known], codes[known], points[held], chances.shape[1], equal_shares)
    return Probe(codes, chances.argmax(axis=1), chances)


def _told(
    make: MakeClassifier,
    known: NDArray[np.float64],
    codes: NDArray[np.int64],
    asked: NDArray[np.float64],
    count: int,
    equal_shares: bool,
) -> NDArray[np.float64]:
    """(n, C) chances of every label; 0 for those that the training folds happen to lack."""
    shares = np.bincount(codes, minlength=count) / len(codes)
    there = np.flatnonzero(shares)
    chances = np.zeros((len(asked), count))
    if len(there) < 2:
        chances[:, there] = 1.0
        return chances
    chances[:, there] = make(len(known)).fit(known, codes).predict_proba(asked)
    if not equal_shares:
        chances[:, there] /= shares[there]
    total: NDArray[np.float64] = chances / chances.sum(axis=1, keepdims=True)
    return total


def _checked(
    who: str, features: ArrayLike, labels: ArrayLike, patients: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    points, codes = np.asarray(features, dtype=np.float64), np.asarray(labels)
    named = np.asarray(list(patients) if isinstance(patients, str) else patients)
    if points.ndim != 2 or codes.shape != points.shape[:1] or named.shape != codes.shape:
        raise ShapeError(
            who, "features of shape (images, D), and one label and patient per image",
            f"they are {points.shape}, {codes.shape} and {named.shape}", "Give one row per image.",
        )  # fmt: skip
    if not np.isfinite(points).all():
        raise DataError(who, "finite features", "some are not", "Leave out the model that gives them.")
    present = np.unique(codes)
    if len(present) < 2 or not np.array_equal(present, np.arange(len(present))):
        raise DataError(
            who, "two labels or more, numbered from 0 without a gap", f"there are {present.tolist()[:9]}",
            "Leave out images whose label is unknown.",
        )  # fmt: skip
    return points, codes.astype(np.int64), np.unique(named, return_inverse=True)[1]
