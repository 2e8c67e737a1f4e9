"""Pictures of some images in several versions, as methods leave them behind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medgraft.images.preparation import ValueRange
from medgraft.images.resampling import resize

LONGEST_SIDE = 96
"""Pixels of an image in a picture."""
GAP = 2


def as_colours(images: Tensor, value_range: ValueRange | None) -> Tensor:
    """Prepared images as red, green and blue: grey ones, and the middle of neighbouring slices, alike in all three.

    Args:
        images: (N, C, H, W) float; all but 3 channels are grey: the middle one is shown.
        value_range: the values of black and white (`Preparer.value_range`); None takes each image's own ends.

    Returns: (N, 3, H, W) float32 in [0, 1], clipped.

    >>> as_colours(torch.tensor([0.0, 4.0]).reshape(1, 1, 1, 2), None)[0, :, 0].tolist()
    [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    """
    low, high = ends(images, value_range)
    unit = ((images - low) / (high - low).clamp(min=1e-12)).float().clamp(0.0, 1.0)
    channels = unit.shape[1]
    return unit if channels == 3 else unit[:, channels // 2, None].expand(-1, 3, -1, -1)


def ends(images: Tensor, value_range: ValueRange | None) -> tuple[Tensor, Tensor]:
    """Values of black and white, that broadcast with images (N, C, H, W); without a range, each image's own ends.

    >>> [end.flatten().tolist() for end in ends(torch.tensor([[[[1.0, 3.0]]], [[[0.0, 2.0]]]]), None)]
    [[1.0, 0.0], [3.0, 2.0]]
    """
    if value_range is None:
        return images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    low, high = (torch.tensor(end).to(images).reshape(1, -1, 1, 1) for end in value_range)
    return low, high


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
