"""How well do two masks overlap?

A class that is empty in both masks scores 1, one that is empty in only one of them scores 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import ShapeError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


_AT_ONCE = 2**22
"""Pixels counted at a time, so that a large volume needs little memory beside itself."""


@dataclass(frozen=True)
class Overlap:
    """Pixels per class, each (classes,) int64: in the truth, in the prediction, in both. Overlaps add up.

    >>> both = count_overlap([0, 1, 1], [0, 0, 1], classes=2) + count_overlap([1], [1], classes=2)
    >>> both.dice(), both.iou()
    (array([0.66666667, 0.8       ]), array([0.5       , 0.66666667]))
    """

    truth: Counts
    predicted: Counts
    both: Counts

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(self.truth + other.truth, self.predicted + other.predicted, self.both + other.both)

    def dice(self) -> Floats:
        """(classes,) as the function `dice`."""
        total = self.truth + self.predicted
        return np.where(total > 0, 2 * self.both / np.maximum(total, 1), 1.0)

    def iou(self) -> Floats:
        """(classes,) as the function `iou`."""
        union = self.truth + self.predicted - self.both
        return np.where(union > 0, self.both / np.maximum(union, 1), 1.0)


def dice(truth: ArrayLike, predicted: ArrayLike, classes: int, ignore: int | None = None) -> Floats:
    """Tell the Dice overlap of each class.

    Args:
        truth: integer labels in [0, classes) or `ignore`, any shape (slice or volume).
        predicted: integer labels in [0, classes), same shape.
        classes: number of classes, background (0) included.
        ignore: pixels with this true label count nowhere.

    Returns: (classes,) in [0, 1]: 2 |both| / (|truth| + |predicted|); both empty 1, one empty 0.

    Raises:
        ShapeError: shapes differ or a label lies outside.

    >>> dice([[0, 1, 1]], [[0, 0, 1]], classes=3)
    array([0.66666667, 0.66666667, 1.        ])
    """
    return count_overlap(truth, predicted, classes, ignore).dice()


def iou(truth: ArrayLike, predicted: ArrayLike, classes: int, ignore: int | None = None) -> Floats:
    """Tell the intersection over union (Jaccard index) of each class.

    Args, Raises: as for `dice`.

    Returns: (classes,) in [0, 1], equal to dice / (2 - dice); both empty 1, one empty 0.

    >>> iou([[0, 1, 1]], [[0, 0, 1]], classes=3)
    array([0.5, 0.5, 1. ])
    """
    return count_overlap(truth, predicted, classes, ignore).iou()


def dice_per_patient(
    truths: Iterable[ArrayLike],
    predictions: Iterable[ArrayLike],
    patients: Iterable[object],
    classes: int,
    ignore: int | None = None,
) -> dict[str, Floats]:
    """Tell each patient's Dice, pooling the pixels of all their slices before dividing.

    Empty slices of a patient therefore do not earn a 1 each, as they would in a mean over slices.

    Args:
        truths: masks as for `dice`; each pair may have a shape of its own.
        predictions: as many masks.
        patients: as many identifiers, in any order.
        classes: number of classes, background (0) included.
        ignore: pixels with this true label count nowhere.

    Returns: patient to (classes,), in order of first appearance.

    Raises:
        ShapeError: numbers of masks or shapes differ, or a label lies outside.

    >>> dice_per_patient([[1, 1], [0, 0]], [[1, 0], [0, 0]], ["a", "a"], classes=2)
    {'a': array([0.8       , 0.66666667])}
    """
    pooled = _pool(truths, predictions, patients, classes, ignore)
    return {patient: overlap.dice() for patient, overlap in pooled.items()}


def iou_per_patient(
    truths: Iterable[ArrayLike],
    predictions: Iterable[ArrayLike],
    patients: Iterable[object],
    classes: int,
    ignore: int | None = None,
) -> dict[str, Floats]:
    """Tell each patient's intersection over union, pooling the pixels of all their slices before dividing.

    Args, Returns, Raises: as for `dice_per_patient`.

    >>> iou_per_patient([[1, 1], [0, 0]], [[1, 0], [0, 0]], ["a", "a"], classes=2)
    {'a': array([0.66666667, 0.5       ])}
    """
    pooled = _pool(truths, predictions, patients, classes, ignore)
    return {patient: overlap.iou() for patient, overlap in pooled.items()}


def count_overlap(truth: ArrayLike, predicted: ArrayLike, classes: int, ignore: int | None = None) -> Overlap:
    """Count what Dice and intersection over union are made of, so that images of a patient can be added first.

    Args, Raises: as for `dice`.
    """
    known, guess = np.asarray(truth), np.asarray(predicted)
    if known.shape != guess.shape:
        raise ShapeError(
            "An overlap",
            "two masks of the same shape",
            f"the truth is {known.shape} and the prediction {guess.shape}",
            "Bring scores back to the stored size first (Preparer.restore).",
        )
    joint = np.zeros(classes**2, dtype=np.int64)
    for one, other in _pieces(known, guess):
        if ignore is not None:
            there = one != ignore
            one, other = one[there], other[there]
        _check_labels(one, other, classes)
        pairs = one.astype(np.int64) * classes + other.astype(np.int64)
        joint += np.bincount(pairs, minlength=classes**2)
    table = joint.reshape(classes, classes)
    return Overlap(table.sum(1), table.sum(0), np.diagonal(table).copy())


def _pieces(known: NDArray[Any], guess: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    one, other = known.reshape(-1), guess.reshape(-1)
    for start in range(0, len(one), _AT_ONCE):
        yield one[start : start + _AT_ONCE], other[start : start + _AT_ONCE]


def _check_labels(known: NDArray[Any], guess: NDArray[Any], classes: int) -> None:
    for name, mask in (("truth", known), ("prediction", guess)):
        if mask.size and (mask.min() < 0 or mask.max() >= classes):
            raise ShapeError(
                "An overlap",
                f"labels from 0 to {classes - 1}",
                f"the {name} holds {mask.min()} to {mask.max()}",
                "Give the number of classes with background, or name the label to ignore.",
            )


def _pool(
    truths: Iterable[ArrayLike],
    predictions: Iterable[ArrayLike],
    patients: Iterable[object],
    classes: int,
    ignore: int | None,
) -> dict[str, Overlap]:
    pooled: dict[str, Overlap] = {}
    missing: Any = object()
    triples = zip_longest(truths, predictions, patients, fillvalue=missing)
    for number, (truth, predicted, patient) in enumerate(triples):
        if any(item is missing for item in (truth, predicted, patient)):
            raise ShapeError(
                "An overlap per patient",
                "one prediction and one patient for every true mask",
                f"one of the three ends after {number}",
                "Pass all three in the same order and number.",
            )
        new, old = count_overlap(truth, predicted, classes, ignore), pooled.get(str(patient))
        pooled[str(patient)] = new if old is None else old + new
    return pooled
