"""Move pixels and voxels: flips, quarter turns, and one resampling for rotation, shift, shear, zoom and crop."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from medgraft.errors import ShapeError

Outside = Literal["reflect", "edge", "zero"]
"""What is seen beyond the border: the mirrored image, its last pixels, or zeros (label 0 in a mask)."""

_PADDING = {"reflect": "reflection", "edge": "border", "zero": "zeros"}


def flip(images: Tensor, horizontal: Tensor, vertical: Tensor, depth: Tensor | None = None) -> Tensor:
    """Mirror the chosen images of a batch, exactly.

    Args:
        images: (B, ..., H, W) or volumes (B, ..., D, H, W), any dtype; masks too.
        horizontal: (B,) bool, True swaps left and right.
        vertical: (B,) bool, True swaps top and bottom.
        depth: (B,) bool, True swaps first and last slice; volumes only.

    Returns: like `images`.

    >>> flip(torch.tensor([[[1, 2]], [[1, 2]]]), torch.tensor([True, False]), torch.tensor([False, False]))
    tensor([[[2, 1]], [[1, 2]]])
    """
    for chosen, axis in ((horizontal, -1), (vertical, -2), (depth, -3)):
        if chosen is not None and chosen.any():
            images = torch.where(_spread(chosen, images), images.flip(axis), images)
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

    All of it is one resampling: bilinear for images, nearest for masks. Volumes move within their slices.

    Args:
        images: (B, C, H, W) or (B, C, D, H, W) float; or masks (B, H, W), (B, D, H, W) of integer labels below 2**24.
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
    maps = _inverse_maps(*_moves(angle, shift, shear, zoom, crop), (width, height))
    # Slices move together, like channels.
    return _resample(images, images.reshape(len(images), -1, height, width), maps, outside)


def affine_volume(
    volumes: Tensor,
    angle: Tensor,
    shift: Tensor,
    shear: Tensor,
    zoom: Tensor,
    crop: Tensor,
    tilt: Tensor,
    zoom_depth: Tensor,
    outside: Outside = "reflect",
) -> Tensor:
    """Move volumes as `affine` does, and also tilt them out of the plane and zoom along depth, in one resampling.

    Args:
        volumes: (B, C, D, H, W) float, or masks (B, D, H, W) of integer labels below 2**24; voxels count as cubes.
        angle, shift, shear, zoom, crop: as for `affine`, within slices.
        tilt: (B, 2) degrees, applied after the rest, about the horizontal axis of slices (positive: the bottom goes
            towards the last slice), then about the vertical one (the right goes there).
        zoom_depth: (B,) positive; above 1 enlarges the content along depth.
        outside: what is seen beyond the border.

    Returns: like `volumes`, same shape and dtype.

    >>> none, one, whole = torch.zeros(1, 2), torch.ones(1), torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    >>> mask = torch.tensor([[[[1, 2]], [[3, 4]]]])
    >>> affine_volume(mask, torch.zeros(1), none, none, one, whole, torch.tensor([[0.0, 90.0]]), one).tolist()
    [[[[3, 1]], [[4, 2]]]]
    """
    content, shifted, cut = (_with_depth(matrix) for matrix in _moves(angle, shift, shear, zoom, crop))
    about_x, about_y = _with_depth(_identities(len(content))), _with_depth(_identities(len(content)))
    leant = torch.deg2rad(tilt.double().cpu())
    for rotation, axis, turned in ((about_x, 1, leant[:, 0]), (about_y, 0, leant[:, 1])):
        rotation[:, axis, axis] = rotation[:, 2, 2] = turned.cos()
        rotation[:, axis, 2], rotation[:, 2, axis] = -turned.sin(), turned.sin()
    content[:, 2, 2] = zoom_depth.double().cpu()
    depth, height, width = volumes.shape[-3:]
    maps = _inverse_maps(about_y @ about_x @ content, shifted, cut, (width, height, depth))
    return _resample(volumes, volumes.reshape(len(volumes), -1, depth, height, width), maps, outside)


def _resample(images: Tensor, values: Tensor, maps: Tensor, outside: Outside) -> Tensor:
    """Look up where each pixel of `values`, which are the images in another shape, comes from."""
    is_mask = not images.is_floating_point()
    values = values.float() if is_mask else values
    maps = maps.to(dtype=values.dtype, device=values.device)
    grid = affine_grid(maps, [len(values), 1, *values.shape[2:]], align_corners=False)
    mode = "nearest" if is_mask else "bilinear"
    values = grid_sample(values, grid, mode=mode, padding_mode=_PADDING[outside], align_corners=False)
    return values.reshape(images.shape).to(images.dtype)


def _moves(
    angle: Tensor, shift: Tensor, shear: Tensor, zoom: Tensor, crop: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 3, 3) float64 each, on (x, y, 1): content about the centre in pixels; shift and crop from -1 to 1."""

    turned, slant = torch.deg2rad(angle.double().cpu()), torch.tan(torch.deg2rad(shear.double().cpu()))
    rotation, along_x, along_y, shifted, cut = (_identities(len(angle)) for _ in range(5))
    rotation[:, 0, 0] = rotation[:, 1, 1] = turned.cos()
    rotation[:, 1, 0], rotation[:, 0, 1] = turned.sin(), -turned.sin()
    along_x[:, 0, 1], along_y[:, 1, 0] = -slant[:, 0], -slant[:, 1]
    content = rotation @ along_y @ along_x
    content[:, :2, :2] *= zoom.double().cpu()[:, None, None]
    shifted[:, :2, 2] = 2 * shift.double().cpu().flip(1)
    top, left, tall, wide = crop.double().cpu().unbind(1)
    cut[:, 0, 0], cut[:, 1, 1] = wide, tall
    cut[:, 0, 2], cut[:, 1, 2] = 2 * left + wide - 1, 2 * top + tall - 1
    return content, shifted, cut


def _inverse_maps(content: Tensor, shifted: Tensor, cut: Tensor, sides: tuple[int, ...]) -> Tensor:
    """(B, n, n + 1) float64: from wanted to stored position, both from -1 to 1; sides are those of x, y and z."""
    # Angles are about square pixels, so rotate in units of pixels and shift in units of the image.
    to_pixels = torch.tensor([*(side / 2 for side in sides), 1.0], dtype=torch.float64)
    content = content / to_pixels[:, None] * to_pixels
    inverse: Tensor = torch.linalg.inv(shifted @ content)
    return (inverse @ cut)[:, : len(sides)]


def _identities(count: int) -> Tensor:
    return torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)


def _with_depth(matrices: Tensor) -> Tensor:
    """(B, 3, 3) on (x, y, 1) as (B, 4, 4) on (x, y, z, 1)."""
    deep = torch.eye(4, dtype=torch.float64).repeat(len(matrices), 1, 1)
    kept = torch.tensor([0, 1, 3])
    deep[:, kept[:, None], kept] = matrices
    return deep


def _spread(chosen: Tensor, images: Tensor) -> Tensor:
    """(B,) to (B, 1, ..., 1), on the images' device."""
    return chosen.to(images.device).reshape(-1, *[1] * (images.ndim - 1))
