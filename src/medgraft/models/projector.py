"""The head that pre-training puts on features and throws away afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from medgraft.errors import SettingsError


class Projector(nn.Module):
    """Linear layers without bias, with batch norm and ReLU between them.

    Args:
        inputs: numbers per feature vector.
        widths: outputs of each layer; the last is the dimension of the embedding.

    Raises:
        SettingsError: no width, or one below 1.

    Source: Zbontar et al. 2021, section 2.2 (three layers of 8192).

    >>> import torch
    >>> projector = Projector(6, (8, 8, 4))
    >>> [type(layer).__name__ for layer in projector.layers]
    ['Linear', 'BatchNorm1d', 'ReLU', 'Linear', 'BatchNorm1d', 'ReLU', 'Linear']
    >>> projector(torch.zeros(5, 6)).shape
    torch.Size([5, 4])
    """

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise SettingsError(
                "A projector", "at least one layer, of at least one output each", f"got {tuple(widths)}",
                "Give widths such as (512, 512, 512).",
            )  # fmt: skip
        layers: list[nn.Module] = []
        for before, width in pairwise((inputs, *widths)):
            layers += [nn.Linear(before, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-2])

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs) to (B, widths[-1])."""
        embeddings: Tensor = self.layers(features)
        return embeddings
