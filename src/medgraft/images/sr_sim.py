"""How alike two images look: SR-SIM, from maps that are computed once per image."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from medgraft.errors import ShapeError
from medgraft.images.preparation import LUMINANCE

SCALE = 0.25
"""Saliency is computed on images of this size."""
LEAST = 40
"""Least side in pixels, so that the blur of 10 pixels fits."""
BLUR, SIGMA = 10, 3.8
SALIENCY_CONSTANT, GRADIENT_CONSTANT = 0.40, 225.0
PAIRS_AT_ONCE = 8


class SRSIMMaps(NamedTuple):
    """What SR-SIM needs to know of images.

    saliency: (B, h, w) in [0, 1], on a quarter of the height and width; or (B, H, W), see `enlarged`.
    gradient: (B, H, W) at least 0, in levels of 256.
    """

    saliency: Tensor
    gradient: Tensor

    def enlarged(self) -> SRSIMMaps:
        """Maps with saliency at the size of the gradient; bicubic, so it may leave [0, 1] a little.

        Both functions that compare images do this themselves; done before, it is done once.
        """
        size = self.gradient.shape[-2:]
        if self.saliency.shape[-2:] == size:
            return self
        return SRSIMMaps(_resized(self.saliency, size), self.gradient)

    def rows(self, chosen: Tensor | slice) -> SRSIMMaps:
        """Those of some of the images."""
        return SRSIMMaps(self.saliency[chosen], self.gradient[chosen])


def sr_sim_maps(images: Tensor) -> SRSIMMaps:
    """Saliency and gradient of images, each by itself: what stands beside an image in the batch has no influence.

    Images of 384 pixels and more are first averaged over blocks, of round(least side / 256) pixels.

    Args:
        images: (B, 1, H, W) grey or (B, 3, H, W) red, green, blue, float in [0, 1]; H and W at least 40.

    Returns: maps in the dtype of the images.

    Raises:
        ShapeError: the images have another shape or are smaller.

    Source: Zhang & Li 2012; the constants, resizing and borders are those of the package piq. Differs: saliency is
        normalised per image, which piq does over the batch.

    >>> maps = sr_sim_maps(torch.rand(2, 1, 120, 100, generator=torch.Generator().manual_seed(0)))
    >>> maps.saliency.shape, maps.gradient.shape
    (torch.Size([2, 30, 25]), torch.Size([2, 120, 100]))
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point():
        raise ShapeError(
            "sr_sim_maps", "float images (B, 1, H, W) or (B, 3, H, W)",
            f"got {images.dtype} {tuple(images.shape)}", "Pass volumes slice by slice, one or three channels.",
        )  # fmt: skip
    grey = _averaged(255 * _luminance(images))
    if min(grey.shape[-2:]) < LEAST:
        raise ShapeError(
            "sr_sim_maps", f"images of at least {LEAST} x {LEAST} pixels",
            f"got {images.shape[-2]} x {images.shape[-1]}", "Enlarge them, or choose without SR-SIM.",
        )  # fmt: skip
    return SRSIMMaps(_saliency(grey.double()).to(grey.dtype), _gradient(grey))


def sr_sim(one: SRSIMMaps, other: SRSIMMaps) -> Tensor:
    """SR-SIM of pairs of images.

    Args:
        one, other: maps of B images each, of the same size.

    Returns: (B,) at most 1, which is equality, and hardly below 0.5; higher is more alike. In the dtype of the maps.

    Raises:
        ShapeError: the two differ in number or size.

    Source: Zhang & Li 2012.

    >>> first, second = torch.rand(2, 4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> maps = sr_sim_maps(first)
    >>> sr_sim(maps, maps).round(decimals=4)
    tensor([1., 1., 1., 1.])
    >>> bool((sr_sim(maps, sr_sim_maps(second)) < 0.9).all())
    True
    """
    if one.gradient.shape != other.gradient.shape:
        raise _unlike(one, other)
    return _scores(one.enlarged(), other.enlarged())


