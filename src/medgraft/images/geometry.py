"""Move pixels: flips, quarter turns, and one resampling for rotation, shift, shear, zoom and crop."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from medgraft.errors import ShapeError

Outside = Literal["reflect", "edge", "zero"]
"""What is seen beyond the border: the mirrored image, its last pixels, or zeros (label 0 in a mask)."""

_PADDING = {"reflect": "reflection", "edge": "border", "zero": "zeros"}


def flip(images: Tensor, horizontal: Tensor, vertical: Tensor) -> Tensor:
    """Mirror the chosen images of a batch, exactly.

    Args:
        images: (B, ..., H, W), any dtype; masks (B, H, W) too.
        horizontal: (B,) bool, True swaps left and right.
        vertical: (B,) bool, True swaps top and bottom.

    Returns: like `images`.

    >>> flip(torch.tensor([[[1, 2]], [[1, 2]]]), torch.tensor([True, False]), torch.tensor([False, False]))
    tensor([[[2, 1]], [[1, 2]]])
    """
    for chosen, axis in ((horizontal, -1), (vertical, -2)):
        images = torch.where(_spread(chosen, images), images.flip(axis), images) if chosen.any() else images
    return images


def turn(images: Tensor, turns: Tensor) -> Tensor:
    """Rotate square images counter-clockwise by quarter turns, exactly.

    Args:
        images: (B, ..., H, W) with H = W where a turn is odd; any dtype.
        turns: (B,) int, number of quarter turns.

    Returns: like `images`.

    Raises:
        ShapeError: an odd turn of images that are not square.

    >>> turn(torch.tensor([[[1, 2], [3, 4]]]), torch.tensor([1]))
    tensor([[[2, 4], [1, 3]]])
    """
    turns = turns % 4
    if images.shape[-1] != images.shape[-2] and (turns % 2).any():
        raise ShapeError(
            "turn",
            "square images for quarter turns",
            f"these are {images.shape[-2]} x {images.shape[-1]}",
            "Prepare to a square size, or set quarter_turns to false.",
        )
    for number in (1, 2, 3):
        chosen = turns == number
        if chosen.any():
            images = torch.where(_spread(chosen, images), images.rot90(number, (-2, -1)), images)
    return images


def affine(
    images: Tensor,
    angle: Tensor,
    shift: Tensor,
    shear: Tensor,
    zoom: Tensor,
    crop: Tensor,
    outside: Outside = "reflect",
) -> Tensor:
    """Shear, rotate, zoom and shift images about their centre, then stretch a box of them to full size.

    All of it is one resampling: bilinear for (B, C, H, W) images, nearest for (B, H, W) masks.

    Args:
        images: (B, C, H, W) float, or (B, H, W) integer labels below 2**24.
        angle: (B,) degrees, clockwise.
        shift: (B, 2) down and right, as shares of height and width.
        shear: (B, 2) degrees, along x and along y.
        zoom: (B,) positive; above 1 enlarges the content.
        crop: (B, 4) top, left, height, width as shares of the image; (0, 0, 1, 1) keeps all of it.
        outside: what is seen beyond the border.

    Returns: like `images`, same shape and dtype.

    Source: conventions and order of torchvision's `affine`; pixels are square whatever H and W.

    >>> none = torch.zeros(1, 2)
    >>> whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    >>> mask = torch.tensor([[[1, 2], [3, 4]]])
    >>> affine(mask, torch.tensor([90.0]), none, none, torch.ones(1), whole)
    tensor([[[3, 1], [4, 2]]])
    """
    height, width = images.shape[-2:]
    values = images if images.ndim == 4 else images[:, None].float()
    theta = _inverse_maps(angle, shift, shear, zoom, crop, height, width)
    theta = theta.to(dtype=values.dtype, device=values.device)
    grid = affine_grid(theta, [len(values), 1, height, width], align_corners=False)
    mode = "bilinear" if images.ndim == 4 else "nearest"
    values = grid_sample(values, grid, mode=mode, padding_mode=_PADDING[outside], align_corners=False)
    return values if images.ndim == 4 else values[:, 0].to(images.dtype)


def _inverse_maps(
    angle: Tensor, shift: Tensor, shear: Tensor, zoom: Tensor, crop: Tensor, height: int, width: int
) -> Tensor:
    """(B, 2, 3) float64: from wanted to stored position, both with x and y from -1 to 1."""

    def identities() -> Tensor:
        return torch.eye(3, dtype=torch.float64).repeat(len(angle), 1, 1)

    turned, slant = torch.deg2rad(angle.double().cpu()), torch.tan(torch.deg2rad(shear.double().cpu()))
    rotation, along_x, along_y, shifted = identities(), identities(), identities(), identities()
    rotation[:, 0, 0] = rotation[:, 1, 1] = turned.cos()
    rotation[:, 1, 0], rotation[:, 0, 1] = turned.sin(), -turned.sin()
    along_x[:, 0, 1], along_y[:, 1, 0] = -slant[:, 0], -slant[:, 1]
    content = rotation @ along_y @ along_x
    content[:, :2, :2] *= zoom.double().cpu()[:, None, None]
    # Angles are about square pixels, so rotate in units of pixels and shift in units of the image.
    to_pixels = torch.tensor([width / 2, height / 2, 1.0], dtype=torch.float64)
    content = content / to_pixels[:, None] * to_pixels
    shifted[:, :2, 2] = 2 * shift.double().cpu().flip(1)
    cut = identities()
    top, left, tall, wide = crop.double().cpu().unbind(1)
    cut[:, 0, 0], cut[:, 1, 1] = wide, tall
    cut[:, 0, 2], cut[:, 1, 2] = 2 * left + wide - 1, 2 * top + tall - 1
    inverse: Tensor = torch.linalg.inv(shifted @ content)
    return (inverse @ cut)[:, :2]


def _spread(chosen: Tensor, images: Tensor) -> Tensor:
    """(B,) to (B, 1, ..., 1), on the images' device."""
    return chosen.to(images.device).reshape(-1, *[1] * (images.ndim - 1))
