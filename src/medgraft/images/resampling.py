"""Linear resizing, of whole images and of parts of volumes with the same result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def resize(values: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (C, H, W) or (C, D, H, W) float: linear by pixel centres, antialiased where it shrinks.

    >>> resize(torch.tensor([[[0.0, 1.0, 2.0, 3.0]]]), (1, 2))
    tensor([[[0.7143, 2.2857]]])
    >>> resize(torch.zeros(1, 4, 6, 6), (8, 3, 6)).shape
    torch.Size([1, 8, 3, 6])
    """
    if tuple(values.shape[1:]) == tuple(size):
        return values
    if values.ndim == 4:
        channels, depth = values.shape[:2]
        planes = _resize_plane(values.flatten(0, 1), size[1:])
        # A slice becomes a row of pixels, and the volume a picture of such rows.
        picture = planes.reshape(channels, depth, -1)
        return _resize_plane(picture, (size[0], picture.shape[2])).reshape(channels, *size)
    return _resize_plane(values, size)


def _resize_plane(values: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(values.shape[1:]) == tuple(size):
        return values
    # antialias=True equals plain bilinear where the image grows.
    resized = interpolate(values[None], tuple(size), mode="bilinear", align_corners=False, antialias=True)
    return resized[0]


def nearest(stored: int, wanted: int) -> Tensor:
    """Index of the stored pixel whose area holds each wanted pixel's centre: (wanted,) int64.

    >>> nearest(4, 2).tolist()
    [1, 3]
    """
    return (2 * torch.arange(wanted) + 1) * stored // (2 * wanted)


class Resampling(NamedTuple):
    """`resize` along one axis, for any range of outputs: each is the weighted sum of a few neighbouring inputs.

    first: (wanted,) int64, the first input that counts.
    weights: (wanted, taps) float32, of the inputs from there on.

    >>> Resampling.between(4, 2).needed(1, 2)
    (1, 4)
    """

    first: Tensor
    weights: Tensor

    @classmethod
    def between(cls, stored: int, wanted: int) -> Resampling:
        """From so many inputs to so many outputs.

        The weights are read off `resize` itself, so that parts equal the whole.
        """
        matrix = resize(torch.eye(stored)[None], (wanted, stored))[0]
        used = matrix != 0
        first = used.long().argmax(dim=1)
        last = stored - 1 - used.flip(1).long().argmax(dim=1)
        taps = int((last - first).max()) + 1
        first = torch.minimum(first, torch.tensor(stored - taps))
        return cls(first, matrix.gather(1, first[:, None] + torch.arange(taps)))

    def needed(self, start: int, stop: int) -> tuple[int, int]:
        """Inputs [p, q) that the outputs [start, stop) depend on."""
        chosen = self.first[start:stop]
        return int(chosen.min()), int(chosen.max()) + self.weights.shape[1]

    def apply(self, values: Tensor, axis: int, start: int, stop: int, offset: int = 0) -> Tensor:
        """Outputs [start, stop) along an axis.

        Args:
            values: inputs from `offset` on, at least those `needed`.
            axis: along which.
            start, stop: outputs wanted.
            offset: index of the first input in `values`.
        """
        shape = [1] * values.ndim
        shape[axis] = stop - start
        first = (self.first[start:stop] - offset).to(values.device)
        weights = self.weights[start:stop].to(values.device, values.dtype)
        if weights.shape[1] == 1:  # as many outputs as inputs
            return values.index_select(axis, first)
        total = values.index_select(axis, first) * weights[:, 0].view(shape)
        for tap in range(1, weights.shape[1]):
            total += values.index_select(axis, first + tap) * weights[:, tap].view(shape)
        return total
