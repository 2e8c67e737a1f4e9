"""Bring tissue to the colours of another laboratory by its two stains: Macenko and Vahadane, fitted to images.

A single tile often holds too little of a stain to tell its colour. Where the tiles of a whole slide or region are at
hand, fit them together and pass that as `source`; all of them are then changed alike.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from medgraft.errors import DataError
from medgraft.images.cielab import rgb_to_lab
from medgraft.images.color import check_unit_rgb, exp_, log

FAINT = 0.01
"""Strengths below this optical density, which a tile without that stain has, are not amplified further."""
NEAREST = math.sin(math.radians(0.5))
"""Stains of directions closer than half a degree cannot be told apart."""
STRENGTH = 0.99
"""Quantile of a stain's amounts that is matched to the reference."""
GLASS = 80.0
"""Lightness at and above which a pixel is background."""
SAMPLED = 17
"""One value in so many tells about where a quantile lies; those far below are not looked at again."""

Share = Annotated[float, Field(ge=0, le=1)]


class Stains(NamedTuple):
    """Colours and strengths of two stains."""

    vectors: Tensor
    """(3, 2) unit optical density in red, green and blue; columns haematoxylin, eosin."""
    strengths: Tensor
    """(2,) 99th percentile of the amounts over all pixels, background included."""


class Normalised(NamedTuple):
    """Images in the colours of the reference."""

    images: Tensor
    """(B, 3, H, W) in [0, 1], like those given."""
    changed: Tensor
    """(B,) bool; False where an image had too little tissue and was returned as it came."""


