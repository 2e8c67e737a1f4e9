"""Learn from images by filling in what is masked: masks, the token that stands for what is hidden, head and loss.

Source of all: Xie et al. 2022 (SimMIM), as Ma et al. 2022 used it for chest films.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from medgraft.errors import SettingsError, ShapeError

NO_MASK = 1e-5
"""Added to the number of masked pixels, so that the loss of an empty mask is 0. Source: the code of SimMIM."""


def masked_units(height: int, width: int, unit: int = 32, ratio: float = 0.6) -> int:
    """How many units of an image are hidden: the ratio of all, rounded up.

    Args:
        height: of the image in pixels, a multiple of `unit`; so is `width`.
        width: likewise.
        unit: side of the squares that are hidden, in pixels; need not be that of the network's patches.
        ratio: share of units to hide, above 0 and below 1.

    Raises:
        SettingsError: the ratio is outside (0, 1), or the unit below 1.
        ShapeError: units do not fill the image, it is smaller than one, or none would be left to see.

    Source: SimMIM's code. Differs: the product is freed of rounding errors first (0.55 of 100 units are 55, not 56).

    >>> masked_units(192, 192), masked_units(224, 224)  # of 36, of 49
    (22, 30)
    """
    if not 0 < ratio < 1 or unit < 1:
        raise SettingsError(
            "Masking", "a ratio above 0 and below 1, and units of at least 1 pixel",
            f"got ratio={ratio} and unit={unit}", "Take ratio=0.6 and unit=32, as published.",
        )  # fmt: skip
    if min(height, width) < unit:
        raise ShapeError(
            "Masking", f"images of at least {unit} x {unit} pixels, the mask unit", f"these are {height} x {width}",
            "Prepare to a larger size, or take a smaller unit.",
        )  # fmt: skip
    if height % unit or width % unit:
        raise ShapeError(
            "Masking", f"images whose height and width are multiples of the mask unit {unit}",
            f"these are {height} x {width}",
            f"Prepare to {height // unit * unit} x {width // unit * unit}, or take a unit that divides both.",
        )  # fmt: skip
    units = (height // unit) * (width // unit)
    masked = math.ceil(round(ratio * units, 9))
    if masked == units:
        raise ShapeError(
            "Masking", "at least one unit that is left to see",
            f"{ratio} of {units} units, rounded up, are all of them",
            "Take a smaller unit or ratio, or larger images.",
        )  # fmt: skip
    return masked


def draw_masks(
    count: int,
    height: int,
    width: int,
    generator: torch.Generator,
    unit: int = 32,
    ratio: float = 0.6,
) -> Tensor:
    """Choose which units of each image are hidden: equally many in each, all choices equally likely.

    Args:
        count: images.
        height: in pixels, a multiple of `unit`; so is `width`.
        width: likewise.
        generator: on the CPU.
        unit: side of the squares that are hidden, in pixels.
        ratio: share of units to hide, above 0 and below 1; see `masked_units`.

    Returns: (count, height / unit, width / unit) bool on the CPU, True is hidden; `spread_masks` brings it to the grid
        of patches or pixels. Those of the first images are the same however many follow.

    Raises: what `masked_units` raises.

    >>> draw_masks(2, 192, 192, torch.Generator().manual_seed(0)).sum((1, 2))
    tensor([22, 22])
    """
    masked = masked_units(height, width, unit, ratio)
    rows, columns = height // unit, width // unit
    order = torch.rand(count, rows * columns, generator=generator, dtype=torch.float64).argsort(1)
    masks = torch.zeros(count, rows * columns, dtype=torch.bool).scatter(1, order[:, :masked], True)
    return masks.reshape(count, rows, columns)


def spread_masks(masks: Tensor, rows: int, columns: int) -> Tensor:
    """Repeat a mask of units for all patches or pixels in them.

    Args:
        masks: (B, h, w) of units.
        rows: of the finer grid, a multiple of h: of patches, or the height in pixels.
        columns: likewise, of w.

    Returns: (B, rows, columns), dtype and device of `masks`.

    Raises:
        ShapeError: a patch would lie in two units.

    >>> spread_masks(torch.tensor([[[True, False]]]), rows=2, columns=4)
    tensor([[[ True,  True, False, False],
             [ True,  True, False, False]]])
    """
    if masks.ndim != 3 or 0 in masks.shape[1:] or rows % masks.shape[1] or columns % masks.shape[2]:
        raise ShapeError(
            "spread_masks", f"masks (B, h, w) whose h divides {rows} and w divides {columns}",
            f"got {tuple(masks.shape)}", "Take a mask unit that is a multiple of the network's patch.",
        )  # fmt: skip
    down, right = rows // masks.shape[1], columns // masks.shape[2]
    return masks.repeat_interleave(down, 1).repeat_interleave(right, 2)


class MaskToken(nn.Module):
    """Put one learned vector in the place of all hidden patches, before positions are added.

    Args:
        channels: of a patch's embedding.

    Source: SimMIM; drawn from a normal distribution of standard deviation 0.02, cut off at ±2 as timm does.

    >>> token = MaskToken(channels=4)
    >>> hidden = torch.tensor([[True, False]])
    >>> token(torch.ones(1, 2, 4), hidden)[0, 1]
    tensor([1., 1., 1., 1.], grad_fn=<SelectBackward0>)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(channels))
        nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self, tokens: Tensor, masks: Tensor) -> Tensor:
        """Embeddings (B, ..., channels), masks (B, ...) bool: True is hidden; result like the embeddings.

        Raises:
            ShapeError: the two do not fit together, or other channels.
        """
        if tokens.shape != (*masks.shape, len(self.token)):
            raise ShapeError(
                "MaskToken", f"embeddings (B, ..., {len(self.token)}) and masks (B, ...) of the same patches",
                f"got {tuple(tokens.shape)} and {tuple(masks.shape)}",
                "Spread the masks to the grid of patches, and flatten them where the embeddings are a list.",
            )  # fmt: skip
        return torch.where(masks.to(tokens.device).bool().unsqueeze(-1), self.token.to(tokens.dtype), tokens)


