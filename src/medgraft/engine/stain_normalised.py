"""A model that sees tissue in the colours of the laboratory it was trained on: tiles are normalised, then predicted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from medgraft.engine.randomness import generator
from medgraft.engine.stain_normalisers import NORMALISERS, Normaliser, shows_tissue
from medgraft.errors import ModelError
from medgraft.images.color import is_grey
from medgraft.images.preparation import Preparer
from medgraft.images.stain import Normalised
from medgraft.models.model import Model, Prediction, evaluation_mode, register
from medgraft.models.spec import ModelSpec
from medgraft.models.wrapped import Wrapped
from medgraft.types import JSON, Kind, Preparation

Per = Literal["region", "tile"]
AT_ONCE = 32
"""Tiles that are changed and go through the network together."""
PIXELS = 2**21
"""Pixels of a region from which its colours are found, at most."""
LITTLE_TISSUE = "not normalised: too little tissue"
GREY = "not normalised: grey, so it has no stains"
TILE_BY_TILE = (
    "brings each tile to the same colours, whatever it shows: in a trial on small tiles that lost half of the accuracy"
    "; name the slide or region in the column 'patient' and keep per='region'"
)
"""What it costs to find colours in single tiles, and what to do."""
ALONE = "normalised by itself: no other image of its patient"


class Region(NamedTuple):
    """What the tiles of a region have in common.

    colours: as their normaliser found them; None where there is too little tissue in all of them, or it is grey.
    tiles: how many there are.
    """

    colours: tuple[Tensor, ...] | None
    tiles: int


@register
class StainNormalised(Wrapped):
    """A trained model that predicts tiles in the colours of its own laboratory.

    `predict` brings prepared tiles back to [0, 1], clips what resampling overshot, normalises them, prepares them again
    and asks the network. Per region it finds the colours of all tiles of a patient together (`survey`) and changes all
    of them alike; per tile it finds those of each by itself, which is much worse where tiles differ in
    what they show. Tiles with too little tissue (per region: all of it together) reach the network as they came, and so
    does tissue in grey.

    `remarks` tells which rows were not normalised, and which had no other tile of their region beside them. `forward`
    and `features` are those of the network, of images as they are.

    Args:
        spec: that of the network.
        network: the trained model, of whole colour images; itself, not a copy.
        normaliser: to the colours of the network's laboratory.
        per: what is normalised together.
        seed: of the places whose pixels are looked at in regions of more than `PIXELS`; the same ones in every tile.

    Raises:
        ModelError: the network sees no colour images, parts of them, or images whose prepared values stand for other
            colours in each; or it is adapted at prediction already.

    >>> from medgraft.engine.stain_normalisers import FittedNormaliser
    >>> from medgraft.images.reinhard import Reinhard
    >>> from medgraft.testing import make_model
    >>> tiles = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> network = make_model("segment", channels=3)
    >>> normaliser = FittedNormaliser(Reinhard(), Reinhard().fit(tiles))
    >>> model = StainNormalised(network.spec, network=network, normaliser=normaliser)
    >>> model.predict(tiles).probabilities.shape
    torch.Size([4, 2, 32, 32])
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(("classify", "multilabel", "segment"))
    needs_levels = True

    def __init__(
        self,
        spec: ModelSpec,
        *,
        network: Model,
        normaliser: Normaliser,
        per: Per = "region",
        seed: int = 0,
    ) -> None:
        super().__init__(spec)
        check_colours(spec.preparation)
        if network.predict_by != "image" or isinstance(network, StainNormalised):
            raise ModelError(
                "StainNormalised", "a network that predicts images as they are",
                f"this {type(network).__name__} changes them itself", "Take the model that it was made of.",
            )  # fmt: skip
        self.network, self.normaliser = network, normaliser
        self.per, self.seed = per, seed
        self.predict_by = "survey" if per == "region" else "image"
        self.order_matters = network.order_matters

    def config(self) -> JSON:
        """The network, what rebuilds the normaliser, and the settings."""
        return {
            "network": self.network,
            "normaliser": {"name": self.normaliser.name, "config": self.normaliser.config()},
            "per": self.per,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: JSON, spec: ModelSpec) -> Self:
        """The model with an empty normaliser, ready to be loaded."""
        name = config["normaliser"]["name"]
        if name not in NORMALISERS:
            raise ModelError(
                "StainNormalised", f"a normaliser among {', '.join(sorted(NORMALISERS))}", f"got {name!r}",
                "Use the medgraft version that wrote the model.",
            )  # fmt: skip
        normaliser = NORMALISERS[name].from_config(config["normaliser"]["config"])
        return cls(spec, **(config | {"normaliser": normaliser}))

    def blocks(self) -> dict[str, tuple[str, ...]]:
        """The normaliser's parameters, where it has any, then the network's blocks."""
        own = tuple(f"normaliser.{name}" for name, _ in self.normaliser.named_parameters())
        return {"normaliser": own} | super().blocks() if own else super().blocks()

    def survey(self, batches: Iterable[Tensor], count: int) -> Region:
        """Find the colours of a region in some pixels of all its tiles.

        Args:
            batches: its tiles, each (B, 3, H, W) float, prepared as `spec.preparation` says.
            count: of tiles in all batches.

        Raises:
            DataError: something else than numbers.
        """
        each = max(1, PIXELS // max(1, count))
        few = [sample_pixels(tiles, each, generator(self.seed, "pixels")) for tiles in batches]
        with evaluation_mode(self), torch.no_grad():
            seen = to_unit(torch.cat(few, dim=3), self.spec.preparation)
            return Region(None if bool(is_grey(seen)) else self.normaliser.fit(seen), count)

    def predict(
        self,
        images: Tensor,
        rows: np.ndarray | None = None,
        positions: np.ndarray | None = None,
        common: Region | None = None,
    ) -> Prediction:
        """Predict tiles, per region of one; in evaluation mode, without gradient; every module keeps its mode.

        Args:
            images: (n, 3, H, W) float, prepared as `spec.preparation` says.
            rows: (n,) positions in the cohort, for remarks.
            positions: not used.
            common: of their region, from `survey`; None finds it in these tiles. Per tile it is not used.

        Raises:
            DataError: something else than numbers.
        """
        region = self._region(images, common)
        parts, changed = [], []
        with evaluation_mode(self), torch.no_grad():
            start = 0
            for seen, of_part in self._pieces(images, region):
                here = slice(start, start + len(seen))
                parts.append(self.network.predict(seen, rows=None if rows is None else rows[here]))
                changed.append(of_part)
                start += len(seen)
        if rows is not None:
            alone = region is not None and region.tiles == 1
            self._remark(rows, images, torch.cat(changed), alone)
        return Prediction(*(torch.cat(tensors) for tensors in zip(*parts)))

    def normalise(self, images: Tensor, common: Region | None = None) -> Normalised:
        """Tiles as the network sees them when they are predicted, and which were changed.

        Args:
            images, common: as for `predict`.

        Raises:
            DataError: something else than numbers.
        """
        region = self._region(images, common)
        with evaluation_mode(self), torch.no_grad():
            return Normalised(*(torch.cat(tensors) for tensors in zip(*self._pieces(images, region))))

    def _region(self, images: Tensor, common: Region | None) -> Region | None:
        """That of tiles, found in themselves where it was not before; per tile None."""
        if self.per == "tile":
            return None
        return self.survey([images], len(images)) if common is None else common

    def _pieces(self, images: Tensor, region: Region | None) -> Iterator[Normalised]:
        for seen in torch.split(images, AT_ONCE):
            if region is None:
                yield self._normalised(seen, None)
            elif region.colours is not None:
                yield self._normalised(seen, region.colours)
            else:
                yield Normalised(seen, torch.zeros(len(seen), dtype=torch.bool))

    def _normalised(self, images: Tensor, found: tuple[Tensor, ...] | None) -> Normalised:
        """Prepared tiles in the colours of the reference; those that were not changed bit for bit."""
        preparation = self.spec.preparation
        colours = to_unit(images, preparation)
        normalised, changed = self.normaliser(colours, found)
        changed = changed & ~in_grey(colours).to(changed.device)
        where = changed.to(images.device)[:, None, None, None]
        return Normalised(torch.where(where, from_unit(normalised, preparation), images), changed.cpu())

    def _remark(self, rows: np.ndarray, images: Tensor, changed: Tensor, alone: bool) -> None:
        for row, image, is_changed in zip(rows.tolist(), images, changed.tolist()):
            if not is_changed:
                grey = bool(in_grey(to_unit(image[None], self.spec.preparation)))
                self.remarks[row] = GREY if grey else LITTLE_TISSUE
            elif alone:
                self.remarks[row] = ALONE


def check_colours(preparation: Preparation) -> None:
    """Refuse a preparation from which colours cannot be told, or after which a tile is not seen whole.

    Raises:
        ModelError: it is one.
    """
    if preparation.dimensions != 2 or preparation.slices != 1 or preparation.channels != 3:
        expected, got = "a network of images in red, green and blue", f"this one sees {_shape(preparation)}"
    elif preparation.intensity not in ("unit", "window"):
        expected = (
            "a network whose input stands for the same colours in every image (intensity unit or window)"
        )
        got = f"this one's intensity is {preparation.intensity}"
    elif preparation.patch is not None:
        expected, got = "a network that sees whole tiles", f"this one sees patches of {preparation.patch}"
    else:
        return
    raise ModelError("Stain normalisation", expected, got, "Start from one that was trained so.")


def _shape(preparation: Preparation) -> str:
    if preparation.dimensions != 2 or preparation.slices != 1:
        return "parts of volumes"
    return f"{preparation.channels} channel{'s' if preparation.channels > 1 else ''}"


def in_grey(images: Tensor) -> Tensor:
    """Which tiles (B, 3, H, W) in [0, 1] show tissue without any colour: (B,) bool. Glass may be grey."""
    grey = is_grey(images)
    return grey & shows_tissue(images) if grey.any() else grey


def to_unit(images: Tensor, preparation: Preparation) -> Tensor:
    """Prepared images (B, 3, H, W) back in [0, 1], black to white; what resampling overshot is clipped.

    >>> to_unit(torch.tensor([-1.0, 0.0, 1.2]).view(1, 3, 1, 1), Preparation(mean=(0.5,) * 3, std=(0.5,) * 3)).flatten()
    tensor([0.0000, 0.5000, 1.0000])
    """
    low, span = _low_and_span(images, preparation)
    return ((images - low) / span).clamp_(0.0, 1.0)


def from_unit(images: Tensor, preparation: Preparation) -> Tensor:
    """Images in [0, 1] as the network sees them; the inverse of `to_unit`."""
    low, span = _low_and_span(images, preparation)
    return images * span + low


def _low_and_span(images: Tensor, preparation: Preparation) -> tuple[Tensor, Tensor]:
    known = Preparer(preparation).value_range
    assert known is not None  # of the intensities that `check_colours` lets through
    low, high = (images.new_tensor(end).view(-1, 1, 1) for end in known)
    return low, high - low


def sample_pixels(images: Tensor, each: int, chance: torch.Generator) -> Tensor:
    """Pixels of tiles: all of them, or those at the same random places of every tile.

    Args:
        images: (B, C, H, W).
        each: pixels of every tile, at most.
        chance: on the CPU.

    Returns: (1, C, 1, N), one tile after the other.

    >>> sample_pixels(torch.rand(3, 3, 8, 8), 33, torch.Generator()).shape
    torch.Size([1, 3, 1, 99])
    """
    tall, wide = images.shape[2:]
    if each >= tall * wide:
        return images.transpose(0, 1).reshape(1, images.shape[1], 1, -1)
    places = torch.randperm(tall * wide, generator=chance)[:each].to(images.device)
    taken = images[:, :, places // wide, places % wide]
    return taken.transpose(0, 1).reshape(1, images.shape[1], 1, -1)
