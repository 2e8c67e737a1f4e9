"""What every score is given, checked once: features, class labels, source probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import DataError, MedgraftError, SettingsError, ShapeError

BLOCK = 4096
"""Rows that are looked at together, so that no check makes a copy of all features."""


class UndefinedError(MedgraftError):
    """A score says nothing about these data; the sentence tells why. A ranking shows it, never a tie."""


class Inputs(NamedTuple):
    """Checked.

    features: (n, D), of the type they came in. labels: (n,) int64 in 0..classes-1, each class at least once.
    """

    features: NDArray[np.floating]
    labels: NDArray[np.int64]
    classes: int


def check_inputs(who: str, features: ArrayLike, labels: ArrayLike) -> Inputs:
    """Refuse features and labels that no score can be computed from; nothing is copied.

    Args:
        who: the score, as it begins the sentence, e.g. "LogME".
        features: (n, D) real numbers, one row per image.
        labels: (n,) whole numbers 0..C-1, each of them at least once.

    Raises:
        ShapeError: not one label per row, no rows or no columns.
        DataError: a feature is not finite, or labels are not 0..C-1.
        UndefinedError: all images belong to one class.

    >>> check_inputs("LogME", [[0.1, 2.0], [1.0, 0.3], [0.0, 1.0]], [0, 1, 1]).classes
    2
    """
    array = np.asarray(features)
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    given = np.asarray(labels)
    if array.ndim != 2 or given.ndim != 1 or len(array) != len(given) or not array.size:
        raise ShapeError(
            who, "features of shape (images, D) and one label per image",
            f"features are {array.shape} and labels are {given.shape}", "Give one row per image.",
        )  # fmt: skip
    for start in range(0, len(array), BLOCK):
        finite = np.isfinite(array[start : start + BLOCK]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise DataError(
                who, "finite features", f"those of row {row} are not",
                "Leave out the model or the image that gives them.",
            )  # fmt: skip
    return Inputs(array, *_check_labels(who, given))


def check_probabilities(who: str, probabilities: ArrayLike, labels: ArrayLike) -> Inputs:
    """The same for what a source's own head says of target images.

    Args:
        who: the score.
        probabilities: (n, Z), rows sum to 1.
        labels: (n,) whole numbers 0..C-1.

    Raises:
        ShapeError, DataError, UndefinedError: as `check_inputs`; DataError too where rows are no probabilities.

    >>> check_probabilities("LEEP", [[0.5, 0.5], [1.0, 0.0]], [0, 1]).features.shape
    (2, 2)
    """
    inputs = check_inputs(who, probabilities, labels)
    table = inputs.features
    wrong = (table < 0).any(axis=1) | (np.abs(table.sum(axis=1) - 1) > 1e-3)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            who, "probabilities that add up to 1 in every row", f"those of row {row} do not",
            "Apply softmax to the source's outputs first.",
        )  # fmt: skip
    return inputs


def check_variant(who: str, variant: str, known: Sequence[str]) -> None:
    """Refuse a variant that a score does not have, rather than take another.

    >>> check_variant("PARC", "as_published", ("sign_free", "as_published"))
    """
    if variant not in known:
        raise SettingsError(who, f"a variant among {', '.join(known)}", f"it got {variant!r}", "Correct it.")


def _check_labels(who: str, labels: NDArray[np.generic]) -> tuple[NDArray[np.int64], int]:
    whole = labels.astype(np.int64) if labels.dtype.kind in "iub" else _whole_numbers(who, labels)
    present = np.unique(whole)
    if present[0] != 0 or present[-1] != len(present) - 1:
        raise DataError(
            who, "labels 0 to C-1, each at least once",
            f"they are {', '.join(map(str, present[:10]))}{', ...' if len(present) > 10 else ''}",
            "Number the classes that occur, for example with numpy.unique(labels, return_inverse=True).",
        )  # fmt: skip
    if len(present) == 1:
        raise UndefinedError(
            who, "images of two classes or more", "all belong to one", "Add images of another class."
        )
    return whole, len(present)


def _whole_numbers(who: str, labels: NDArray[np.generic]) -> NDArray[np.int64]:
    if labels.dtype.kind == "f" and bool((labels == np.floor(labels)).all()):
        return labels.astype(np.int64)
    raise DataError(
        who, "labels that are whole numbers", f"they are {labels.dtype}", "Number the classes from 0."
    )
