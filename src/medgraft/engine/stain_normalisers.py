"""What brings tissue to the colours of a reference laboratory: fitted to its tiles, or learned from them."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from medgraft.errors import DataError
from medgraft.images.color import mix_channels
from medgraft.images.preparation import LUMINANCE
from medgraft.images.reinhard import LabStatistics, Reinhard
from medgraft.images.stain import Macenko, Normalised, Stains, Vahadane, checked, tissue_share
from medgraft.models.stain_generator import StainGenerator
from medgraft.types import JSON

LEAST_TISSUE = 0.01
"""Share of a tile below lightness 80 that makes it tissue; that of the classical normalisers."""


class Normaliser(nn.Module):
    """Brings tiles to the colours of a reference laboratory, which it holds as buffers or parameters.

    A subclass names itself and stands in `NORMALISERS`; then it is saved and loaded with the model that carries it. One
    that looks at each tile by itself, as learned ones do, only defines `config` and `forward`.
    """

    name: ClassVar[str]

    def config(self) -> JSON:
        """What besides its state rebuilds it."""
        raise NotImplementedError(f"{type(self).__name__} must define config()")

    @classmethod
    def from_config(cls, config: JSON) -> Self:
        """One without state, ready to be loaded; the inverse of `config`."""
        return cls(**config)

    def fit(self, images: Tensor) -> tuple[Tensor, ...] | None:
        """Find what the tiles of a region have in common.

        Args:
            images: (B, 3, H, W) float in [0, 1]: the tiles of a region, or some of their pixels in any arrangement.

        Returns: what `forward` takes as `region`; None where all tiles together hold too little tissue. Here nothing.
        """
        return ()

    def forward(self, images: Tensor, region: tuple[Tensor, ...] | None = None) -> Normalised:
        """Change tiles.

        Args:
            images: (B, 3, H, W) float in [0, 1].
            region: from `fit` on the tiles of their region; None takes each by itself.

        Returns: the images, and which were changed.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward()")


class FittedNormaliser(Normaliser):
    """Macenko's, Vahadane's or Reinhard's normalisation to the colours of reference tiles.

    Args:
        method: with its settings.
        reference: from its `fit` on the reference; None is empty, to be loaded.

    >>> from medgraft.images.hed import hed_to_rgb
    >>> tiles = hed_to_rgb(0.1 * torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    >>> normaliser = FittedNormaliser(Macenko(), Macenko().fit(tiles))
    >>> normaliser(tiles, normaliser.fit(tiles)).changed
    tensor([True, True])
    """

    name: ClassVar[str] = "fitted"

    def __init__(
        self, method: Macenko | Vahadane | Reinhard, reference: Stains | LabStatistics | None = None
    ) -> None:
        super().__init__()
        self.method: Any = method
        if reference is None:
            is_lab = isinstance(method, Reinhard)
            numbers = torch.zeros(3)
            reference = LabStatistics(numbers, numbers) if is_lab else Stains(torch.zeros(3, 2), numbers[:2])
        self._made_of = type(reference)
        for name, tensor in reference._asdict().items():
            self.register_buffer(name, tensor.double().clone())

    @property
    def reference(self) -> Stains | LabStatistics:
        """Colours of the reference laboratory."""
        return self._made_of(*(self.get_buffer(name) for name in self._made_of._fields))

    def config(self) -> JSON:
        """The method's name and settings."""
        name = type(self.method).__name__.lower()
        return {"method": name, "settings": self.method.model_dump(mode="json")}

    @classmethod
    def from_config(cls, config: JSON) -> Self:
        """One without reference, ready to be loaded."""
        known = {"macenko": Macenko, "vahadane": Vahadane, "reinhard": Reinhard}
        return cls(known[config["method"]](**config["settings"]))

    def fit(self, images: Tensor) -> tuple[Tensor, ...] | None:
        """The tiles' own colours; see `Normaliser.fit`.

        Raises:
            DataError: values lie outside [0, 1].
        """
        images = checked(type(self.method).__name__, images)
        try:
            found: Stains | LabStatistics = self.method.fit(images)
        except DataError:  # all that is left to object to is too little tissue
            return None
        return found

    def forward(self, images: Tensor, region: tuple[Tensor, ...] | None = None) -> Normalised:
        """Tiles in the colours of the reference; see `Normaliser.forward`."""
        changed: Normalised = self.method.normalise(images, self.reference, region)
        return changed


class LearnedNormaliser(Normaliser):
    """Gives each tile the colours that a network learned for grey ones, whatever its own were.

    Args:
        generator: trained on tiles of the reference laboratory.

    >>> tiles = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    >>> tiles[1] = 1.0  # glass
    >>> normaliser = LearnedNormaliser(StainGenerator(width=4, depth=2)).eval()
    >>> normaliser(tiles).changed
    tensor([ True, False])
    """

    name: ClassVar[str] = "learned"

    def __init__(self, generator: StainGenerator) -> None:
        super().__init__()
        self.generator = generator

    def config(self) -> JSON:
        """Settings of the network."""
        return self.generator.config()

    @classmethod
    def from_config(cls, config: JSON) -> Self:
        """One with a fresh network, ready to be loaded."""
        return cls(StainGenerator(**config))

    def forward(self, images: Tensor, region: tuple[Tensor, ...] | None = None) -> Normalised:
        """Tiles in learned colours; those with too little tissue as they came. See `Normaliser.forward`.

        Raises:
            ShapeError: the images are no float RGB images.
            DataError: values lie outside [0, 1].
        """
        images = checked("LearnedNormaliser", images)
        changed = shows_tissue(images)
        return Normalised(torch.where(changed[:, None, None, None], self.regenerate(images), images), changed)

    def regenerate(self, images: Tensor) -> Tensor:
        """Tiles (B, 3, H, W) in [0, 1] in learned colours, all of them."""
        colours: Tensor = self.generator(to_grey(images))
        return colours


NORMALISERS: dict[str, type[Normaliser]] = {kind.name: kind for kind in (FittedNormaliser, LearnedNormaliser)}


def shows_tissue(images: Tensor) -> Tensor:
    """Which tiles (B, 3, H, W) in [0, 1] are darker than glass in 1 % of their pixels or more: (B,) bool."""
    return tissue_share(images) >= LEAST_TISSUE


def to_grey(images: Tensor) -> Tensor:
    """Luminance of tiles: (B, 3, H, W) to (B, 1, H, W), both in [0, 1]."""
    return mix_channels(images, torch.tensor([LUMINANCE])).clamp(0.0, 1.0)
