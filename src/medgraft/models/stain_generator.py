"""The two networks that learn the colours of a laboratory: one colours grey tissue, the other judges it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from medgraft.errors import ModelError, ShapeError
from medgraft.types import JSON

KERNEL, STRIDE, PADDING = 4, 2, 1
SLOPE = 0.2
WIDEST = 8
"""Channels grow to so many times the first convolution's."""
OUTER = 5
"""Levels, counted from outside, in which nothing is dropped: of the published eight the inner three remain."""
SPREAD = 0.02
"""Standard deviation of the first weights."""


class StainGenerator(nn.Module):
    """A U-Net that colours grey tiles.

    Each level halves the sides by a convolution and doubles them again; what went in is laid beside what comes out. The
    innermost level and the first have no norm, the others normalise each image by itself (instance norm), so that
    images in a batch do not matter. Tiles of any size work: they are padded inside by repeating their edge.

    Args:
        width: channels of the first convolution, doubled up to eight times as many.
        depth: number of halvings; 8 take a tile of 256 pixels to one place.
        dropout: chance, while training, of dropping what is enlarged to a 32nd of the sides or less.

    Raises:
        ModelError: width or depth below 1, or a chance outside [0, 1).

    Source: Salehi & Chalechale 2020 (STST), after Isola et al. 2017 (pix2pix); 54.4 million parameters as there with
        one input channel. Differs: instance norm, which is what their batch norm does, for it sees batches of one and
        uses their own statistics when testing too; no dropout when testing, so that a tile always gets the same
        colours; one grey channel instead of three equal ones.

    >>> generator = StainGenerator(width=4, depth=3)
    >>> colours = generator(torch.rand(2, 1, 50, 37, generator=torch.Generator().manual_seed(0)))
    >>> colours.shape, bool((colours >= 0).all() and (colours <= 1).all())
    (torch.Size([2, 3, 50, 37]), True)
    """

    settings: ClassVar[tuple[str, ...]] = ("width", "depth", "dropout")

    def __init__(self, width: int = 64, depth: int = 8, dropout: float = 0.5) -> None:
        super().__init__()
        if width < 1 or depth < 1 or not 0 <= dropout < 1:
            raise ModelError(
                "StainGenerator", "width and depth of at least 1 and a dropout from 0 to below 1",
                f"got width={width}, depth={depth}, dropout={dropout}", "Change these settings.",
            )  # fmt: skip
        self.width, self.depth, self.dropout = width, depth, dropout
        channels = [1, *(width * min(2**level, WIDEST) for level in range(depth))]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level in range(1, depth + 1):
            convolution = nn.Conv2d(channels[level - 1], channels[level], KERNEL, STRIDE, PADDING)
            norm = 1 < level < depth
            active = nn.ReLU() if level == depth else nn.LeakyReLU(SLOPE)
            self.down.append(nn.Sequential(convolution, *_norms(channels[level], norm), active))
        for level in range(depth, 0, -1):
            inputs = channels[level] * (1 if level == depth else 2)  # beside the last come the skipped ones
            outputs = channels[level - 1] if level > 1 else 3
            layers: list[nn.Module] = [nn.ConvTranspose2d(inputs, outputs, KERNEL, STRIDE, PADDING)]
            if level > 1:
                layers += _norms(outputs, True)
            if level > OUTER:
                layers.append(nn.Dropout(dropout))
            self.up.append(nn.Sequential(*layers))
        self.apply(_start_small)

    def config(self) -> JSON:
        """Width, depth and dropout."""
        return {name: getattr(self, name) for name in self.settings}

    def forward(self, grey: Tensor) -> Tensor:
        """(B, 1, H, W) in [0, 1] to red, green, blue (B, 3, H, W) in [0, 1].

        Raises:
            ShapeError: there is not one channel.
        """
        if grey.ndim != 4 or grey.shape[1] != 1:
            raise ShapeError(
                "StainGenerator",
                "grey images (B, 1, H, W)",
                f"got {tuple(grey.shape)}",
                "Take their luminance.",
            )
        tall, wide = grey.shape[2:]
        above, below = _margins(tall, 2**self.depth)
        left, right = _margins(wide, 2**self.depth)
        inner = functional.pad(grey * 2 - 1, [left, right, above, below], mode="replicate")
        skipped: list[Tensor] = []
        for layer in self.down:
            inner = layer(inner)
            skipped.append(inner)
        skipped.pop()
        for layer in self.up:
            inner = layer(inner)
            if skipped:
                inner = torch.cat([inner, skipped.pop()], dim=1).relu()
        colours = (inner.tanh() + 1) / 2
        return colours[:, :, above : above + tall, left : left + wide]


class PatchDiscriminator(nn.Module):
    """Convolutions that give every neighbourhood of a tile one logit: whether its colours are real.

    Args:
        channels: three, or four where the grey tile lies before its colours.
        width: channels of the first convolution, doubled up to eight times as many.
        depth: number of halvings; two convolutions at the last size follow.

    Source: Salehi & Chalechale 2020, after Isola et al. 2017 (PatchGAN). Differs: instance norm, for the reason given
        at `StainGenerator`. But for these norms a logit sees 142 x 142 pixels with the depth 4, and with 3 the
        published 70 x 70.

    >>> PatchDiscriminator(channels=4, width=4, depth=3)(torch.zeros(2, 4, 48, 40)).shape
    torch.Size([2, 1, 6, 5])
    """

    def __init__(self, channels: int, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        self.smallest = 2 ** (depth + 1)
        layers: list[nn.Module] = []
        for level in range(depth):
            outputs = width * min(2**level, WIDEST)
            layers.append(nn.Conv2d(channels, outputs, KERNEL, STRIDE, PADDING))
            layers += [*_norms(outputs, level > 0), nn.LeakyReLU(SLOPE)]
            channels = outputs
        same_size = nn.ZeroPad2d((PADDING, PADDING + 1, PADDING, PADDING + 1))
        layers += [same_size, nn.Conv2d(channels, channels, KERNEL), *_norms(channels, True)]
        layers += [nn.LeakyReLU(SLOPE), same_size, nn.Conv2d(channels, 1, KERNEL)]
        self.layers = nn.Sequential(*layers)
        self.apply(_start_small)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) in [0, 1] to logits (B, 1, *smaller), each side divided by 2**depth, rounded down.

        Raises:
            ShapeError: a side is too short for what is halved.
        """
        if min(images.shape[2:]) < self.smallest:
            raise ShapeError(
                "A discriminator of tiles", f"sides of at least {self.smallest} pixels",
                f"the tiles are {' x '.join(map(str, images.shape[2:]))}", "Give it larger tiles, or less depth.",
            )  # fmt: skip
        logits: Tensor = self.layers(images * 2 - 1)
        return logits


def _norms(channels: int, wanted: bool) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels, affine=True)] if wanted else []


def _margins(side: int, unit: int) -> tuple[int, int]:
    """Pixels before and after that make a side a multiple of the unit."""
    missing = -side % unit
    return missing // 2, missing - missing // 2


def _start_small(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, std=SPREAD)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
