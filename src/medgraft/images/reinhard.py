"""Bring tissue to the colours of another laboratory by mean and spread of CIELAB."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from medgraft.images.cielab import lab_to_rgb, rgb_to_lab
from medgraft.images.stain import GLASS, Normalised, Share, checked, no_tissue

FLAT = 1e-3
"""Standard deviation in CIELAB below which a channel is constant and is only shifted."""


class LabStatistics(NamedTuple):
    """Colours of whole images, background included."""

    mean: Tensor
    """(3,) of L, a, b."""
    sd: Tensor
    """(3,) standard deviations of L, a, b, over N."""


class Reinhard(BaseModel):
    """Match mean and standard deviation of CIELAB, over whole images.

    Source: Reinhard et al. 2001, in CIELAB as is usual for tissue; `modified` is Roy et al. 2021. Differs: values are
        never rounded; tiles with too little tissue are returned as they came.

    >>> from medgraft.images.hed import hed_to_rgb
    >>> tiles = hed_to_rgb(0.1 * torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
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
        found = [(_statistics(lab), _tissue_share(lab)) for lab in map(_lab, checked("Reinhard", images))]
        if not found or sum(share for _, share in found) < self.least_tissue * len(found):
            raise no_tissue("Reinhard")
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
        for row, image in enumerate(checked("Reinhard", images)):
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


def _lab(image: Tensor) -> Tensor:
    return rgb_to_lab(image[None])[0]


def _tissue_share(lab: Tensor) -> float:
    return float((lab[0] < GLASS).sum()) / lab[0].numel()


def _statistics(lab: Tensor) -> LabStatistics:
    rows = lab.flatten(1)
    mean = rows.mean(1)
    return LabStatistics(mean.double(), (rows - mean[:, None]).square_().mean(1).double().sqrt())
