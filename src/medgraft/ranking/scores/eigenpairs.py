"""Eigenvalues that are more than rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def positive_eigenpairs(matrix: Array) -> tuple[Array, Array]:
    """Find the directions in which a Gram matrix has spread.

    Args:
        matrix: (m, m) symmetric, not negative definite.

    Returns: (k,) eigenvalues above rounding (m times machine precision of the largest), ascending, and their
        (m, k) vectors; none for a matrix of zeros.

    >>> values, vectors = positive_eigenpairs(np.diag([0.0, 2.0, 1.0]))
    >>> values.tolist(), vectors.shape
    ([1.0, 2.0], (3, 2))
    """
    values, vectors = np.linalg.eigh(matrix)
    rounding = values[-1] * len(values) * np.finfo(np.float64).eps
    first = int(np.searchsorted(values, rounding, side="right"))
    return values[first:], vectors[:, first:]
