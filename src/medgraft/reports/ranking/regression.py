"""A straight line through a few points and the band in which it may lie."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FEWEST = 3
"""Points without which a line has no band: two lie on it."""


class Line(NamedTuple):
    """places: (P,) from the lowest to the highest x. middle, low, high: (P,) of the line and its band.

    correlation: Pearson's, in [-1, 1]; NaN where all y are equal.
    """

    places: Floats
    middle: Floats
    low: Floats
    high: Floats
    slope: float
    correlation: float


def fit_line(x: Floats, y: Floats, level: float = 0.95, points: int = 40) -> Line | None:
    """Least squares with the band of the mean; None for fewer than three points, or where all x are equal.

    Source: Draper & Smith, Applied Regression Analysis, 3rd edition, section 1.4.

    >>> line = fit_line(np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.75, 1.0]), points=3)
    >>> line.middle.round(6).tolist()
    [0.5, 0.75, 1.0]
    """
    if len(x) < FEWEST or np.ptp(x) == 0:
        return None
    away, beside = x - x.mean(), y - y.mean()
    squares = float(away @ away)
    slope = float(away @ beside) / squares
    left = beside - slope * away
    freedom = len(x) - 2
    error = math.sqrt(float(left @ left) / freedom)
    places = np.linspace(x.min(), x.max(), points)
    middle = y.mean() + slope * (places - x.mean())
    half = student_quantile(freedom, level) * error * np.sqrt(1 / len(x) + (places - x.mean()) ** 2 / squares)
    spread = math.sqrt(squares * float(beside @ beside))
    return Line(
        places, middle, middle - half, middle + half, slope,
        float(away @ beside) / spread if spread else math.nan,
    )  # fmt: skip


def student_quantile(freedom: int, level: float) -> float:
    """How many standard errors a share `level` of Student's t with whole degrees of freedom stays within.

    Source: Abramowitz & Stegun 26.7.3 and 26.7.4, searched by halving.

    >>> round(student_quantile(1, 0.95), 3), round(student_quantile(10, 0.95), 3)
    (12.706, 2.228)
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(freedom, middle) < level else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _within(freedom: int, angle: float) -> float:
    """The chance that |t| stays below sqrt(freedom) * tan(angle)."""
    cosine, sine = math.cos(angle), math.sin(angle)
    term = total = cosine if freedom % 2 else 1.0
    for step in range(2 if freedom % 2 else 1, freedom - 1, 2):
        term *= step / (step + 1) * cosine**2
        total += term
    if freedom % 2 == 0:
        return sine * total
    return 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0))
