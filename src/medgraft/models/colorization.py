"""Small networks that colour one-channel images for a backbone trained on colour images."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from medgraft.errors import ModelError, ShapeError
from medgraft.models.model import Model, register
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet
from medgraft.types import JSON, Kind, Preparation

STRIDE = 4
"""How much the trunk of DECONV and PixelShuffle shrinks an image, and their last layers enlarge it again."""
RGB = 3


class ColorModule(Model):
    """Turns one-channel images into three channels: the replicated grey, plus what the network learned to add.

    The last layer starts at zero, so that an untrained module puts out exactly the replicated grey, in the range in
    which a backbone expects its input. That start is our choice; the papers do not tell theirs. Images of any size
    work: their edge is repeated inside, and what was added is cut off again.

    Args:
        spec: kind `encode`, one channel, no classes; None is that with images scaled to [0, 1].
        mean: subtracted from the replicated grey per channel, as a backbone's preparation names it.
        std: divided by per channel.

    Raises:
        ModelError: the spec has other channels, or mean and std are not three numbers each.

    Source: Morra et al. (learned colorization, poster); Carlucci et al. 2018 (DE2CO).
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"encode"})
    mean: Tensor
    std: Tensor

    def __init__(self, spec: ModelSpec | None, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(spec or _of_one_channel("encode"))
        name = type(self).__name__
        if self.spec.channels != 1:
            raise ModelError(
                name, "images of one channel", f"the spec has {self.spec.channels}", "Set channels=1."
            )
        if len(mean) != RGB or len(std) != RGB or min(std) <= 0:
            raise ModelError(
                name, "three means and three positive standard deviations", f"got {mean} and {std}",
                "Take those of the backbone's preparation.",
            )  # fmt: skip
        self.range = tuple(mean), tuple(std)
        # rebuilt from the config: files of weights hold what was learned only
        self.register_buffer("mean", torch.tensor(self.range[0], dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(self.range[1], dtype=torch.float32), persistent=False)

    def config(self) -> JSON:
        """The backbone's mean and standard deviation."""
        return {"mean": list(self.range[0]), "std": list(self.range[1])}

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) to (B, 3, H, W) in the backbone's range."""
        return self.replicate(images) + self.residual(images)

    def replicate(self, images: Tensor) -> Tensor:
        """The grey in three channels, as the backbone's own preparation makes it: (B, 1, H, W) to (B, 3, H, W)."""
        if images.ndim != 4 or images.shape[1] != 1:
            raise ShapeError(
                type(self).__name__, "images of shape (B, 1, H, W)", f"got {tuple(images.shape)}",
                "Prepare them as model.spec.preparation says.",
            )  # fmt: skip
        return (images.repeat(1, RGB, 1, 1) - self.mean.view(1, RGB, 1, 1)) / self.std.view(1, RGB, 1, 1)

    def residual(self, images: Tensor) -> Tensor:
        """What is added to the replicated grey: (B, 1, H, W) to (B, 3, H, W); zero before any training."""
        raise NotImplementedError(f"{type(self).__name__} must define residual()")

    def in_front_of(self, preparation: Preparation) -> ColorModule:
        """A copy whose output has the range of a backbone with this preparation; what it adds stays the same.

        >>> module = DECONV(width=4, blocks=1)
        >>> imagenet = Preparation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        >>> module.in_front_of(imagenet)(torch.full((1, 1, 8, 8), 0.5))[0, :, 0, 0].detach().round(decimals=3)
        tensor([0.0660, 0.1960, 0.4180])
        """
        mean, std = preparation.mean or (0.0,) * RGB, preparation.std or (1.0,) * RGB
        module = copy.deepcopy(self)
        module.range = mean, std
        module.mean, module.std = self.mean.new_tensor(mean), self.std.new_tensor(std)
        module.spec = self.spec.changed(preparation=one_channel(preparation))
        return module


@register
class DECONV(ColorModule):
    """Colours on a grid of every fourth pixel by residual blocks, enlarged by a transposed convolution.

    The trunk: 7x7 convolution of stride 2, batch norm, leaky ReLU 0.01, max-pooling 3x3 of stride 2, residual blocks
    of two 3x3 convolutions with batch norm and leaky ReLU 0.02. Then a 1x1 convolution to three channels, which
    starts at zero, and per channel a transposed 8x8 convolution of stride 4, which starts as linear interpolation.

    Args:
        spec: as for every module.
        width: channels of the trunk.
        blocks: residual blocks.
        learned: train the enlargement too; False keeps linear interpolation, as DE2CO does.
        mean, std: of the backbone's preparation.

    Source: Carlucci et al. 2018 (DE2CO), its published layers; the poster of Morra et al. names it DECONV without
        telling sizes. Differs: starts at replicated grey; no biases before batch norm; any image size.

    >>> module = DECONV()
    >>> sum(parameter.numel() for parameter in module.parameters())
    595523
    >>> grey = torch.rand(2, 1, 45, 37, generator=torch.Generator().manual_seed(0))
    >>> bool(torch.equal(module(grey), grey.repeat(1, 3, 1, 1)))
    True
    """

    def __init__(
        self,
        spec: ModelSpec | None = None,
        *,
        width: int = 64,
        blocks: int = 8,
        learned: bool = True,
        mean: Sequence[float] = (0.0,) * RGB,
        std: Sequence[float] = (1.0,) * RGB,
    ) -> None:
        super().__init__(spec, mean, std)
        self.settings: JSON = {"width": width, "blocks": blocks, "learned": learned}
        self.trunk = _Trunk(width, blocks)
        self.colours = _from_zero(nn.Conv2d(width, RGB, kernel_size=1))
        self.enlarge = _Enlargement(RGB, learned)

    def config(self) -> JSON:
        """Width, blocks, whether the enlargement is learned; mean and standard deviation."""
        return self.settings | super().config()

    def residual(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) to (B, 3, H, W)."""
        padded, top, left = _padded(images)
        added: Tensor = self.enlarge(self.colours(self.trunk(padded)))
        return _cut_out(added, images, top, left)


@register
class PixelShuffle(ColorModule):
    """Colours on a grid of every fourth pixel, 16 of them per place, laid out as the pixels between.

    The trunk is that of `DECONV`; then a 3x3 convolution to 3 * 16 channels, which starts at zero.

    Args:
        spec: as for every module.
        width: channels of the trunk.
        blocks: residual blocks.
        mean, std: of the backbone's preparation.

    Source: Morra et al. (poster), the name only; Shi et al. 2016 for the shuffling. Sizes are ours.

    >>> PixelShuffle(width=4, blocks=1)(torch.zeros(1, 1, 50, 37)).shape
    torch.Size([1, 3, 50, 37])
    """

    def __init__(
        self,
        spec: ModelSpec | None = None,
        *,
        width: int = 64,
        blocks: int = 8,
        mean: Sequence[float] = (0.0,) * RGB,
        std: Sequence[float] = (1.0,) * RGB,
    ) -> None:
        super().__init__(spec, mean, std)
        self.settings: JSON = {"width": width, "blocks": blocks}
        self.trunk = _Trunk(width, blocks)
        self.colours = _from_zero(nn.Conv2d(width, RGB * STRIDE**2, kernel_size=3, padding=1))

    def config(self) -> JSON:
        """Width and blocks; mean and standard deviation."""
        return self.settings | super().config()

    def residual(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) to (B, 3, H, W)."""
        padded, top, left = _padded(images)
        added = functional.pixel_shuffle(self.colours(self.trunk(padded)), STRIDE)
        return _cut_out(added, images, top, left)


@register
class ColorU(ColorModule):
    """Colours from a small U-Net at full resolution, whose 1x1 head starts at zero.

    Args:
        spec: as for every module.
        width: channels of the first level, doubled at every level below.
        depth: halvings. With the defaults it has 0.48 million parameters, about as many as `DECONV`.
        mean, std: of the backbone's preparation.

    Source: Morra et al. (poster), the name only. Sizes are ours.

    >>> ColorU(width=4, depth=2)(torch.zeros(1, 1, 50, 37)).shape
    torch.Size([1, 3, 50, 37])
    """

    def __init__(
        self,
        spec: ModelSpec | None = None,
        *,
        width: int = 16,
        depth: int = 3,
        mean: Sequence[float] = (0.0,) * RGB,
        std: Sequence[float] = (1.0,) * RGB,
    ) -> None:
        super().__init__(spec, mean, std)
        self.settings: JSON = {"width": width, "depth": depth}
        # its "classes" are what it adds to each channel
        colours = _of_one_channel("segment", ("red", "green", "blue"))
        self.unet = UNet(colours, width=width, depth=depth)
        _from_zero(self.unet.head)

    def config(self) -> JSON:
        """Width and depth; mean and standard deviation."""
        return self.settings | super().config()

    def residual(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) to (B, 3, H, W)."""
        added: Tensor = self.unet(images)
        return added


def one_channel(preparation: Preparation) -> Preparation:
    """The same preparation for one channel, without mean and standard deviation."""
    return preparation.model_copy(update={"channels": 1, "mean": None, "std": None})


def _of_one_channel(kind: Kind, classes: tuple[str, ...] = ()) -> ModelSpec:
    return ModelSpec(kind=kind, classes=classes, channels=1, preparation=Preparation(channels=1))


class _Trunk(nn.Sequential):
    """From one channel to `width` at a quarter of the height and width."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__(
            nn.Conv2d(1, width, kernel_size=7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.01),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            *(_ResidualBlock(width) for _ in range(blocks)),
        )


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm beside a shortcut; leaky ReLU between and after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)

    def forward(self, inner: Tensor) -> Tensor:
        between = functional.leaky_relu(self.first_norm(self.first(inner)), 0.02)
        return functional.leaky_relu(inner + self.second_norm(self.second(between)), 0.02)


