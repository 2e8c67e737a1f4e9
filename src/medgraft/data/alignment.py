"""Two pictures laid over each other, and how far their fine structure agrees."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MOST_STRETCH = 0.15
"""Share by which one picture may be a crop of the other."""
MOST_SHIFT = 0.08
"""Shift as a share of the side."""
BLOCKS = 8
"""Pixels of a block in which the amount of structure is measured."""


class Placement(NamedTuple):
    """How the second pictures must be taken to lie on the first.

    stretch_shift: (B, 4) float32: stretch along rows, shift in pixels down, stretch along columns, shift right.
    correlation: (B,) float, of the pictures where they overlap, slightly blurred.
    """

    stretch_shift: np.ndarray
    correlation: np.ndarray


def align(
    first: np.ndarray,
    second: np.ndarray,
    start: np.ndarray | None = None,
    *,
    steps: int = 8,
    blur: float = 1.0,
) -> Placement:
    """Find stretch and shift along both axes that make pictures most alike, so that crops are recognised.

    Args:
        first, second: (B, S, S) float, mean 0 and standard deviation 1.
        start: (B, 4) where to begin; None begins with both as they are.
        steps: of Gauss and Newton on the squared difference after both were brought to the same mean and spread.
        blur: standard deviation in pixels, for a wider reach.

    Returns: the best placement met; no worse than the start.

    Source: Lucas & Kanade 1981, with four parameters.
    """
    from scipy.ndimage import gaussian_filter

    number, side = first.shape[:2]
    first, second = (gaussian_filter(one, (0, blur, blur)) for one in (first, second))
    now = np.zeros((number, 4), np.float32) if start is None else start.astype(np.float32)
    best, correlation = now.copy(), np.full(number, -np.inf, np.float32)
    from_middle = ((np.arange(side) - (side - 1) / 2) / side).astype(np.float32)
    scale = np.array([1 / side, 1, 1 / side, 1], np.float32)
    reach = np.array([MOST_STRETCH, MOST_SHIFT * side] * 2, np.float32)
    for step in range(steps + 1):
        taken, overlap = place(second, now)
        mine, theirs = _normalise(first, overlap), _normalise(taken, overlap)
        alike = (mine * theirs).sum((1, 2)) / overlap.sum((1, 2))
        better = alike > correlation
        best[better], correlation[better] = now[better], alike[better]
        if step == steps:
            break
        down, right = (slope * overlap for slope in np.gradient(theirs, axis=(1, 2)))
        slopes = np.stack([down * from_middle[:, None], down, right * from_middle, right], 1)
        slopes = slopes.reshape(number, 4, -1)
        square = slopes @ slopes.swapaxes(1, 2)
        # a thousandth of the trace keeps pictures without structure along one axis solvable
        square += np.eye(4, dtype=np.float32) * (
            np.trace(square, axis1=1, axis2=2)[:, None, None] * 1e-3 + 1e-6
        )
        difference = (mine - theirs * alike[:, None, None]).reshape(number, -1, 1)
        better_by = np.linalg.solve(square, slopes @ difference)[..., 0] * scale
        now = np.clip(now + better_by, -reach, reach).astype(np.float32)
    return Placement(best, correlation)


def place(pictures: np.ndarray, stretch_shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sample pictures (B, S, S) at a placement (B, 4), linearly.

    Returns: the samples, and 1.0 where they lie inside the picture, 0.0 elsewhere; both (B, S, S).
    """
    side = pictures.shape[-1]
    index = np.arange(side, dtype=np.float32)
    middle = (side - 1) / 2
    weights, inside = [], []
    for stretch, shift in ((0, 1), (2, 3)):
        at = middle + (index - middle) * (1 + stretch_shift[:, stretch, None]) + stretch_shift[:, shift, None]
        inside.append((at > -0.5) & (at < side - 0.5))
        weights.append(np.maximum(0, 1 - np.abs(np.clip(at, 0, side - 1)[:, :, None] - index)))
    samples = weights[0] @ pictures @ weights[1].swapaxes(1, 2)
    return samples, (inside[0][:, :, None] & inside[1][:, None, :]).astype(np.float32)


def compare_structure(
    first: np.ndarray, second: np.ndarray, stretch_shift: np.ndarray, *, blur: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """How far the fine structure of pictures agrees, and over how much of them there is any.

    Different pictures of one organ, or of two straight edges, agree in brightness almost everywhere. So brightness is
    replaced by how strongly its contour lines bend: a straight edge and a smooth shade become zero, and what is left
    (texture, vessels, corners) belongs to one picture only.

    Args:
        first, second, stretch_shift: as for `align`.
        blur: standard deviation in pixels before derivatives are taken.

    Returns: agreement (B,), the correlation of the bends, in [-1, 1], 0 where there are none; richness (B,), in
        (0, 1], the effective share of blocks that hold structure: that of the poorer of the two.
    """
    taken, overlap = place(second, stretch_shift)
    mine = _bend(_normalise(first, overlap), blur) * overlap
    theirs = _bend(_normalise(taken, overlap), blur) * overlap
    both = np.sqrt((mine * mine).sum((1, 2)) * (theirs * theirs).sum((1, 2)))
    agreement = (mine * theirs).sum((1, 2)) / np.maximum(both, 1e-12)
    return agreement, np.minimum(_richness(mine), _richness(theirs))


def _bend(pictures: np.ndarray, blur: float) -> np.ndarray:
    """Second derivative along the contour line, L_tt = (Ly^2 Lxx - 2 Lx Ly Lxy + Lx^2 Lyy) / (Lx^2 + Ly^2)."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(pictures, (0, blur, blur))
    down, right = np.gradient(smooth, axis=(1, 2))
    down_down, down_right = np.gradient(down, axis=(1, 2))
    right_right = np.gradient(right, axis=2)
    bend: np.ndarray = down**2 * right_right - 2 * right * down * down_right + right**2 * down_down
    bend /= right**2 + down**2 + 1e-4  # of deviations per pixel: a hundredth is no slope
    return bend


def _richness(structure: np.ndarray) -> np.ndarray:
    """(sum of e)^2 / (number * sum of e^2) over blocks, e their root energy: 1 where all hold equally much."""
    number, side = structure.shape[:2]
    size = min(BLOCKS, side)
    along = side // size
    blocks = structure[:, : along * size, : along * size].reshape(number, along, size, along, size)
    roots = np.sqrt((blocks**2).sum((2, 4))).reshape(number, -1)
    richness: np.ndarray = roots.sum(1) ** 2 / np.maximum((roots**2).sum(1), 1e-12) / roots.shape[1]
    return richness


def _normalise(pictures: np.ndarray, overlap: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 where pictures overlap, 0 elsewhere."""
    area = overlap.sum((1, 2), keepdims=True)
    centred = (pictures - (pictures * overlap).sum((1, 2), keepdims=True) / area) * overlap
    spread = np.sqrt((centred**2).sum((1, 2), keepdims=True) / area)
    normal: np.ndarray = centred / np.maximum(spread, 1e-6)
    return normal
