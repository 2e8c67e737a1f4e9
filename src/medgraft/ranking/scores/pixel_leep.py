"""LEEP of a segmentation source: what its own classes say about the target's, pixel by pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medgraft.errors import ShapeError
from medgraft.ranking.scores.leep import leep

WHO = "Pixel LEEP"


def pixel_leep(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Tell from a segmentation source's own outputs how well they foretell the target's masks.

    Every pixel counts the same, so what covers most of the image decides; pixels of `sample_pixels`, as many of every
    class, give every class the same say.

    Args:
        probabilities: (..., Z), over the source's classes; pixels in any shape, e.g. (N, H, W, Z) or (n, Z).
        labels: (...), of the same shape without Z; the target's classes, whole numbers 0..C-1, each at least once.

    Returns: mean natural logarithm of the expected empirical probability of the pixels' classes, at most 0; higher is
        better. 0: every class is foretold with certainty.

    Raises:
        ShapeError: not one label per pixel.
        DataError, UndefinedError: as `leep`; one class only.

    Source: Nguyen et al. 2020, equations 1 and 2, with pixels for examples.

    >>> maps = np.eye(2)[[[[0, 0, 1], [0, 1, 1]]]]
    >>> pixel_leep(maps, [[[0, 0, 1], [0, 1, 1]]])
    0.0
    """
    table, truth = np.asarray(probabilities), np.asarray(labels)
    if table.ndim < 2 or table.shape[:-1] != truth.shape:
        raise ShapeError(
            WHO, "probabilities of shape (..., Z) and labels of shape (...)",
            f"they are {table.shape} and {truth.shape}", "Put the source's classes last.",
        )  # fmt: skip
    return leep(table.reshape(-1, table.shape[-1]), truth.reshape(-1))
