"""A linear classifier on image statistics: the baseline that every network has to beat."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from medgraft.models.model import Model, register
from medgraft.models.spec import ModelSpec
from medgraft.types import JSON, Kind

Statistics = Literal["majority", "colour", "pixels"]


@register
class SimpleClassifier(Model):
    """Standardised statistics of the image, then one linear layer.

    Args:
        spec: kind `classify`.
        statistics: `majority`: none, a constant answer. `colour`: mean and standard deviation of each channel.
            `pixels`: the image averaged to `side` x `side`.
        side: pixels per side for `pixels`.

    >>> spec = ModelSpec(kind="classify", classes=("a", "b"))
    >>> SimpleClassifier(spec, "pixels", side=2).features(torch.ones(1, 3, 8, 8)).shape
    torch.Size([1, 12])
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify"})
    shift: Tensor
    scale: Tensor

    def __init__(self, spec: ModelSpec, statistics: Statistics, side: int = 12) -> None:
        super().__init__(spec)
        self.statistics: Statistics = statistics
        self.side = side
        width = {"majority": 1, "colour": 2 * spec.channels, "pixels": side * side * spec.channels}[
            statistics
        ]
        self.register_buffer("shift", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.head = nn.Linear(width, len(spec.classes))

    def config(self) -> JSON:
        """Statistics and side."""
        return {"statistics": self.statistics, "side": self.side}

    def features(self, images: Tensor) -> Tensor:
        """Standardised statistics: (B, C, H, W) to (B, D)."""
        return (self.measure(images) - self.shift) / self.scale

    def measure(self, images: Tensor) -> Tensor:
        """Statistics before standardisation: (B, C, H, W) to (B, D)."""
        if self.statistics == "majority":
            return images.new_zeros(len(images), 1)
        if self.statistics == "colour":
            return torch.cat([images.mean((2, 3)), images.std((2, 3), correction=0)], dim=1)
        return adaptive_avg_pool2d(images, self.side).flatten(1)

    def head_outputs(self, features: Tensor) -> Tensor:
        """(B, D) to (B, K)."""
        outputs: Tensor = self.head(features)
        return outputs

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K)."""
        return self.head_outputs(self.features(images))
