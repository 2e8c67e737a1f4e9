"""Bring tissue to the colours of another laboratory: Macenko, Vahadane and Reinhard, fitted to one image or to many.

A single tile often holds too little of a stain to tell its colour. Where the tiles of a whole slide or region are at
hand, fit them together and pass that as `source`; all of them are then changed alike.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from medgraft.errors import DataError
from medgraft.images.cielab import lab_to_rgb, rgb_to_lab
from medgraft.images.color import check_rgb

FAINT = 0.01
"""Strengths below this optical density, which a tile without that stain has, are not amplified further."""
NEAREST = math.sin(math.radians(0.5))
"""Stains of directions closer than half a degree cannot be told apart."""
STRENGTH = 0.99
"""Quantile of a stain's amounts that is matched to the reference."""
GLASS = 80.0
"""Lightness at and above which a pixel is background."""
FLAT = 1e-3
"""Standard deviation in CIELAB below which a channel is constant and is only shifted."""

Share = Annotated[float, Field(ge=0, le=1)]


class Stains(NamedTuple):
    """Colours and strengths of two stains."""

    vectors: Tensor
    """(3, 2) unit optical density in red, green and blue; columns haematoxylin, eosin."""
    strengths: Tensor
    """(2,) 99th percentile of the amounts over all pixels, background included."""


class LabStatistics(NamedTuple):
    """Colours of whole images, background included."""

    mean: Tensor
    """(3,) of L, a, b."""
    sd: Tensor
    """(3,) standard deviations of L, a, b, over N."""


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
        images = _checked(who, images)
        stains = self._stains(images.transpose(0, 1).reshape(3, -1))
        if stains is None:
            raise _no_tissue(who)
        return stains

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
        result, changed = images.clone(), torch.ones(len(images), dtype=torch.bool)
        for row, image in enumerate(_checked(type(self).__name__, images).flatten(2)):
            own = self._stains(image) if source is None else source
            if own is None:
                changed[row] = False
                continue
            gain = target.strengths.to(image) / own.strengths.to(image).clamp(min=FAINT)
            amounts = self._amounts(self._density(image), own) * gain[:, None]
            result[row] = self._colours(target.vectors.to(image) @ amounts).reshape(images.shape[1:])
        return Normalised(result, changed)

    def amounts(self, images: Tensor, stains: Stains) -> Tensor:
        """Amount of haematoxylin and eosin in every pixel.

        Args:
            images: (B, 3, H, W) float in [0, 1].
            stains: from `fit`.

        Returns: (B, 2, H, W) optical density.
        """
        pixels = _checked(type(self).__name__, images).transpose(0, 1).reshape(3, -1)
        amounts = self._amounts(self._density(pixels), stains)
        return amounts.reshape(2, len(images), *images.shape[2:]).transpose(0, 1).to(images.dtype)

    def _stains(self, pixels: Tensor) -> Stains | None:
        """Stains of (3, N) pixels; None where there is too little tissue, or one colour only."""
        density = self._density(pixels)
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
        return stains._replace(strengths=torch.stack([quantile(row, STRENGTH) for row in amounts]))

    @abstractmethod
    def _density(self, pixels: Tensor) -> Tensor:
        """Optical density of (3, N) pixels."""

    @abstractmethod
    def _colours(self, density: Tensor) -> Tensor:
        """Back from optical density."""

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

    >>> tiles = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> macenko = Macenko()
    >>> macenko.normalise(tiles, target=macenko.fit(tiles[:1])).changed
    tensor([True, True])
    """

    white: Annotated[float, Field(gt=0)] = 240.0
    """Level of 256 of light that passed no tissue."""
    background: Annotated[float, Field(ge=0)] = 0.15
    """Pixels with a channel of lower optical density are background."""
    extremes: Annotated[float, Field(ge=0, lt=0.5)] = 0.01
    """Share of the tissue beyond each of the two directions."""

    def _density(self, pixels: Tensor) -> Tensor:
        return (pixels * (255 / self.white) + 1 / self.white).log_().neg_()

    def _colours(self, density: Tensor) -> Tensor:
        return density.neg().exp_().mul_(self.white / 255).clamp_(0.0, 1.0)

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
        angles = torch.atan2(*(torch.stack([across, along]) @ density))
        low = -quantile(torch.where(tissue, -angles, -math.inf), 1 - self.extremes, count)
        high = quantile(torch.where(tissue, angles, -math.inf), 1 - self.extremes, count)
        return along * low.cos() + across * low.sin(), along * high.cos() + across * high.sin()

    def _amounts(self, density: Tensor, stains: Stains) -> Tensor:
        return torch.linalg.pinv(stains.vectors.to(density)) @ density


class Vahadane(_TwoStains):
    """Stain normalisation by a sparse non-negative dictionary of two colours.

    Minimises 1/2 |V - W H|^2 + sparsity * sum(H) with W, H >= 0 and unit columns of W, by turns: H exactly, pixel by
    pixel, then each column of W exactly. Amounts are never negative.

    Source: Vahadane et al. 2016; background, floor and the two sparsities are those of StainTools. Differs: all of the
        chosen pixels at every step instead of mini-batches; tiles with too little tissue are returned as they came.

    >>> tiles = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
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
        return pixels.clamp(min=1 / 255).log_().neg_()

    def _colours(self, density: Tensor) -> Tensor:
        return density.neg().exp_().clamp_(0.0, 1.0)

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


