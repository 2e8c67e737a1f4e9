"""How long a straight ray runs through simple bodies, and how far points are from simple lines."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def ellipsoid_chord(
    x: np.ndarray,
    z: np.ndarray,
    centre: tuple[float, float],
    radii: tuple[float, float, float],
    tilt_degrees: float = 0.0,
) -> np.ndarray:
    """Length within an ellipsoid of rays along y.

    Args:
        x, z: of the rays, any equal shape, mm.
        centre: (x, z) mm; where the body lies along the rays makes no difference.
        radii: along x, y and z, mm; inf for a tube.
        tilt_degrees: turns the body about y, from x towards z.

    Returns: shape of `x`, mm, 0 outside.

    >>> ellipsoid_chord(np.array([0.0, 6.0, 11.0]), np.zeros(3), (0.0, 0.0), (10.0, 20.0, 5.0)).tolist()
    [40.0, 32.0, 0.0]
    """
    along, up = turned(x - centre[0], z - centre[1], tilt_degrees)
    left = 1 - (along / radii[0]) ** 2 - (up / radii[2]) ** 2
    chord: np.ndarray = 2 * radii[1] * np.sqrt(left.clip(min=0))
    return chord


def tube_chord(distance: np.ndarray, radius: float) -> np.ndarray:
    """Length within a straight tube of rays that cross it at right angles, at this distance from its axis.

    Args:
        distance: any shape, mm.
        radius: mm; nothing if it is not positive.

    Returns: shape of `distance`, mm.

    >>> tube_chord(np.array([0.0, 3.0, 6.0]), 5.0).tolist()
    [10.0, 8.0, 0.0]
    """
    chord: np.ndarray = 2 * np.sqrt((max(radius, 0.0) ** 2 - distance**2).clip(min=0))
    return chord


def line_distance(x: np.ndarray, z: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Distance to a line of straight parts.

    Args:
        x, z: any equal shape, mm.
        line: (N, 2) corners (x, z), mm, N of at least 2.

    Returns: shape of `x`, mm.

    >>> corners = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])
    >>> line_distance(np.array([5.0, 13.0]), np.array([-2.0, 14.0]), corners).tolist()
    [2.0, 5.0]
    """
    nearest = np.full(np.shape(x), np.inf, np.asarray(x).dtype)
    for start, end in pairwise(line):
        step = end - start
        part = ((x - start[0]) * step[0] + (z - start[1]) * step[1]) / max(float(step @ step), 1e-12)
        part = part.clip(0, 1)
        apart = (x - start[0] - part * step[0]) ** 2 + (z - start[1] - part * step[1]) ** 2
        nearest = np.minimum(nearest, apart)
    distance: np.ndarray = np.sqrt(nearest)
    return distance


def curve(corners: tuple[tuple[float, float], ...], parts: int = 16) -> np.ndarray:
    """A smooth line (a Bezier curve) from the first to the last corner, as (parts + 1, 2) points.

    >>> curve(((0.0, 0.0), (5.0, 10.0), (10.0, 0.0)), 2).tolist()
    [[0.0, 0.0], [5.0, 5.0], [10.0, 0.0]]
    """
    places = np.array(corners, np.float32)[:, None]
    steps = np.linspace(0, 1, parts + 1, dtype=np.float32)[:, None]
    while len(places) > 1:  # de Casteljau
        places = places[:-1] * (1 - steps) + places[1:] * steps
    line: np.ndarray = places[0]
    return line


def turned(x: np.ndarray, z: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in axes that are turned from x towards z."""
    angle = float(np.deg2rad(degrees))
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    return cosine * x + sine * z, cosine * z - sine * x
