"""Random fields: smooth numbers in space, drawn from a seed, read at any point."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional


class Field(NamedTuple):
    """Values on a regular grid of points in space.

    values: (C, X, Y, Z) float32.
    origin: (3,) mm, where the first grid point lies.
    spacing: mm between grid points.
    periodic: the grid repeats for ever; if not, the border's values hold outside.
    """

    values: Tensor
    origin: tuple[float, float, float]
    spacing: float
    periodic: bool = False

    def at(self, points: Tensor) -> Tensor:
        """Values at points by trilinear interpolation.

        Args:
            points: (N, 3) float32, mm.

        Returns: (C, N) float32.

        >>> ramp = Field(torch.arange(3.0)[None, :, None, None].expand(1, 3, 2, 2), (0.0, 0.0, 0.0), 10.0)
        >>> ramp.at(torch.tensor([[5.0, 0.0, 0.0], [99.0, 0.0, 0.0]])).tolist()
        [[0.5, 2.0]]
        """
        sides = torch.tensor(self.values.shape[1:], dtype=torch.float32)
        places = (points - torch.tensor(self.origin)) / self.spacing
        values = self.values
        if self.periodic:
            places = places.remainder(sides)
            values = functional.pad(values[None], (0, 1, 0, 1, 0, 1), mode="circular")[0]
            sides = sides + 1
        # grid_sample counts from -1 to 1, and the last axis first
        places = (places * 2 / (sides - 1) - 1).flip(-1)
        found = functional.grid_sample(
            values[None], places[None, None, None], mode="bilinear", padding_mode="border", align_corners=True
        )
        return found[0, :, 0, 0]

    def grid_points(self) -> Tensor:
        """(X * Y * Z, 3) mm: where the values stand."""
        axes = [
            start + self.spacing * torch.arange(side, dtype=torch.float32)
            for start, side in zip(self.origin, self.values.shape[1:])
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).view(-1, 3)


def generator_for(*key: object) -> np.random.Generator:
    """A generator of its own for everything that a key names, the same on every machine.

    >>> int(generator_for("head", 0).integers(1000)) == int(generator_for("head", 0).integers(1000))
    True
    """
    digest = hashlib.sha256("/".join(str(part) for part in key).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def draw_field(
    generator: np.random.Generator,
    channels: int,
    side: int,
    spacing: float,
    smoothness_mm: float,
    *,
    periodic: bool = False,
) -> Field:
    """Gaussian noise made smooth, mean 0 and standard deviation 1 per channel, on a cube around the origin.

    Args:
        generator: source of numbers.
        channels: independent fields.
        side: grid points along each axis.
        spacing: mm between them.
        smoothness_mm: standard deviation of the Gaussian that smooths.
        periodic: see `Field`.
    """
    noise = generator.standard_normal((channels, side, side, side), dtype=np.float32)
    sigma = smoothness_mm / spacing
    smooth = gaussian_filter(noise, (0, sigma, sigma, sigma), mode="wrap", truncate=3.0)
    smooth -= smooth.mean(axis=(1, 2, 3), keepdims=True)
    smooth /= smooth.std(axis=(1, 2, 3), keepdims=True)
    start = -spacing * (side - 1) / 2
    return Field(torch.from_numpy(smooth), (start, start, start), spacing, periodic)
