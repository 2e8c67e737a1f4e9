"""A trained model inside another that changes how images are predicted, and nothing else."""

from __future__ import annotations

from torch import Tensor

from medgraft.models.model import Model


class Wrapped(Model):
    """Base of models around a trained one; a subclass defines `predict` and `config`.

    `forward`, `features` and the head are those of the network inside, of images as they are.
    """

    network: Model

    def forward(self, images: Tensor) -> Tensor:
        """Raw outputs of the network, of images as they are."""
        outputs: Tensor = self.network(images)
        return outputs

    def features(self, images: Tensor) -> Tensor:
        """Features of the network, of images as they are."""
        return self.network.features(images)

    def head_outputs(self, features: Tensor) -> Tensor:
        """(B, D) to (B, K), of the network."""
        return self.network.head_outputs(features)

    def blocks(self) -> dict[str, tuple[str, ...]]:
        """The network's blocks."""
        inner = self.network.blocks().items()
        return {block: tuple(f"network.{name}" for name in names) for block, names in inner}
