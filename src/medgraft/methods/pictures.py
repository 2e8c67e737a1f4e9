"""Pictures that methods leave behind: some images in several versions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medgraft.images.resampling import resize

LONGEST_SIDE = 96
"""Pixels of an image in a picture."""
GAP = 2


def side_by_side(columns: Sequence[Tensor]) -> np.ndarray:
    """One row per image and one column per version of it.

    Args:
        columns: each (N, 3, H, W) float in [0, 1].

    Returns: (height, width, 3) uint8; images at most 96 pixels a side, with white lines between them.

    >>> side_by_side([torch.zeros(2, 3, 8, 10), torch.ones(2, 3, 8, 10)]).shape
    (18, 22, 3)
    """
    height, width = columns[0].shape[2:]
    shrink = min(1.0, LONGEST_SIDE / max(height, width))
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    rows = [_joined([resize(version, size) for version in versions], axis=2) for versions in zip(*columns)]
    picture = _joined(rows, axis=1).permute(1, 2, 0)
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def side_by_side_with_difference(columns: Sequence[Tensor]) -> np.ndarray:
    """As `side_by_side`, then the last version less the first, magnified.

    The range of a row becomes black to white. The difference has a scale of its own, one for all images, on which
    nothing is mid-grey and the largest difference black or white.

    Args:
        columns: each (N, 3, H, W) float, any range.

    >>> side_by_side_with_difference([torch.zeros(2, 3, 8, 10), torch.ones(2, 3, 8, 10)]).shape
    (18, 34, 3)
    """
    added = columns[-1] - columns[0]
    versions = torch.stack(list(columns))
    low = versions.amin(dim=(0, 2, 3, 4), keepdim=True)
    span = (versions.amax(dim=(0, 2, 3, 4), keepdim=True) - low).clamp(min=1e-12)  # a constant image is black
    magnified = 0.5 + 0.5 * added / added.abs().max().clamp(min=1e-12)
    return side_by_side([*((versions - low) / span), magnified])


def _joined(tiles: Sequence[Tensor], axis: int) -> Tensor:
    """Pictures (3, H, W) in a row or column, white between them."""
    white = torch.ones_like(tiles[0].narrow(axis, 0, 1)).repeat_interleave(GAP, dim=axis)
    parts = [part for tile in tiles for part in (white, tile)][1:]
    return torch.cat(parts, dim=axis)
