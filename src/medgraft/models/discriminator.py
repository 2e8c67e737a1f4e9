"""The small network that tells maps of two sites apart."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from medgraft.errors import ShapeError

STAGES = 4
KERNEL, STRIDE, PADDING = 4, 2, 1
SLOPE = 0.2
SMALLEST = 2 ** (STAGES + 1)
"""Pixels a side needs: every convolution halves it, and the last one has to leave something."""

_CONVOLUTION: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}


class Discriminator(nn.Module):
    """Five convolutions that give every neighbourhood of a map of classes one logit: which site it comes from.

    Each convolution halves the sides. With the default width and two classes it has 2.8 million parameters.

    Args:
        channels: of the maps, one per class.
        width: channels of the first convolution, doubled by the next three.
        dimensions: 2, images; 3, volumes.

    Source: Tsai et al. 2018 (AdaptSegNet), section 4.1, after Radford et al. 2016; no norms, so no batch statistics.

    >>> import torch
    >>> Discriminator(channels=2, width=4)(torch.zeros(3, 2, 64, 40)).shape
    torch.Size([3, 1, 2, 1])
    """

    def __init__(self, channels: int, width: int = 64, dimensions: int = 2) -> None:
        super().__init__()
        self.dimensions = dimensions
        layers: list[nn.Module] = []
        for stage in range(STAGES):
            outputs = width * 2**stage
            layers += [
                _CONVOLUTION[dimensions](channels, outputs, KERNEL, stride=STRIDE, padding=PADDING),
                nn.LeakyReLU(SLOPE),
            ]
            channels = outputs
        layers.append(_CONVOLUTION[dimensions](channels, 1, KERNEL, stride=STRIDE, padding=PADDING))
        self.layers = nn.Sequential(*layers)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, K, *spatial) to logits (B, 1, *smaller), each side a 32nd, rounded down.

        Raises:
            ShapeError: a side has fewer than 32 pixels.
        """
        sides = tuple(maps.shape[2:])
        if len(sides) != self.dimensions or min(sides) < SMALLEST:
            raise ShapeError(
                "A discriminator of maps", f"{self.dimensions} sides of at least {SMALLEST} pixels",
                f"the images are {' x '.join(map(str, sides))}",
                f"Set a larger size or patch, for instance --set size={[SMALLEST] * self.dimensions}, or choose a "
                "method without a discriminator.",
            )  # fmt: skip
        logits: Tensor = self.layers(maps)
        return logits