def sr_sim_of_all_pairs(one: SRSIMMaps, other: SRSIMMaps) -> Tensor:
    """SR-SIM of every image of one set with every image of another.

    Args:
        one: maps of A images.
        other: maps of B images of the same size.

    Returns: (A, B), as `sr_sim` gives them.

    Raises:
        ShapeError: the images differ in size.

    Source: Zhang & Li 2012.

    >>> maps = sr_sim_maps(torch.rand(3, 1, 48, 48, generator=torch.Generator().manual_seed(0)))
    >>> scores = sr_sim_of_all_pairs(maps, maps.rows(slice(2)))
    >>> scores.shape, scores.diagonal().round(decimals=4)
    (torch.Size([3, 2]), tensor([1., 1.]))
    """
    if one.gradient.shape[1:] != other.gradient.shape[1:]:
        raise _unlike(one, other)
    one, other = one.enlarged(), other.enlarged()
    many = len(other.gradient)
    scores = other.gradient.new_empty(len(one.gradient), many)
    for row in range(len(one.gradient)):
        image = one.rows(slice(row, row + 1))
        # few at once, so that what is computed on the way stays in the processor's cache
        for start in range(0, many, PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            scores[row, part] = _scores(image, other.rows(part))
    return scores


def _scores(one: SRSIMMaps, other: SRSIMMaps) -> Tensor:
    alike = _similarity(one.gradient, other.gradient, GRADIENT_CONSTANT).sqrt_()
    weight = torch.maximum(one.saliency, other.saliency)
    alike.mul_(_similarity(one.saliency, other.saliency, SALIENCY_CONSTANT)).mul_(weight)
    return alike.sum((-2, -1)) / (weight.sum((-2, -1)) + torch.finfo(weight.dtype).eps)


def _similarity(one: Tensor, other: Tensor, constant: float) -> Tensor:
    """(2ab + c) / (a^2 + b^2 + c), computed as 1 - (a - b)^2 / (a^2 + b^2 + c)."""
    squares = torch.addcmul(one * one + constant, other, other)
    return (one - other).square_().div_(squares).neg_().add_(1)


def _luminance(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images[:, 0]
    return torch.einsum("bchw,c->bhw", images, images.new_tensor(LUMINANCE))


def _averaged(grey: Tensor) -> Tensor:
    """Means over blocks; zeros are added at the border, as piq does."""
    height, width = grey.shape[-2:]
    block = max(1, round(min(height, width) / 256))
    if block == 1:
        return grey
    before, after = (block - 1) // 2, block // 2
    return avg_pool2d(pad(grey[:, None], (before, after, before, after)), block)[:, 0]


def _saliency(grey: Tensor) -> Tensor:
    """Spectral residual: where the spectrum differs from its smoothed self, transformed back and blurred."""
    height, width = grey.shape[-2:]
    eps = torch.finfo(grey.dtype).eps
    spectrum = torch.fft.fft2(_resized(grey, (math.ceil(height * SCALE), math.ceil(width * SCALE)), SCALE))
    amplitude = spectrum.abs()
    logarithm = (amplitude + eps).log()
    smooth = avg_pool2d(pad(logarithm[:, None], (1, 1, 1, 1), mode="replicate"), 3, stride=1)[:, 0]
    # Where there is no amplitude the phase is 0, as of any zero.
    phase = torch.where(amplitude > 0, spectrum / torch.where(amplitude > 0, amplitude, 1.0), 1.0)
    residual = torch.fft.ifft2((logarithm - smooth).exp() * phase)
    blurred = _blurred(residual.real.square() + residual.imag.square())
    low, high = blurred.amin((-2, -1), keepdim=True), blurred.amax((-2, -1), keepdim=True)
    return (blurred - low) / (high - low + eps)


def _blurred(values: Tensor) -> Tensor:
    """A Gaussian of 10 x 10 pixels, whose middle is moved half a pixel down and right; zeros beyond the border."""
    down, along = (torch.from_numpy(_gaussian(side)).to(values) for side in values.shape[-2:])
    return down @ values @ along.T


@lru_cache(maxsize=32)
def _gaussian(side: int) -> NDArray[np.float64]:
    """(side, side): each output is the weighted sum of the ten inputs from four before it to five behind."""
    taps = np.exp(-((np.arange(BLUR) - (BLUR - 1) / 2) ** 2) / (2 * SIGMA**2))
    away = np.arange(side) - np.arange(side)[:, None] + BLUR // 2 - 1
    weights: NDArray[np.float64] = (taps / taps.sum())[away.clip(0, BLUR - 1)]
    return np.where((away >= 0) & (away < BLUR), weights, 0.0)


def _gradient(grey: Tensor) -> Tensor:
    """Modulus of the gradient by Scharr's kernels over 16; zeros beyond the border."""
    framed = pad(grey, (1, 1, 1, 1))
    right = framed[..., 2:] - framed[..., :-2]
    down = framed[..., 2:, :] - framed[..., :-2, :]
    across = 10 * right[..., 1:-1, :] + 3 * (right[..., :-2, :] + right[..., 2:, :])
    along = 10 * down[..., 1:-1] + 3 * (down[..., :-2] + down[..., 2:])
    return across.square_().addcmul_(along, along).sqrt_().div_(16)


def _resized(values: Tensor, size: tuple[int, ...] | torch.Size, scale: float | None = None) -> Tensor:
    """Bicubic, antialiased where it shrinks: (B, H, W) to (B, *size)."""
    down, along = (
        torch.from_numpy(_bicubic(stored, wanted, scale or wanted / stored)).to(values)
        for stored, wanted in zip(values.shape[-2:], size)
    )
    return down @ values @ along.T


@lru_cache(maxsize=32)
def _bicubic(stored: int, wanted: int, scale: float) -> NDArray[np.float64]:
    """(wanted, stored), as MATLAB's imresize: the image is mirrored at its border, border pixels included."""
    shrink = min(scale, 1.0)
    centres = (np.arange(wanted) + 0.5) / scale - 0.5
    taps = math.ceil(4 / shrink) + 2
    pixels = np.floor(centres).astype(np.int64)[:, None] - taps // 2 + 1 + np.arange(taps)
    weights = _cubic((centres[:, None] - pixels) * shrink)
    turned = pixels % (2 * stored)  # the image and its mirror image, again and again
    matrix = np.zeros((wanted, stored))
    np.add.at(matrix, (np.arange(wanted)[:, None], np.minimum(turned, 2 * stored - 1 - turned)), weights)
    matrix /= weights.sum(axis=1, keepdims=True)
    return matrix


def _cubic(away: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel with a = -1/2."""
    away = np.abs(away)
    near = (1.5 * away - 2.5) * away**2 + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    return np.where(away <= 1, near, np.where(away <= 2, far, 0.0))


def _unlike(one: SRSIMMaps, other: SRSIMMaps) -> ShapeError:
    return ShapeError(
        "SR-SIM", "maps of images of one size",
        f"got {tuple(one.gradient.shape)} and {tuple(other.gradient.shape)}",
        "Crop or resize the images to the same size.",
    )  # fmt: skip
