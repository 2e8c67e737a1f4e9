"""A two-dimensional U-Net whose blocks have names, so that "first layers" and "bottleneck" mean something."""

from __future__ import annotations

from math import gcd
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from medgraft.errors import ModelError, ShapeError
from medgraft.models.model import Model, register
from medgraft.models.spec import ModelSpec
from medgraft.types import JSON, Kind

Norm = Literal["batch", "instance", "group", "none"]
MOST_GROUPS = 8


@register
class UNet(Model):
    """A U-Net that gives every pixel a class.

    Blocks from input to output: encoder1 .. encoderN, bottleneck, decoderN .. decoder1, head. Images of any
    size work: they are padded inside by repeating their edge, and the outputs are cropped back.

    Args:
        spec: kind `segment`; or `encode`, which puts out the bottleneck's mean and has no head.
        width: channels of encoder1, doubled at every level below.
        depth: number of halvings, N.
        residual: add a shortcut around each pair of convolutions.
        norm: after each convolution; `group` has at most 8 groups.

    Source: Ronneberger et al. 2015. Differs: padded convolutions, a norm, a quarter of the width by default.

    >>> model = UNet(ModelSpec(kind="segment", classes=("rest", "nucleus")), width=4, depth=2)
    >>> list(model.blocks())
    ['encoder1', 'encoder2', 'bottleneck', 'decoder2', 'decoder1', 'head']
    >>> model(torch.zeros(1, 3, 50, 37)).shape
    torch.Size([1, 2, 50, 37])
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(("segment", "encode"))

    def __init__(
        self,
        spec: ModelSpec,
        *,
        width: int = 16,
        depth: int = 4,
        residual: bool = False,
        norm: Norm = "batch",
    ) -> None:
        super().__init__(spec)
        if width < 1 or depth < 1 or norm not in get_args(Norm):
            raise ModelError(
                "UNet", f"width and depth of at least 1 and a norm among {', '.join(get_args(Norm))}",
                f"got width={width}, depth={depth}, norm={norm!r}", "Change these settings.",
            )  # fmt: skip
        self.width, self.depth, self.residual = width, depth, residual
        self.norm: Norm = norm
        channels = spec.channels
        for level in range(1, depth + 1):
            self.add_module(f"encoder{level}", _Convolutions(channels, width, residual, norm))
            channels, width = width, width * 2
        self.bottleneck = _Convolutions(channels, width, residual, norm)
        for level in range(depth, 0, -1):
            self.add_module(f"decoder{level}", _Decoder(width, residual, norm))
            width //= 2
        if spec.kind == "segment":
            self.head = nn.Conv2d(width, len(spec.classes), kernel_size=1)

    def config(self) -> JSON:
        """Width, depth, residual, norm."""
        return {"width": self.width, "depth": self.depth, "residual": self.residual, "norm": self.norm}

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, K, H, W), or to features (B, D) for `encode`."""
        if self.spec.kind == "encode":
            return self.features(images)
        padded, (top, left) = self._pad(images)
        inner, skipped = self._encode(padded)
        for level in range(self.depth, 0, -1):
            inner = self.get_submodule(f"decoder{level}")(inner, skipped[level - 1])
        outputs: Tensor = self.head(inner)
        return outputs[..., top : top + images.shape[2], left : left + images.shape[3]]

    def features(self, images: Tensor) -> Tensor:
        """Mean of the bottleneck over space: (B, C, H, W) to (B, width * 2**depth)."""
        inner, _ = self._encode(self._pad(images)[0])
        return inner.mean(dim=(2, 3))

    def _encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        skipped: list[Tensor] = []
        inner = images
        for level in range(1, self.depth + 1):
            inner = self.get_submodule(f"encoder{level}")(inner)
            skipped.append(inner)
            inner = functional.max_pool2d(inner, kernel_size=2)
        return self.bottleneck(inner), skipped

    def _pad(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Pad to a multiple of 2**depth, at least twice it: norms need more than one value per channel."""
        if images.ndim != 4 or images.shape[1] != self.spec.channels:
            raise ShapeError(
                "UNet", f"images of shape (B, {self.spec.channels}, H, W)", f"got {tuple(images.shape)}",
                "Prepare them as model.spec.preparation says, or regraft its channels.",
            )  # fmt: skip
        unit = 2**self.depth
        height, width = (max(2, -(-side // unit)) * unit - side for side in images.shape[2:])
        top, left = height // 2, width // 2
        edges = (left, width - left, top, height - top)
        padded = functional.pad(images, edges, mode="replicate") if any(edges) else images
        return padded, (top, left)


class _Convolutions(nn.Module):
    """Two 3x3 convolutions, each with norm and ReLU; `residual` adds a shortcut before the last ReLU."""

    def __init__(self, inputs: int, outputs: int, residual: bool, norm: Norm) -> None:
        super().__init__()
        bias = norm == "none"
        self.first = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=bias)
        self.first_norm = _norm(norm, outputs)
        self.second = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=bias)
        self.second_norm = _norm(norm, outputs)
        self.shortcut: nn.Module | None = None
        if residual:
            self.shortcut = nn.Conv2d(inputs, outputs, kernel_size=1) if inputs != outputs else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        inner = self.first_norm(self.first(images)).relu()
        inner = self.second_norm(self.second(inner))
        if self.shortcut is not None:
            inner = inner + self.shortcut(images)
        return torch.relu(inner)


class _Decoder(nn.Module):
    """Doubles the size, halves the channels, and convolves together with what the encoder skipped across."""

    def __init__(self, inputs: int, residual: bool, norm: Norm) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(inputs, inputs // 2, kernel_size=2, stride=2)
        self.convolutions = _Convolutions(inputs, inputs // 2, residual, norm)

    def forward(self, inner: Tensor, skipped: Tensor) -> Tensor:
        outputs: Tensor = self.convolutions(torch.cat([skipped, self.enlarge(inner)], dim=1))
        return outputs


def _norm(norm: Norm, channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    if norm == "group":
        return nn.GroupNorm(gcd(MOST_GROUPS, channels), channels)
    return nn.Identity()
