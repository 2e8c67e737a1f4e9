"""Mean and spread of angles, for which 359 and 1 degrees are neighbours."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from medgraft.errors import ShapeError

NO_DIRECTION = 1e-9
"""Length of the mean of unit vectors below which they point nowhere, but for rounding."""


def circular_mean_and_sd(degrees: ArrayLike, weights: ArrayLike | None = None) -> tuple[float, float]:
    """Mean direction of angles and their circular standard deviation.

    Args:
        degrees: angles of any shape.
        weights: how much each counts, of the same shape, at least 0; None counts all alike.

    Returns: the mean in [0, 360), and sqrt(-2 ln R) in degrees, where R is the length of the mean unit vector; for
        narrow angles that is their ordinary standard deviation. Both are NaN where the angles point nowhere: there is
        none, all weights are 0, or they cancel out.

    Raises:
        ShapeError: angles and weights differ in shape.

    Source: Mardia & Jupp 2000, section 2.3.

    >>> mean, sd = circular_mean_and_sd([350.0, 10.0])
    >>> mean, round(sd, 2)
    (0.0, 10.03)
    """
    angles = np.radians(np.asarray(degrees, dtype=np.float64))
    counts = np.ones(angles.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if counts.shape != angles.shape:
        raise ShapeError(
            "circular_mean_and_sd", "a weight for each angle",
            f"they have shapes {counts.shape} and {angles.shape}", "Give arrays of one shape.",
        )  # fmt: skip
    total = counts.sum()
    if not total:
        return math.nan, math.nan
    across = float((counts * np.cos(angles)).sum() / total)
    up = float((counts * np.sin(angles)).sum() / total)
    length = min(1.0, math.hypot(across, up))
    if length < NO_DIRECTION:
        return math.nan, math.nan
    mean = round(math.degrees(math.atan2(up, across)), 9) % 360.0
    return mean, math.degrees(math.sqrt(max(0.0, -2 * math.log(length))))