class _Enlargement(nn.Module):
    """Each channel four times as high and wide by a transposed convolution that starts as linear interpolation."""

    weight: Tensor

    def __init__(self, channels: int, learned: bool) -> None:
        super().__init__()
        side = 2 * STRIDE
        # how near each fine pixel's centre is to that of the coarse one, in coarse pixels
        taps = 1 - (torch.arange(side) + 0.5 - STRIDE).abs() / STRIDE
        weight = torch.outer(taps, taps).expand(channels, 1, side, side).clone()
        if learned:
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)

    def forward(self, coarse: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 4H, 4W). Outside the image counts as zero."""
        return functional.conv_transpose2d(
            coarse, self.weight, stride=STRIDE, padding=STRIDE // 2, groups=coarse.shape[1]
        )


def _from_zero(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _padded(images: Tensor) -> tuple[Tensor, int, int]:
    """Images with repeated edges up to a multiple of four, at least eight, and what was put above and left.

    Batch norm needs more than one place per channel, hence eight.
    """
    tall, wide = (max(2, -(-side // STRIDE)) * STRIDE - side for side in images.shape[2:])
    top, left = tall // 2, wide // 2
    if not tall and not wide:
        return images, 0, 0
    return functional.pad(images, (left, wide - left, top, tall - top), mode="replicate"), top, left


def _cut_out(padded: Tensor, images: Tensor, top: int, left: int) -> Tensor:
    height, width = images.shape[2:]
    return padded[:, :, top : top + height, left : left + width]
