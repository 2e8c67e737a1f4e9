"""Scores as the tests take them: arrays of numbers, none of them missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import DataError, ShapeError

ROUNDING = 10
"""Decimals, relative to the largest score, beyond which two scores differ by arithmetic and not by measurement."""


def check_scores(who: str, values: ArrayLike, dimensions: int = 1) -> NDArray[np.float64]:
    """Give scores back as an array of floats, or say what is wrong with them.

    Args:
        who: the test that needs them, for the message.
        values: numbers; (n,) or, with two dimensions, (N, K).
        dimensions: 1 or 2.

    Raises:
        ShapeError: another number of dimensions, or nothing in it.
        DataError: NaN or infinite.

    >>> check_scores("A test", [1, 2]).tolist()
    [1.0, 2.0]
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != dimensions or not scores.size:
        form = "a flat list of scores" if dimensions == 1 else "a table of scores with two axes"
        raise ShapeError(who, form, f"got shape {scores.shape}", "Pass one number per patient (or block).")
    missing = np.argwhere(~np.isfinite(scores))
    if len(missing):
        place = ", ".join(str(index) for index in missing[0])
        raise DataError(
            who,
            "scores that are finite numbers",
            f"{len(missing)} of {scores.size} are not, the first at position {place}",
            "Leave out the patient (or block) for every method, or score it so that it is defined for all.",
        )
    return scores


def check_pairs(who: str, a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give two scores of the same patients back as arrays of equal length.

    Args:
        who: the test that needs them, for the message.
        a: (n,) one score per patient.
        b: (n,) as `a`, same patients in the same order.

    Raises:
        ShapeError, DataError: as `check_scores`, or lengths differ.

    >>> [scores.tolist() for scores in check_pairs("A test", [1, 2], [3, 4])]
    [[1.0, 2.0], [3.0, 4.0]]
    """
    first, second = check_scores(who, a), check_scores(who, b)
    if len(first) != len(second):
        raise ShapeError(
            who,
            "two scores of every patient",
            f"got {len(first)} and {len(second)} scores",
            "Pass the same patients in the same order for both.",
        )
    return first, second


def decimals_of(a: NDArray[np.float64], b: NDArray[np.float64]) -> int:
    """Decimals that are measurement and not arithmetic.

    >>> decimals_of(np.array([0.5]), np.array([0.25])), decimals_of(np.array([99.0]), np.array([7.0]))
    (11, 9)
    """
    largest = max(np.abs(a).max(), np.abs(b).max())
    return ROUNDING - int(np.floor(np.log10(largest))) if largest > 0 else ROUNDING


def paired_differences(who: str, a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Tell a - b per patient, with what differs by rounding error set to exactly equal.

    0.9 - 0.8 and 0.8 - 0.7 are tied for everybody but the computer: without rounding, ranks would depend on the last
    bit.

    Args:
        who, a, b: as for `check_pairs`.

    Raises: as `check_pairs`.

    >>> paired_differences("A test", [0.9, 0.8, 0.3], [0.8, 0.7, 0.3]).tolist()
    [0.1, 0.1, 0.0]
    """
    first, second = check_pairs(who, a, b)
    rounded: NDArray[np.float64] = np.round(first - second, decimals_of(first, second))
    return rounded + 0.0  # -0.0 becomes 0.0
