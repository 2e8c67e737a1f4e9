"""CIELAB: lightness and two axes of colour, in which equal distances look about equal."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from medgraft.images.color import check_rgb, exp_, log, mix_channels

XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
"""Linear red, green, blue to X, Y, Z (rows), ITU-R BT.709 primaries."""
WHITE = (0.95047, 1.0, 1.08883)
"""X, Y, Z of white under daylight D65."""
LAB_FROM_ROOTS = ((0.0, 116.0, 0.0), (500.0, -500.0, 0.0), (0.0, 200.0, -200.0))
BEND = 6 / 29
"""Cube root below which CIELAB is linear."""


def rgb_to_lab(images: Tensor) -> Tensor:
    """Convert sRGB to CIELAB.

    Args:
        images: (B, 3, H, W) float in [0, 1], sRGB.

    Returns: (B, 3, H, W) L in [0, 100], a (green to red) and b (blue to yellow) about -110 to 110, not rounded.

    Raises:
        ShapeError: the images are no float RGB images.

    Source: CIE 15:2004; daylight D65, observer of 2 degrees, sRGB of IEC 61966-2-1.

    >>> rgb_to_lab(torch.ones(1, 3, 1, 1)).flatten().round(decimals=2).abs()
    tensor([100.,   0.,   0.])
    """
    check_rgb("rgb_to_lab", images)
    images = images.float() if images.element_size() < 4 else images
    linear = _bent(images, 0.04045, lambda x: _power((x + 0.055).mul_(1 / 1.055), 2.4), lambda x: x / 12.92)
    xyz = mix_channels(linear, torch.tensor(XYZ_FROM_RGB, dtype=torch.float64) / _white()[:, None])
    roots = _bent(xyz, BEND**3, lambda x: _power(x, 1 / 3), lambda x: x / (3 * BEND**2) + 4 / 29)
    lab = mix_channels(roots, _lab_from_roots())
    lab[:, 0] -= 16
    return lab


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert CIELAB to sRGB.

    Args:
        lab: (B, 3, H, W) float, as `rgb_to_lab` gives it.

    Returns: (B, 3, H, W) red, green, blue, clipped to [0, 1].

    Raises:
        ShapeError: there are not three float channels.

    Source: as for `rgb_to_lab`.

    >>> lab_to_rgb(torch.tensor([50.0, 20.0, -10.0]).view(1, 3, 1, 1)).flatten()
    tensor([0.5691, 0.4212, 0.5345])
    """
    check_rgb("lab_to_rgb", lab)
    lab = lab.float() if lab.element_size() < 4 else lab
    inverse = torch.linalg.inv(_lab_from_roots())
    roots = mix_channels(lab, inverse, inverse[:, 0] * 16)
    xyz = _bent(roots, BEND, lambda x: (x * x).mul_(x), lambda x: (x - 4 / 29) * (3 * BEND**2))
    linear = mix_channels(xyz, torch.linalg.inv(torch.tensor(XYZ_FROM_RGB, dtype=torch.float64)) * _white())
    return _bent(linear, 0.0031308, _encoded, lambda x: x * 12.92).clamp_(0.0, 1.0)


def _encoded(linear: Tensor) -> Tensor:
    return _power(linear, 1 / 2.4).mul_(1.055).sub_(0.055)


def _bent(
    values: Tensor, bend: float, curve: Callable[[Tensor], Tensor], line: Callable[[Tensor], Tensor]
) -> Tensor:
    """`curve` above the bend, `line` up to it, where only the darkest pixels are."""
    result = curve(values)
    if values.numel() == 0 or values.min() > bend:
        return result
    return torch.where(values > bend, result, line(values))


def _power(values: Tensor, exponent: float) -> Tensor:
    """Powers by logarithms, which is faster; those of negative values are no numbers."""
    return exp_(log(values), exponent)


def _white() -> Tensor:
    return torch.tensor(WHITE, dtype=torch.float64)


def _lab_from_roots() -> Tensor:
    return torch.tensor(LAB_FROM_ROOTS, dtype=torch.float64)
