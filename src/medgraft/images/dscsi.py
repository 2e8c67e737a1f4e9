"""How alike two images are in colour: hue, chroma and lightness of the same places, by directional statistics."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from medgraft.errors import ShapeError
from medgraft.images.cielab import rgb_to_lab
from medgraft.images.color import check_rgb

WINDOW = 7
SIGMA = (WINDOW - 1) / 6
HUE_CONSTANT, CHROMA_MEAN_CONSTANT, CHROMA_CONSTANT, LIGHTNESS_CONSTANT = 0.0008, 0.0008, 16.0, 0.8
FAR_HUE, FAR_HUE_SLOPE = 0.2, 0.35
"""Difference of hues, as a part of half a turn, at which they count as half alike; how gently it falls there."""
COLOURED, COLOURED_SLOPE = 10.0, 0.25
"""Chroma at which a hue counts half, and how gently that rises."""
EXPONENT = 0.8
"""Of hue and chroma beside lightness."""
DARKEST = 1e-4
"""Darker values are taken as this: at black a cube root has no slope."""
TINY = 1e-6
"""Under roots and in arcs of what may be 0, where there is no slope either."""


class ColourSimilarity(NamedTuple):
    """The six comparisons, each (B,), at most 1; the first four at least 0.

    All are 1 for equality but `hue`, which is 0.997 where there is colour.
    """

    hue: Tensor
    hue_dispersion: Tensor
    chroma: Tensor
    chroma_contrast: Tensor
    lightness_contrast: Tensor
    lightness_structure: Tensor


def dscsi(one: Tensor, other: Tensor, pooling: int = 2) -> Tensor:
    """Directional statistics colour similarity index of pairs of images, which gradients can follow.

    Nothing in it compares mean lightness: an image that is darker everywhere is hardly less alike.

    Args:
        one, other: (B, 3, H, W) float in [0, 1], sRGB, at least 7 x 7 pixels.
        pooling: exponent of Minkowski's mean over places; 1 is the plain mean.

    Returns: (B,) at most 1; 0.997 for equal images in colour, by the published equation of hues. Below 0 only where
        lightness runs contrary.

    Raises:
        ShapeError: they are no float RGB images, differ in shape or are smaller than 7 pixels.

    Source: Lee & Plataniotis 2016; equations and constants as in the authors' own release 1.0. Differs: CIELAB as it
        is, one of the two bases offered there, instead of S-CIELAB, and never shrunk before; a pixel without any chroma
        has no hue instead of the hue 0, which counts for less than a thousandth in either case.

    >>> tile = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> dscsi(tile, tile).round(decimals=3), bool(dscsi(tile, tile.flip(1)) < 0.5)
    (tensor([0.9970]), True)
    """
    parts = colour_similarity(one, other, pooling)
    in_colour = torch.stack(parts[:4]).clamp(min=TINY).prod(dim=0) ** EXPONENT
    return in_colour * parts.lightness_contrast * parts.lightness_structure


def colour_similarity(one: Tensor, other: Tensor, pooling: int = 2) -> ColourSimilarity:
    """The six comparisons that `dscsi` multiplies; see there.

    >>> grey, darker = torch.full((1, 3, 8, 8), 0.5), torch.full((1, 3, 8, 8), 0.4)
    >>> [round(part.item(), 3) for part in colour_similarity(grey, darker)]
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    for images in (one, other):
        check_rgb("dscsi", images)
    if one.shape != other.shape or min(one.shape[2:]) < WINDOW:
        raise ShapeError(
            "dscsi", f"pairs of images of one size, at least {WINDOW} x {WINDOW} pixels",
            f"got {tuple(one.shape)} and {tuple(other.shape)}", "Crop or enlarge them to the same size.",
        )  # fmt: skip
    with torch.autocast(one.device.type, enabled=False):
        return _compared(_Local.of(one), _Local.of(other), pooling)


def _compared(first: _Local, second: _Local, pooling: int) -> ColourSimilarity:
    reliable = _rises(torch.minimum(first.chroma, second.chroma), COLOURED, COLOURED_SLOPE)
    apart = _angle_between(first.direction, second.direction) / math.pi
    maps = (
        1 - reliable * _rises(apart, FAR_HUE, FAR_HUE_SLOPE),
        1 - reliable * (1 - _alike(first.dispersion, second.dispersion, HUE_CONSTANT)),
        1 / (CHROMA_MEAN_CONSTANT * (first.chroma - second.chroma) ** 2 + 1),
        _alike(first.chroma_sd, second.chroma_sd, CHROMA_CONSTANT),
        _alike(first.lightness_sd, second.lightness_sd, LIGHTNESS_CONSTANT),
        _structure(first, second),
    )
    away = [((1 - each).abs() ** pooling).mean(dim=(1, 2)).clamp(min=TINY**2) for each in maps]
    return ColourSimilarity(*(1 - mean ** (1 / pooling) for mean in away))


class _Local(NamedTuple):
    """What an image is like around each place, (B, h, w); directions (B, 2, h, w)."""

    direction: Tensor
    dispersion: Tensor
    chroma: Tensor
    chroma_sd: Tensor
    lightness_sd: Tensor
    lightness: Tensor
    """At the pixels themselves, less the image's mean."""

    @classmethod
    def of(cls, images: Tensor) -> _Local:
        lab = rgb_to_lab(images.clamp(min=DARKEST))
        chroma = (lab[:, 1:].square().sum(dim=1, keepdim=True) + TINY).sqrt()
        direction = _averaged(lab[:, 1:] / chroma)
        dispersion = 1 - (direction.square().sum(dim=1) + TINY**2).sqrt()
        lightness = lab[:, :1] - lab[:, :1].mean(dim=(2, 3), keepdim=True)  # smaller numbers, rounded less
        return cls(direction, dispersion, _averaged(chroma)[:, 0], _sd(chroma), _sd(lightness), lightness)


def _averaged(values: Tensor) -> Tensor:
    """Gaussian means over windows that lie within the image: (B, C, H, W) to (B, C, H - 6, W - 6)."""
    away = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-(away**2) / (2 * SIGMA**2))
    line = (weights / weights.sum()).to(values).expand(values.shape[1], 1, -1)
    rows = functional.conv2d(values, line[:, :, :, None], groups=values.shape[1])
    return functional.conv2d(rows, line[:, :, None], groups=values.shape[1])


def _covariance(one: Tensor, other: Tensor) -> Tensor:
    return (_averaged(one * other) - _averaged(one) * _averaged(other))[:, 0]


def _sd(values: Tensor) -> Tensor:
    return (_covariance(values, values).clamp(min=0) + TINY).sqrt()


def _structure(first: _Local, second: _Local) -> Tensor:
    together = _covariance(first.lightness, second.lightness)
    spreads = first.lightness_sd * second.lightness_sd
    return (together + LIGHTNESS_CONSTANT) / (spreads + LIGHTNESS_CONSTANT)


def _alike(one: Tensor, other: Tensor, constant: float) -> Tensor:
    return (2 * one * other + constant) / (one**2 + other**2 + constant)


def _rises(values: Tensor, middle: float, slope: float) -> Tensor:
    """From 0 to 1, a half at the middle."""
    return 0.5 + 0.5 * torch.tanh((values - middle) / (slope * middle))


def _angle_between(one: Tensor, other: Tensor) -> Tensor:
    """(B, 2, h, w) vectors to angles (B, h, w) in [0, pi]; 0 where a vector has no length."""
    across = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
    along = (one * other).sum(dim=1)
    nowhere = across.square() + along.square() < TINY**2
    return torch.atan2(across.abs(), torch.where(nowhere, 1.0, along))
