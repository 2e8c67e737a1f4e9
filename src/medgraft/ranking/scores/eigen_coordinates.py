"""Vectors in the eigenbasis of a Gram matrix, which itself is never formed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BLOCK = 64
"""Reflections that LAPACK applies together; it takes what memory it is given, and more than this does not help."""


def eigen_coordinates(matrix: Array, vectors: Array) -> tuple[Array, Array]:
    """Write vectors in the directions in which a Gram matrix has spread.

    Costs about two thirds of an eigendecomposition: the matrix is made tridiagonal by reflections, which turn the few
    vectors instead of all eigenvectors.

    Args:
        matrix: (m, m) symmetric, not negative definite; overwritten.
        vectors: (m, C).

    Returns: (k,) eigenvalues above rounding (m times machine precision of the largest), ascending, and the (k, C)
        coordinates of the vectors along their eigenvectors, whose signs are arbitrary; k = 0 for a matrix of zeros.

    >>> values, coordinates = eigen_coordinates(np.diag([0.0, 2.0, 1.0]), np.array([[5.0], [6.0], [7.0]]))
    >>> values.tolist(), np.abs(coordinates).round(12).tolist()
    ([1.0, 2.0], [[7.0], [6.0]])
    """
    from scipy.linalg import eigh_tridiagonal

    diagonal, beside, turned = _tridiagonal(matrix, vectors)
    values, directions = eigh_tridiagonal(diagonal, beside)
    rounding = values[-1] * len(values) * np.finfo(np.float64).eps
    first = int(np.searchsorted(values, rounding, side="right"))
    return values[first:], np.asarray(directions[:, first:].T @ turned)


def _tridiagonal(matrix: Array, vectors: Array) -> tuple[Array, Array, Array]:
    """Diagonal (m,) and its neighbour (m - 1,) of Q'AQ, and Q' times the vectors."""
    from scipy.linalg.lapack import dormqr, dsytrd, dsytrd_lwork

    size = len(matrix)
    if size == 1:
        return matrix[0], matrix[0, :0], vectors
    memory = int(dsytrd_lwork(size, lower=1)[0])  # the wrapper's own default is a third slower
    # A symmetric matrix is its transpose, whose memory order LAPACK can work in.
    packed, diagonal, beside, scales, _ = dsytrd(matrix.T, lower=1, lwork=memory, overwrite_a=1)
    turned = vectors.copy()
    # The reflections leave the first row alone; below it they are stored as those of a QR decomposition.
    below = np.asfortranarray(packed[1:, :-1])
    turned[1:] = dormqr("L", "T", below, scales, np.asfortranarray(vectors[1:]), BLOCK * vectors.shape[1])[0]
    return diagonal, beside, turned
