"""Gram matrices of features too many for a double-precision copy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

NUMBERS = 2**22
"""Numbers in one block: 32 MiB in double precision, enough for the matrix product to run at full speed."""


def gram(features: NDArray[np.floating], offset: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Multiply every column of the features with every other, summed over images in double precision.

    Args:
        features: (n, D), any floating type; left as it is. With `features.T` the images are multiplied instead.
        offset: (D,) taken from every row first, for example the mean; None takes nothing.

    Returns: (D, D) float64, symmetric, not negative definite. Memory: one block of 32 MiB beside it.

    >>> gram(np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)).tolist()
    [[10.0, 14.0], [14.0, 20.0]]
    """
    total = np.zeros((features.shape[1], features.shape[1]))
    for _, block in double_blocks(features, offset):
        total += block.T @ block
    return total


def centred_image_gram(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Multiply every image's features with every other's, the mean image taken from each: for n <= D.

    Args:
        features: (n, D), any floating type.

    Returns: (n, n) float64, symmetric; rows and columns add up to 0.

    >>> centred_image_gram(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    products = gram(features.T)
    means = products.mean(axis=0)
    return np.asarray(products - means - means[:, None] + means.mean())


def double_blocks(
    features: NDArray[np.floating], offset: NDArray[np.float64] | None = None
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Give features in double precision, a block of rows at a time, so that no copy of all of them is made.

    Args:
        features: (n, D), any floating type.
        offset: (D,) taken from every row; None takes nothing.

    Yields: which rows, and these as (rows, D) float64; a view where nothing had to be changed, so never write into it.

    >>> [(rows.start, block.tolist()) for rows, block in double_blocks(np.ones((2, 1)), np.array([3.0]))]
    [(0, [[-2.0], [-2.0]])]
    """
    step = max(1, NUMBERS // features.shape[1])
    for start in range(0, len(features), step):
        rows = slice(start, start + step)
        block = np.asarray(features[rows], dtype=np.float64)
        yield rows, block if offset is None else block - offset
