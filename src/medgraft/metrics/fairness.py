"""Does a model do worse for some groups, and which cases go against what its training data taught by the way?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import ShapeError

Floats = NDArray[np.float64]
ALIGNED, NEITHER, CONFLICTING = 1, 0, -1
UNKNOWN = -1
"""Number of a class or value that nobody told."""


def gap(scores: ArrayLike) -> Floats:
    """Give the largest minus the smallest score over groups.

    Never tell it alone: it also shrinks where the better groups become worse. It is never below 0, and over equally
    good groups it is above 0 by chance, the more so the smaller they are.

    Args:
        scores: (G,) or (G, R), one row per group, R resamples; higher is better.

    Returns: () or (R,); NaN for fewer than two groups or where one is NaN: over fewer groups it is another gap.

    >>> gap([0.9, 0.7, 0.8]).round(6)
    np.float64(0.2)
    """
    values = np.asarray(scores, dtype=np.float64)
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(values.max(axis=0) - values.min(axis=0))[()]


def worst_group(scores: ArrayLike) -> int:
    """Give the position of the group with the lowest score, of equal ones the first; -1 where none is defined.

    Args:
        scores: (G,), higher is better; NaN is passed over.

    >>> worst_group([0.9, float("nan"), 0.7])
    2
    """
    values = np.asarray(scores, dtype=np.float64)
    return int(np.nanargmin(values)) if np.isfinite(values).any() else -1


def count_pairs(classes: ArrayLike, values: ArrayLike, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Count how often class and value go together: (K, V) whole numbers.

    Args:
        classes, values: (N,) whole numbers from 0; -1 is unknown, and such rows are left out.
        shape: K classes, V values.

    Raises:
        ShapeError: their numbers differ, or one lies outside.

    >>> count_pairs([0, 0, 1, 1], [0, 1, 1, -1], (2, 2)).tolist()
    [[1, 1], [0, 1]]
    """
    rows, columns = _codes(classes, values, shape)
    known = (rows != UNKNOWN) & (columns != UNKNOWN)
    counts = np.bincount(rows[known] * shape[1] + columns[known], minlength=shape[0] * shape[1])
    return counts.reshape(shape).astype(np.int64)


def bias_sides(classes: ArrayLike, values: ArrayLike, counts: ArrayLike) -> NDArray[np.int64]:
    """Tell which cases go against, and which with, what class and attribute had to do with each other in training.

    A case is bias-conflicting where its combination of class and value is rarer among the training rows than class
    and value independently would make it (n_kv n < n_k n_v), and bias-aligned where it is more frequent.

    Args:
        classes, values: (N,) whole numbers from 0; -1 is unknown.
        counts: (K, V) training rows of every combination, as `count_pairs`.

    Returns: (N,) -1 conflicting, 1 aligned, 0 neither: unknown, exactly as frequent, or a class or value that the
        training rows never show.

    Raises:
        ShapeError: as `count_pairs`.

    Source: the bias-conflicting samples of Nam et al. 2020, whose bias is known by construction; here it is counted.

    >>> bias_sides([0, 0, 1, 1, 1], [0, 1, 0, 1, -1], [[9, 1], [1, 9]]).tolist()
    [1, -1, -1, 1, 0]
    """
    table = np.asarray(counts, dtype=np.int64)
    rows, columns = _codes(classes, values, (table.shape[0], table.shape[1]))
    # whole numbers, so that equal is equal
    signs = np.sign(table * table.sum() - table.sum(axis=1, keepdims=True) * table.sum(axis=0))
    known = (rows != UNKNOWN) & (columns != UNKNOWN)
    return np.where(known, signs[rows, columns], NEITHER)


def cramers_v(counts: ArrayLike) -> float:
    """Tell how strongly class and attribute go together: 0, not at all; 1, one tells the other.

    Args:
        counts: (K, V) rows of every combination; classes and values without rows are left out.

    Returns: in [0, 1]; NaN where fewer than two classes or values are left. Above 0 by chance in small samples.

    Source: Cramér 1946, section 21.9, by scipy.

    >>> cramers_v([[9, 1], [1, 9]])
    0.8
    """
    from scipy.stats.contingency import association

    table = np.asarray(counts, dtype=np.int64)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return float("nan")
    return float(association(table, method="cramer", correction=False))


def _codes(
    classes: ArrayLike, values: ArrayLike, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows, columns = np.asarray(classes, dtype=np.int64), np.asarray(values, dtype=np.int64)
    inside = [((each >= UNKNOWN) & (each < size)).all() for each, size in zip((rows, columns), shape)]
    if rows.shape != columns.shape or rows.ndim != 1 or not all(inside):
        raise ShapeError(
            "Classes and values of an attribute",
            f"one of each per row, below {shape[0]} and {shape[1]}",
            f"they have shapes {rows.shape} and {columns.shape}",
            "Number both from 0, and give unknown ones the number -1.",
        )
    return rows, columns
