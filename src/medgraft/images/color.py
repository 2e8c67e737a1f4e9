"""Change brightness values of images in [0, 1], which stay there; what all conversions of colour share."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from medgraft.errors import DataError, ShapeError
from medgraft.images.preparation import LUMINANCE

HALF_A_GREY_LEVEL = 0.5 / 255
OVERSHOOT = 1e-3
"""By which values may leave [0, 1]: rounding of short floats and of resampling."""


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Make images darker or brighter.

    Args:
        images: (B, C, *spatial) float in [0, 1].
        factor: (B,) at least 0; 1 changes nothing, 0 gives black.

    Returns: like `images`, clipped to [0, 1].

    >>> brightness(torch.full((1, 1, 1, 1), 0.25), torch.tensor([2.0])).item()
    0.5
    """
    return (images * _spread(factor, images)).clamp(0.0, 1.0)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Move values away from, or towards, the mean grey of their image.

    Args:
        images: (B, C, *spatial) float in [0, 1]; three channels are red, green, blue.
        factor: (B,) at least 0; 1 changes nothing, 0 gives the mean grey.

    Returns: like `images`, clipped to [0, 1].

    >>> contrast(torch.tensor([[[[0.25, 0.75]]]]), torch.tensor([1.5]))
    tensor([[[[0.1250, 0.8750]]]])
    """
    grey = _luminance(images) if images.shape[1] == 3 else images.mean(1, keepdim=True)
    middle = grey.mean(tuple(range(1, images.ndim)), keepdim=True)
    return torch.lerp(middle, images, _spread(factor, images)).clamp(0.0, 1.0)


def gamma(images: Tensor, exponent: Tensor) -> Tensor:
    """Raise values to a power: below 1 lifts the shadows, above 1 deepens them.

    Args:
        images: (B, C, *spatial) float in [0, 1]; what lies outside is clipped first.
        exponent: (B,) positive; 1 changes nothing.

    Returns: like `images`.

    >>> gamma(torch.full((1, 1, 1, 1), 0.5), torch.tensor([2.0])).item()
    0.25
    """
    return images.clamp(0.0, 1.0) ** _spread(exponent, images)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Move colours away from, or towards, the grey of the same luminance.

    Args:
        images: (B, 3, *spatial) float in [0, 1]: red, green, blue.
        factor: (B,) at least 0; 1 changes nothing, 0 leaves grey.

    Returns: like `images`, clipped to [0, 1].

    Source: torchvision's `adjust_saturation`. `shift_hsv` changes saturation as HSV defines it.

    >>> red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> saturation(red, torch.tensor([0.5])).flatten()
    tensor([0.6495, 0.1495, 0.1495])
    """
    return torch.lerp(_luminance(images), images, _spread(factor, images)).clamp(0.0, 1.0)


def greyscale(images: Tensor) -> Tensor:
    """Give each pixel its luminance in all channels.

    Args:
        images: (B, 3, *spatial) float: red, green, blue.

    Returns: like `images`, three equal channels.

    >>> greyscale(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)).flatten()
    tensor([0.2990, 0.2990, 0.2990])
    """
    return _luminance(images).expand_as(images).clone()


