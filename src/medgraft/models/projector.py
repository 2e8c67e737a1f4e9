"""The head that pre-training puts on features and throws away afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from medgraft.errors import SettingsError

Norms = Literal["none", "hidden", "all"]


class Projector(nn.Module):
    """Linear layers with batch norm and ReLU between them; projectors and predictors are of this kind.

    Args:
        inputs: numbers per feature vector.
        widths: outputs of each layer; the last is the dimension of the embedding.
        norms: `hidden`: batch norm behind all layers but the last; `all`: behind the last too, there without scale and
            shift; `none`: no batch norm. Layers have a bias where there is no batch norm at all.
        bias: the last layer has one in any case, as SimSiam's predictor.

    Raises:
        SettingsError: no width, or one below 1.

    Source: Zbontar et al. 2021, section 2.2 (three layers of 8192, `hidden`); Chen et al. 2020 (MoCo v2, `none`);
        Chen & He 2021 (SimSiam) and Chen et al. 2021 (MoCo v3) (`all`).

    >>> import torch
    >>> projector = Projector(6, (8, 8, 4))
    >>> [type(layer).__name__ for layer in projector.layers]
    ['Linear', 'BatchNorm1d', 'ReLU', 'Linear', 'BatchNorm1d', 'ReLU', 'Linear']
    >>> projector(torch.zeros(5, 6)).shape
    torch.Size([5, 4])
    """

    def __init__(
        self, inputs: int, widths: Sequence[int], norms: Norms = "hidden", bias: bool = False
    ) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise SettingsError(
                "A projector", "at least one layer, of at least one output each", f"got {tuple(widths)}",
                "Give widths such as (512, 512, 512).",
            )  # fmt: skip
        layers: list[nn.Module] = []
        for place, (before, width) in enumerate(pairwise((inputs, *widths)), 1):
            biased = norms == "none" or (bias and place == len(widths))
            norm = [] if norms == "none" else [nn.BatchNorm1d(width)]
            layers += [nn.Linear(before, width, bias=biased), *norm, nn.ReLU()]
        layers.pop()
        if norms != "none":
            layers.pop()
        if norms == "all":
            layers.append(nn.BatchNorm1d(widths[-1], affine=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs) to (B, widths[-1])."""
        embeddings: Tensor = self.layers(features)
        return embeddings