class Reinhard(BaseModel):
    """Match mean and standard deviation of CIELAB, over whole images.

    Source: Reinhard et al. 2001, in CIELAB as is usual for tissue; `modified` is Roy et al. 2021. Differs: values are
        never rounded; tiles with too little tissue are returned as they came.

    >>> tiles = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> reinhard = Reinhard()
    >>> own = reinhard.normalise(tiles[:1], target=reinhard.fit(tiles[:1])).images
    >>> bool(torch.allclose(own, tiles[:1], atol=1e-5))
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modified: bool = False
    """Only shift a and b; stretch lightness about its own mean, by the spread it lacks or else by 5 %."""
    least_tissue: Share = 0.01
    """Least share of pixels below lightness 80."""

    def fit(self, images: Tensor) -> LabStatistics:
        """Mean and spread of one image or, over the pixels of all, of a set.

        Args:
            images: (B, 3, H, W) float in [0, 1].

        Returns: the statistics, float64.

        Raises:
            ShapeError: the images are no float RGB images.
            DataError: values lie outside [0, 1], or all images together hold too little tissue.
        """
        found = [(_statistics(lab), _tissue_share(lab)) for lab in map(_lab, _checked("Reinhard", images))]
        if not found or sum(share for _, share in found) < self.least_tissue * len(found):
            raise _no_tissue("Reinhard")
        means = torch.stack([each.mean for each, _ in found])
        variances = torch.stack([each.sd**2 for each, _ in found])
        spread = variances.mean(0) + means.var(0, correction=0)  # all images have the same number of pixels
        return LabStatistics(means.mean(0), spread.sqrt())

    def normalise(
        self, images: Tensor, target: LabStatistics, source: LabStatistics | None = None
    ) -> Normalised:
        """Give images the mean and spread of a reference.

        Args:
            images: (B, 3, H, W) float in [0, 1].
            target: statistics of the reference, from `fit`.
            source: statistics of these images, from `fit` on all tiles of their slide or region; every image is then
                changed. None takes each image's own and leaves those with too little tissue.

        Returns: the images, clipped to [0, 1], and which were changed.

        Raises:
            ShapeError: the images are no float RGB images.
            DataError: values lie outside [0, 1].
        """
        result, changed = images.clone(), torch.ones(len(images), dtype=torch.bool)
        for row, image in enumerate(_checked("Reinhard", images)):
            lab = _lab(image)
            if source is None and _tissue_share(lab) < self.least_tissue:
                changed[row] = False
                continue
            own = _statistics(lab) if source is None else source
            gain, mean = self._gain_and_mean(own, LabStatistics(*(each.to(own.mean) for each in target)))
            shift = mean - own.mean * gain
            matched = lab.mul_(gain.to(lab)[:, None, None]).add_(shift.to(lab)[:, None, None])
            result[row] = lab_to_rgb(matched[None])[0]
        return Normalised(result, changed)

    def _gain_and_mean(self, own: LabStatistics, target: LabStatistics) -> tuple[Tensor, Tensor]:
        if not self.modified:
            flat = own.sd < FLAT
            return torch.where(flat, 1.0, target.sd / torch.where(flat, 1.0, own.sd)), target.mean
        lack = (target.sd[0] - own.sd[0]) / target.sd[0].clamp(min=FLAT)
        gain, mean = torch.ones_like(own.sd), target.mean.clone()
        gain[0] += torch.where(lack > 0, lack, 0.05)
        mean[0] = own.mean[0]
        return gain, mean


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
    # Atoms at an acute angle: where the free solution is negative in one place, that place is 0 and the other is on its own.
    first = ((one - cosine * other) / (1 - cosine**2).clamp(min=1e-6)).clamp_(min=0)
    second = (other - cosine * first).clamp_(min=0)
    return torch.stack([(one - cosine * second).clamp_(min=0), second])


def quantile(values: Tensor, share: float, count: int | None = None) -> Tensor:
    """A high quantile of the `count` largest values, interpolated as NumPy does; it never sorts all of them.

    >>> quantile(torch.arange(101.0), 0.985)
    tensor(98.5000)
    """
    rank = (1 - share) * ((len(values) if count is None else count) - 1)
    above = math.floor(rank)
    top = values.topk(min(above + 2, len(values))).values
    return torch.lerp(top[above], top[min(above + 1, len(top) - 1)], rank - above)


def _checked(who: str, images: Tensor) -> Tensor:
    """Images in float32 or more, if they are what they should be."""
    check_rgb(who, images)
    if images.numel() > 0:
        low, high = (float(end) for end in images.aminmax())
        if not (low >= 0 and high <= 1):
            raise DataError(
                who, "values in [0, 1]", f"got {low:g} to {high:g}",
                "Divide by the greatest value of the file's type, and clip what resampling overshot.",
            )  # fmt: skip
    return images.float() if images.element_size() < 4 else images


def _no_tissue(who: str) -> DataError:
    return DataError(
        who, "images with tissue of two colours", "these are (almost) background, or of one colour",
        "Fit images with more tissue, or pass more tiles at once.",
    )  # fmt: skip


def _lab(image: Tensor) -> Tensor:
    return rgb_to_lab(image[None])[0]


def _tissue_share(lab: Tensor) -> float:
    return float((lab[0] < GLASS).sum()) / lab[0].numel()


def _statistics(lab: Tensor) -> LabStatistics:
    variance, mean = torch.var_mean(lab.flatten(1), 1, correction=0)
    return LabStatistics(mean.double(), variance.double().sqrt())