class ReconstructionHead(nn.Sequential):
    """Draw an image from the last feature map: one linear layer for each place, which gives all pixels that it covers.

    Args:
        channels: of the feature map.
        stride: pixels of the image per place of the map, along each axis: 32 for Swin and most convolutional networks,
            16 for ViT-B/16.
        image_channels: of the image.

    Source: SimMIM, and the same in POPAR: 1 x 1 convolution, then pixel shuffle.

    >>> ReconstructionHead(channels=8, stride=16)(torch.zeros(2, 8, 3, 4)).shape
    torch.Size([2, 3, 48, 64])
    """

    def __init__(self, channels: int, stride: int, image_channels: int = 3) -> None:
        super().__init__(nn.Conv2d(channels, stride**2 * image_channels, 1), nn.PixelShuffle(stride))


def masked_l1_loss(restored: Tensor, images: Tensor, masks: Tensor) -> Tensor:
    """Mean absolute error of the hidden pixels; what is said of the others does not matter.

    Args:
        restored: (B, C, H, W) float, any range.
        images: (B, C, H, W) float, as the network saw them but for the mask, so standardised if it wants that.
        masks: (B, H, W) bool, True is hidden.

    Returns: scalar, float32 or more: the sum over hidden pixels of the batch and channels, divided by their number
        (1e-5 more, see `NO_MASK`) and by C; 0 where nothing is hidden.

    Raises:
        ShapeError: the three do not fit together.

    Source: SimMIM's code. Differs: C is that of the images, not always 3.

    >>> hidden = torch.tensor([[[True, False]]])
    >>> masked_l1_loss(torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.5, 9.0]]]]), hidden)
    tensor(0.5000)
    """
    fitting = images.ndim == 4 and restored.shape == images.shape
    if not fitting or masks.shape != (len(images), *images.shape[2:]):
        raise ShapeError(
            "masked_l1_loss", "two images (B, C, H, W) alike and masks (B, H, W)",
            f"got {tuple(restored.shape)}, {tuple(images.shape)} and {tuple(masks.shape)}",
            "Spread the masks to the pixels, and give the head the stride of the network.",
        )  # fmt: skip
    difference = restored.float() - images.float() if images.element_size() <= 4 else restored - images
    hidden = masks.to(images.device).bool()
    total = difference.abs().masked_fill(~hidden[:, None], 0.0).sum()
    return total / (hidden.sum() + NO_MASK) / images.shape[1]
