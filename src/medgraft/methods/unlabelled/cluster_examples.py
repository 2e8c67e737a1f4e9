"""A picture of what matched clusters of two sites have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LONGEST = 96
"""Pixels of a tile's longer side, at most."""
GAP = 2
"""White pixels between tiles."""


def central_rows(points: NDArray[np.floating], clusters: NDArray[np.integer]) -> dict[int, int]:
    """For each cluster, the image that lies nearest to its centre.

    Args:
        points: (n, d), where the images lie.
        clusters: (n,), the cluster of each.

    Returns: row by cluster, in ascending order.

    >>> central_rows(np.array([[0.0], [1.0], [5.0], [9.0]]), np.array([1, 1, 1, 0]))
    {0: 3, 1: 1}
    """
    found = {}
    for cluster in np.unique(clusters):
        mine = np.flatnonzero(clusters == cluster)
        away = np.square(points[mine] - points[mine].mean(axis=0)).sum(axis=1)
        found[int(cluster)] = int(mine[away.argmin()])
    return found


def draw_pairs(pairs: list[tuple[NDArray[np.floating], NDArray[np.floating]]]) -> NDArray[np.uint8]:
    """Draw pairs of images, the first of each above the second, one pair beside the other.

    Args:
        pairs: images (H, W), all of one size, any range; each from its least value, black, to its greatest.

    Returns: (h, w, 3) uint8.

    >>> draw_pairs([(np.eye(8), np.zeros((8, 8)))] * 3).shape
    (18, 28, 3)
    """
    columns = []
    for pair in pairs:
        tiles = [np.pad(_tile(image), ((0, GAP), (0, GAP)), constant_values=255) for image in pair]
        columns.append(np.concatenate(tiles)[:-GAP])
    grey = np.concatenate(columns, axis=1)[:, :-GAP]
    return np.repeat(grey[..., None], 3, axis=2)


def _tile(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    every = -(-max(image.shape) // LONGEST)
    thinned = image[::every, ::every]
    low, high = float(thinned.min()), float(thinned.max())
    return ((thinned - low) / max(high - low, 1e-12) * 255).round().astype(np.uint8)
