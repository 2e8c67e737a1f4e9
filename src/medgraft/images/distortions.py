"""Make images worse or crisper, as scanners do: blur, noise, sharpness."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Smooth each image with its own Gaussian, cut off at three standard deviations.

    Args:
        images: (B, C, H, W) or (B, C, D, H, W) float, any range.
        sigma: (B,) pixels, at least 0; 0 changes nothing. The same along every axis.

    Returns: like `images`; the border is continued by reflection.

    >>> blur(torch.tensor([[[[0.0, 0.0, 1.0, 0.0, 0.0]] * 5]]), torch.tensor([0.3]))[0, 0, 2]
    tensor([0.0000, 0.0038, 0.9923, 0.0038, 0.0000])
    """
    count, (height, width) = len(images), images.shape[-2:]
    reach = (3 * sigma.double().cpu()).ceil()
    radius = int(reach.max()) if count else 0
    if radius == 0:
        return images
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    # Each image has its own reach, so its result does not depend on the others of the batch.
    inside = offsets.abs() <= reach[:, None]
    weights = torch.where(inside, torch.exp(-0.5 * (offsets / _positive(sigma)[:, None]) ** 2), 0.0)
    weights = (weights / weights.sum(1, keepdim=True)).to(images)
    values = _smooth(images.reshape(count, -1, height, width), weights, -2)
    values = _smooth(values, weights, -1)
    if images.ndim == 5:  # slices as rows of pixels
        values = _smooth(values.reshape(count, *images.shape[1:3], -1), weights, -2)
    return values.reshape(images.shape)


def _smooth(images: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Each of (B, C, H, W) images with its own of (B, K) weights, along height or width."""
    count, channels, height, width = images.shape
    filters = weights.repeat_interleave(channels, 0)
    filters = filters[:, None, None, :] if axis == -1 else filters[:, None, :, None]
    values = _reflect(images.reshape(1, -1, height, width), weights.shape[1] // 2, axis)
    return conv2d(values, filters, groups=count * channels).reshape(images.shape)


def noise(images: Tensor, sd: Tensor, seeds: Tensor) -> Tensor:
    """Add Gaussian noise, for each image from its own seed.

    Args:
        images: (B, C, *spatial) float.
        sd: (B,) standard deviation in the unit of `images`, at least 0; 0 changes nothing.
        seeds: (B,) int64; the same seed gives the same noise on every device.

    Returns: like `images`; may leave its range.

    >>> noise(torch.zeros(1, 1, 64, 64), torch.tensor([0.1]), torch.tensor([7])).std().item()
    0.100...
    """
    noisy = images.clone()
    for row, (spread, seed) in enumerate(zip(sd.tolist(), seeds.tolist())):
        if spread > 0:
            pattern = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed))
            noisy[row] += spread * pattern.to(images)
    return noisy


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend each image with a slightly smoothed copy of itself, or away from it; volumes slice by slice.

    Args:
        images: (B, C, H, W) or (B, C, D, H, W) float in [0, 1].
        factor: (B,) at least 0; 1 changes nothing, 0 gives the smoothed copy, above 1 sharpens.

    Returns: like `images`, clipped to [0, 1]; the outermost pixels are kept.

    Source: torchvision's `adjust_sharpness`; 3 x 3 kernel of ones with 5 in the centre.

    >>> sharpness(torch.eye(3)[None, None], torch.tensor([0.0]))[0, 0, 1].tolist()[0]
    0.0
    """
    if images.shape[-1] < 3 or images.shape[-2] < 3:
        return images
    # The kernel is a box and four times its centre; sums of shifted images are faster than a convolution.
    rows = images[..., :-2] + images[..., 1:-1] + images[..., 2:]
    box = rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]
    smooth = images.clone()
    smooth[..., 1:-1, 1:-1] = (box + 4 * images[..., 1:-1, 1:-1]) / 13
    return torch.lerp(smooth, images, factor.to(images).view(-1, *[1] * (images.ndim - 1))).clamp(0.0, 1.0)


def _positive(sigma: Tensor) -> Tensor:
    """Where sigma is 0 only the centre is inside, and any divisor will do."""
    sigma = sigma.double().cpu()
    return torch.where(sigma > 0, sigma, 1.0)


def _reflect(values: Tensor, radius: int, axis: int) -> Tensor:
    """Continue an axis by reflection, again and again where the image is smaller than the radius."""
    left = radius
    while left > 0:
        # The border pixel itself is not repeated; a single pixel has no mirror image and is repeated.
        step = min(left, values.shape[axis] - 1)
        mode = "reflect" if step > 0 else "replicate"
        step = step or left
        values = pad(values, (step, step, 0, 0) if axis == -1 else (0, 0, step, step), mode=mode)
        left -= step
    return values