def solarise(images: Tensor) -> Tensor:
    """Invert what is at least half as bright as white, as overexposed film does.

    Args:
        images: (B, C, *spatial) float in [0, 1].

    Returns: like `images`, in [0, 0.5].

    >>> solarise(torch.tensor([[[[0.25, 0.5, 0.75]]]]))
    tensor([[[[0.2500, 0.5000, 0.2500]]]])
    """
    return torch.where(images >= 0.5, 1 - images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel of each image to the full range; constant channels stay as they are.

    Args:
        images: (B, C, *spatial) float in [0, 1].

    Returns: like `images`.

    >>> autocontrast(torch.tensor([[[[0.25, 0.5, 0.75]]]]))
    tensor([[[[0.0000, 0.5000, 1.0000]]]])
    """
    space = tuple(range(2, images.ndim))
    low, high = images.amin(space, keepdim=True), images.amax(space, keepdim=True)
    flat = high <= low
    return torch.where(flat, images, ((images - low) / torch.where(flat, 1.0, high - low)).clamp(0.0, 1.0))


def equalise(images: Tensor) -> Tensor:
    """Spread each channel's values evenly over the range (histogram of 256 levels).

    Args:
        images: (B, C, *spatial) float in [0, 1]; what lies outside is clipped first.

    Returns: like `images`, in steps of 1/255. Channels of fewer than 255 pixels below their maximum only get
        these steps, for then the method cannot spread them.

    Source: torchvision's `equalize`, on every channel by itself.

    >>> dark = torch.linspace(0.0, 0.3, 1024).reshape(1, 1, 32, 32)
    >>> equalise(dark).max().item()
    1.0
    """
    from torchvision.transforms.v2.functional import equalize_image  # slow to import

    levels = (images.clamp(0.0, 1.0) * 255).round().to(torch.uint8)
    # One channel at a time, because torchvision takes only one or three.
    even: Tensor = equalize_image(levels.reshape(-1, 1, levels[0, 0, ..., 0].numel(), levels.shape[-1]))
    return even.reshape(images.shape).to(images.dtype) / 255


def check_rgb(who: str, images: Tensor) -> None:
    """Refuse what is not (B, 3, H, W) float.

    >>> check_rgb("rgb_to_lab", torch.zeros(1, 3, 8, 8))
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ShapeError(
            who, "float images (B, 3, H, W) with red, green and blue in [0, 1]",
            f"got {images.dtype} {tuple(images.shape)}",
            "Divide integers by their greatest value; grey images have no stains and no hue.",
        )  # fmt: skip


def check_unit_rgb(who: str, images: Tensor, overshoot: float = OVERSHOOT) -> None:
    """Refuse what is not (B, 3, H, W) float in [0, 1], by ShapeError or DataError; NaN is refused too.

    >>> check_unit_rgb("rgb_to_hsv", torch.ones(1, 3, 8, 8))
    """
    check_rgb(who, images)
    if not images.numel():
        return
    low, high = (float(end) for end in images.detach().aminmax())
    if not (low >= -overshoot and high <= 1 + overshoot):
        raise DataError(
            who, "values in [0, 1]", f"got {low:g} to {high:g}",
            "Divide by the greatest value of the file's type, and clip what resampling overshot.",
        )  # fmt: skip


def is_grey(images: Tensor) -> Tensor:
    """Which images (B, 3, H, W) in [0, 1] have no colour: red, green and blue differ by less than half of 1/255.

    >>> is_grey(torch.tensor([[0.5, 0.5, 0.5], [0.5, 0.6, 0.5]])[..., None, None]).tolist()
    [True, False]
    """
    return (images.amax(dim=1) - images.amin(dim=1)).amax(dim=(1, 2)) < HALF_A_GREY_LEVEL


def mix_channels(channels: Tensor, weights: Tensor, offset: Tensor | None = None) -> Tensor:
    """Multiply each pixel by a matrix, at full precision even where autocast is on.

    Args:
        channels: (B, C, *spatial) float.
        weights: (K, C), or (B, K, C) for one matrix per image.
        offset: (K,) or (B, K), added to each pixel; None adds nothing.

    Returns: (B, K, *spatial), a new tensor in the dtype of `channels`.

    >>> mix_channels(torch.ones(1, 2, 1, 1), torch.tensor([[1.0, 2.0], [3.0, 4.0]])).flatten()
    tensor([3., 7.])
    """
    count, kept = len(channels), weights.shape[-2]
    with torch.autocast(channels.device.type, enabled=False):
        rows, matrices = channels.flatten(2), weights.to(channels).expand(count, -1, -1)
        if offset is None:
            mixed = matrices @ rows
        else:
            mixed = torch.baddbmm(offset.to(channels).expand(count, kept)[..., None], matrices, rows)
    return mixed.reshape(count, kept, *channels.shape[2:])


def fresh(images: Tensor) -> Tensor:
    """Memory of the images' shape and dtype, not filled: NumPy's on the CPU, which asks the system for large pages.

    Without them a batch of 64 images of 224 pixels took as long to be given its memory as to be computed.

    >>> fresh(torch.zeros(2, 3, 4, 4)).shape
    torch.Size([2, 3, 4, 4])
    """
    if images.device.type != "cpu":
        return images.new_empty(images.shape)
    return torch.from_numpy(np.empty_like(images.detach().numpy(), order="C"))


def log(values: Tensor, out: Tensor | None = None) -> Tensor:
    """`torch.log`, but NumPy's on the CPU, which took a third of the time there (x86, AVX-512).

    >>> log(torch.tensor([1.0, 0.0, -1.0]))
    tensor([0., -inf, nan])
    """
    if values.device.type != "cpu" or values.requires_grad:
        return torch.log(values, out=out)
    found = torch.empty_like(values) if out is None else out
    with np.errstate(divide="ignore", invalid="ignore"):
        np.log(values.numpy(), out=found.numpy())
    return found


def exp_(values: Tensor, factor: float = 1.0) -> Tensor:
    """exp(factor * values) in place, as a power of 2, which took a third of the time (x86, AVX-512).

    >>> exp_(torch.tensor([0.0, 1.0]), factor=-1.0)
    tensor([1.0000, 0.3679])
    """
    return values.mul_(factor * math.log2(math.e)).exp2_()


def _luminance(images: Tensor) -> Tensor:
    return (images * images.new_tensor(LUMINANCE).view(3, *[1] * (images.ndim - 2))).sum(1, keepdim=True)


def _spread(factor: Tensor, images: Tensor) -> Tensor:
    return factor.to(images).view(-1, *[1] * (images.ndim - 1))
