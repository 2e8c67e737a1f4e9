"""What surface metrics are made of, counted so that the slices or volumes of a patient add up exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from medgraft.metrics.borders import ROUNDING, Borders, Elements, Floats

_DIGITS = 6  # of a mm; distances on a grid that agree so far are the same distance


class Distances(NamedTuple):
    """The different distances of one border from the other, mm, ascending, and how much of it lies so far away."""

    values: Floats
    sizes: Floats

    def joined(self, others: Distances) -> Distances:
        """Both together."""
        return _group(
            np.concatenate([self.values, others.values]), np.concatenate([self.sizes, others.sizes])
        )

    def mean(self) -> float:
        """Mean over the border."""
        return float(np.average(self.values, weights=self.sizes))

    def percentile(self, percent: float, by: Elements) -> float:
        """The distance that this share of the border keeps; of voxels, with linear interpolation."""
        if by == "voxel":
            return float(np.percentile(np.repeat(self.values, self.sizes.round().astype(np.intp)), percent))
        reached = np.cumsum(self.sizes)
        place = int(np.searchsorted(reached / reached[-1], percent / 100))
        return float(self.values[min(place, len(self.values) - 1)])


@dataclass(frozen=True)
class SurfaceCounts:
    """Two borders compared on any number of images, all slices or all volumes.

    size: area (mm^2), length (mm) or number of voxels of both borders.
    within: as much of it as lies within the tolerance of the other border.
    there, back: distances from the true border and from the predicted one, over images that show both.
    images: how many were compared.
    undefined: how many of them show one border only, from which no distance leads anywhere.
    """

    by: Elements
    size: float
    within: float
    there: Distances
    back: Distances
    images: int = 1
    undefined: int = 0

    def __add__(self, other: SurfaceCounts) -> SurfaceCounts:
        return SurfaceCounts(
            self.by,
            self.size + other.size,
            self.within + other.within,
            self.there.joined(other.there),
            self.back.joined(other.back),
            self.images + other.images,
            self.undefined + other.undefined,
        )

    def dice(self) -> float:
        """Share of both borders within the tolerance; without any border 1."""
        return self.within / self.size if self.size else 1.0

    def means(self) -> tuple[float, float]:
        """Mean distance from truth to prediction and back, mm; without any border 0, where none is known NaN."""
        if not len(self.there.values):
            return (self._without,) * 2
        return self.there.mean(), self.back.mean()

    def percentile(self, percent: float) -> float:
        """The larger of both directions' percentiles, mm; without any border 0, where none is known NaN."""
        if not len(self.there.values):
            return self._without
        return max(found.percentile(percent, self.by) for found in (self.there, self.back))

    @property
    def _without(self) -> float:
        return float("nan") if self.undefined else 0.0


def count_surfaces(borders: Borders, tolerance: float, by: Elements) -> SurfaceCounts:
    """Count how far two borders lie apart, and how much of them lies within a tolerance in mm.

    >>> from medgraft.metrics.borders import extract_borders
    >>> one, other = np.array([[True, True, False]]), np.array([[True, True, True]])
    >>> counts = count_surfaces(extract_borders(one, other, np.ones(2), "voxel"), 0, "voxel")
    >>> counts.dice(), (counts + counts).means()
    (0.8, (0.0, 0.3333333333333333))
    """
    sides = (borders.truth, borders.predicted)
    size = sum(side.size for side in sides)
    nothing = Distances(np.zeros(0), np.zeros(0))
    shown = sum(len(side.where) > 0 for side in sides)
    if shown < 2:
        return SurfaceCounts(by, size, 0.0, nothing, nothing, undefined=shown)
    weights = [side.weights(side.where) for side in sides]
    distances = borders.distances()
    within = sum(
        float(size[far <= tolerance * ROUNDING].sum()) for far, size in zip(distances, weights, strict=True)
    )
    there, back = (_group(far, size) for far, size in zip(distances, weights, strict=True))
    return SurfaceCounts(by, size, within, there, back)


def _group(values: Floats, sizes: Floats) -> Distances:
    """Equal distances once, with the sizes of all that have them."""
    _, first, place = np.unique(values.round(_DIGITS), return_index=True, return_inverse=True)
    return Distances(values[first], np.bincount(place, sizes, minlength=len(first)).astype(np.float64))