class _TwoStains(BaseModel, ABC):
    """What Macenko and Vahadane share: they differ in how they find the stains and their amounts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_tissue: Share = 0.01
    """Least share of tissue pixels from which stains are estimated."""

    def fit(self, images: Tensor) -> Stains:
        """Find the stains of one image or, over the pixels of all, of a set.

        Args:
            images: (B, 3, H, W) float in [0, 1].

        Returns: the stains, in the images' dtype (float32 for shorter ones).

        Raises:
            ShapeError: the images are no float RGB images.
            DataError: values lie outside [0, 1], or all images together hold too little tissue.
        """
        who = type(self).__name__
        images = checked(who, images)
        pixels = images.transpose(0, 1).reshape(3, -1)
        with _full_precision(images):
            found = self._found(pixels, self._density(pixels))
        if found is None:
            raise no_tissue(who)
        return found[0]

    def normalise(self, images: Tensor, target: Stains, source: Stains | None = None) -> Normalised:
        """Give images the stains of a reference, keeping where there is how much of each.

        Args:
            images: (B, 3, H, W) float in [0, 1].
            target: stains of the reference, from `fit`.
            source: stains of these images, from `fit` on all tiles of their slide or region; every image is then
                changed. None estimates each image's own and leaves those with too little tissue.

        Returns: the images, and which were changed.

        Raises:
            ShapeError: the images are no float RGB images.
            DataError: values lie outside [0, 1].
        """
        pixels = checked(type(self).__name__, images).flatten(2)
        result, changed = torch.empty_like(pixels), torch.ones(len(images), dtype=torch.bool)
        for row, image in enumerate(pixels):
            with _full_precision(image):
                changed[row] = self._match(image, target, source, out=result[row])
        return Normalised(result.reshape(images.shape).to(images.dtype), changed)

    def amounts(self, images: Tensor, stains: Stains) -> Tensor:
        """Amount of haematoxylin and eosin in every pixel.

        Args:
            images: (B, 3, H, W) float in [0, 1].
            stains: from `fit`.

        Returns: (B, 2, H, W) optical density.
        """
        pixels = checked(type(self).__name__, images).transpose(0, 1).reshape(3, -1)
        with _full_precision(images):
            amounts = self._amounts(self._density(pixels), stains)
        return amounts.reshape(2, len(images), *images.shape[2:]).transpose(0, 1).to(images.dtype)

    def _match(self, pixels: Tensor, target: Stains, source: Stains | None, out: Tensor) -> bool:
        """Give (3, N) pixels the target's stains; False, and no change, where their own cannot be found."""
        density = self._density(pixels)
        found = self._found(pixels, density) if source is None else (source, self._amounts(density, source))
        if found is None:
            out.copy_(pixels)
            return False
        own, amounts = found
        gain = target.strengths.to(pixels) / own.strengths.to(pixels).clamp(min=FAINT)
        self._colours(torch.mm(target.vectors.to(pixels) * gain, amounts, out=out))
        return True

    def _found(self, pixels: Tensor, density: Tensor) -> tuple[Stains, Tensor] | None:
        """Stains of (3, N) pixels and their (2, N) amounts; None where there is too little tissue or one colour."""
        tissue = self._tissue(pixels, density)
        count = int(tissue.sum())
        if count < max(2.0, self.least_tissue * len(tissue)):
            return None
        one, other = self._vectors(density, tissue, count)
        if not torch.linalg.cross(one, other).norm() > NEAREST:
            return None
        vectors = torch.stack([one, other] if one[0] > other[0] else [other, one], 1)
        stains = Stains(vectors, vectors.new_ones(2))
        amounts = self._amounts(density, stains)
        return stains._replace(strengths=torch.stack([quantile(row, STRENGTH) for row in amounts])), amounts

    @abstractmethod
    def _density(self, pixels: Tensor) -> Tensor:
        """Optical density of (3, N) pixels."""

    @abstractmethod
    def _colours(self, density: Tensor) -> Tensor:
        """Back from optical density, in place."""

    @abstractmethod
    def _tissue(self, pixels: Tensor, density: Tensor) -> Tensor:
        """(N,) bool, False for background."""

    @abstractmethod
    def _vectors(self, density: Tensor, tissue: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Two unit vectors, in any order."""

    @abstractmethod
    def _amounts(self, density: Tensor, stains: Stains) -> Tensor:
        """(2, N) amounts of each stain in (3, N) densities."""


class Macenko(_TwoStains):
    """Stain normalisation by the two extreme directions of optical density.

    Source: Macenko et al. 2009; defaults of the package torchstain. Differs: angles are counted from the mean colour of
        the tissue, so they cannot wrap around; tiles with too little tissue are returned as they came; no rounding.

    >>> from medgraft.images.hed import hed_to_rgb
    >>> tiles = hed_to_rgb(0.1 * torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    >>> macenko = Macenko()
    >>> macenko.normalise(tiles, target=macenko.fit(tiles[:1])).changed
    tensor([True, True])
    """

    white: Annotated[float, Field(gt=0)] = 240.0
    """Level of 256 of light that passed no tissue."""
    background: Annotated[float, Field(ge=0)] = 0.15
    """Pixels with any channel of lower optical density are background. Eosin lets red through: where it is pale, or the
    glass is brighter than `white`, none of it counts and its colour is lost."""
    extremes: Annotated[float, Field(ge=0, lt=0.5)] = 0.01
    """Share of the tissue beyond each of the two directions."""

    def _density(self, pixels: Tensor) -> Tensor:
        light = (pixels * (255 / self.white)).add_(1 / self.white)
        return log(light, out=light).neg_()

    def _colours(self, density: Tensor) -> Tensor:
        return exp_(density, -1.0).mul_(self.white / 255).clamp_(0.0, 1.0)

    def _tissue(self, pixels: Tensor, density: Tensor) -> Tensor:
        return density.amin(0) >= self.background

    def _vectors(self, density: Tensor, tissue: Tensor, count: int) -> tuple[Tensor, Tensor]:
        weight = tissue.to(density)
        mean = density @ weight / count
        centred = (density - mean[:, None]).mul_(weight)
        _, axes = torch.linalg.eigh((centred @ centred.mT).double() / (count - 1))
        normal = axes[:, 0].to(density)
        along = torch.nn.functional.normalize(mean - normal * (normal @ mean), dim=0)
        across = torch.linalg.cross(normal, along)
        rise, run = torch.stack([across, along]) @ density
        angles = rise.atan2_(run)
        behind = weight.sub_(1).mul_(10)  # takes the background's angles, of at most pi, out of the way
        low = -quantile(behind - angles, 1 - self.extremes, count)
        high = quantile(behind.add_(angles), 1 - self.extremes, count)
        return along * low.cos() + across * low.sin(), along * high.cos() + across * high.sin()

    def _amounts(self, density: Tensor, stains: Stains) -> Tensor:
        vectors = stains.vectors.to(density.device, torch.float64)
        inverse: Tensor = torch.linalg.solve(vectors.mT @ vectors, vectors.mT)
        return inverse.to(density) @ density


class Vahadane(_TwoStains):
    """Stain normalisation by a sparse non-negative dictionary of two colours.

    Minimises 1/2 |V - W H|^2 + sparsity * sum(H) with W, H >= 0 and unit columns of W, by turns: H exactly, pixel by
    pixel, then each column of W exactly. Amounts are never negative.

    Source: Vahadane et al. 2016; background, floor and the two sparsities are those of StainTools. Differs: all of the
        chosen pixels at every step instead of mini-batches; tiles with too little tissue are returned as they came.

    >>> from medgraft.images.hed import hed_to_rgb
    >>> tiles = hed_to_rgb(0.1 * torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    >>> vahadane = Vahadane()
    >>> bool((vahadane.amounts(tiles, vahadane.fit(tiles)) >= 0).all())
    True
    """

    sparsity: Annotated[float, Field(ge=0)] = 0.1
    """Cost of each unit of stain while the colours are sought."""
    sparsity_of_amounts: Annotated[float, Field(ge=0)] = 0.01
    """Cost of each unit of stain afterwards."""
    pixels: Annotated[int, Field(ge=2)] = 20_000
    """Tissue pixels from which colours are sought; chosen at random where there are more."""
    rounds: Annotated[int, Field(ge=1)] = 200
    """Most turns; it ends sooner when the colours stand still."""
    seed: int = 0
    """Of the pixels chosen and of the first two colours."""

    def _density(self, pixels: Tensor) -> Tensor:
        return log(pixels.clamp(min=1 / 255)).neg_()

    def _colours(self, density: Tensor) -> Tensor:
        return exp_(density, -1.0).clamp_(0.0, 1.0)

    def _tissue(self, pixels: Tensor, density: Tensor) -> Tensor:
        return rgb_to_lab(pixels[None, :, None])[0, 0, 0] < GLASS

    def _vectors(self, density: Tensor, tissue: Tensor, count: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(count, generator=generator)[: self.pixels]
        density = density[:, tissue.nonzero().squeeze(1)[chosen.to(tissue.device)]]
        directions = torch.nn.functional.normalize(density, dim=0)
        farthest = (directions[:, 0] @ directions).argmin()
        colours = torch.stack([directions[:, 0], directions[:, farthest]], 1)
        for _ in range(self.rounds):
            amounts = lasso_of_two(density, colours, self.sparsity)
            square, product = amounts @ amounts.mT, density @ amounts.mT
            before, colours = colours, colours.clone()
            for one, other in ((0, 1), (1, 0)):
                rest = (product[:, one] - colours[:, other] * square[one, other]).clamp(min=0)
                if rest.any():
                    colours[:, one] = rest / rest.norm()
            if (colours - before).abs().max() < 1e-5:
                break
        return colours[:, 0], colours[:, 1]

    def _amounts(self, density: Tensor, stains: Stains) -> Tensor:
        return lasso_of_two(density, stains.vectors.to(density), self.sparsity_of_amounts)


def tissue_share(images: Tensor) -> Tensor:
    """(B,) float64: share of the pixels of images (B, 3, H, W) in [0, 1] that are darker than glass.

    >>> tissue_share(torch.tensor([1.0, 0.9, 0.5, 0.0]).expand(1, 3, 1, 4))
    tensor([0.5000], dtype=torch.float64)
    """
    return (rgb_to_lab(images)[:, 0] < GLASS).double().mean(dim=(1, 2))


def lasso_of_two(values: Tensor, atoms: Tensor, sparsity: float) -> Tensor:
    """Solve min over h >= 0 of 1/2 |v - atoms h|^2 + sparsity * sum(h) for every v, exactly.

    Args:
        values: (C, N) float, one v per column.
        atoms: (C, 2) of unit length, at least 0, not parallel.
        sparsity: at least 0.

    Returns: (2, N) h.

    >>> atoms = torch.tensor([[0.6, 0.0], [0.8, 1.0]])
    >>> lasso_of_two(torch.tensor([[0.6, 0.6], [1.8, 0.1]]), atoms, 0.0)
    tensor([[1.0000, 0.4400],
            [1.0000, 0.0000]])
    """
    one, other = (atoms.mT @ values).sub_(sparsity)
    cosine = atoms[:, 0] @ atoms[:, 1]
    # The angle is acute: where the free solution is negative in one place, that is 0 and the other stands alone.
    first = ((one - cosine * other) / (1 - cosine**2).clamp(min=1e-6)).clamp_(min=0)
    second = (other - cosine * first).clamp_(min=0)
    return torch.stack([(one - cosine * second).clamp_(min=0), second])


def quantile(values: Tensor, share: float, count: int | None = None) -> Tensor:
    """A high quantile of the `count` largest values, interpolated as NumPy does; it sorts none of them.

    >>> quantile(torch.arange(101.0), 0.985)
    tensor(98.5000)
    """
    rank = (1 - share) * ((len(values) if count is None else count) - 1)
    above = math.floor(rank)
    needed = min(above + 2, len(values))
    found = values.cpu().numpy()
    sample = found[::SAMPLED]
    likely = int(1.3 * needed / SAMPLED) + 8
    if likely < len(sample):
        most = found[found >= np.partition(sample, -likely)[-likely]]
        found = most if len(most) >= needed else found
    top = np.partition(found, -needed)[-needed:]
    upper = top[needed - above - 1 :].min()
    return values.new_tensor(upper + (top[0] - upper) * (rank - above))


def checked(who: str, images: Tensor) -> Tensor:
    """Images in float32 or more, if they are float RGB in [0, 1]; else ShapeError or DataError."""
    check_unit_rgb(who, images, overshoot=0.0)
    return (images.float() if images.element_size() < 4 else images).contiguous()


def _full_precision(images: Tensor) -> torch.autocast:
    return torch.autocast(images.device.type, enabled=False)


def no_tissue(who: str) -> DataError:
    """The error for images from which nothing can be fitted."""
    return DataError(
        who, "images with tissue of two colours", "these are (almost) background, or of one colour",
        "Fit images with more tissue, or pass more tiles at once.",
    )  # fmt: skip
