"""How far does a segmented surface lie from the true one, in millimetres?

All metrics compare two masks of one class, slices or volumes, and find the border in one of two ways:

- by "area": the surface runs between the voxels, as in marching cubes; every piece of it counts with its area (in
  2-D its length). Values equal google-deepmind/surface-distance.
- by "voxel": voxels of the mask that touch the background face to face; each counts once. Values equal MONAI.

What lies outside the image is background. Two empty masks agree: 1 or 0 mm. Where only one is empty, the overlap is 0
and a distance does not exist (NaN): leave it out of a mean and say how many were left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike

from medgraft.errors import SettingsError, ShapeError
from medgraft.metrics.borders import Bools, Borders, Elements, extract_borders
from medgraft.metrics.surface_counts import SurfaceCounts, count_surfaces

Spacing = float | Sequence[float]


class SurfaceScores(NamedTuple):
    """The metrics of this file for one pair of masks."""

    dice: float
    truth_to_predicted: float
    predicted_to_truth: float
    hausdorff: float


def surface_dice(
    truth: ArrayLike, predicted: ArrayLike, tolerance: float, spacing: Spacing, by: Elements = "area"
) -> float:
    """Tell which share of both borders lies within a tolerance of the other one.

    Args:
        truth: (H, W) or (D, H, W) boolean, or 0 and 1.
        predicted: same shape.
        tolerance: mm, >= 0; a distance equal to it counts as within.
        spacing: distance of neighbouring voxels, mm: one number or one per axis of the array.
        by: "area" or "voxel", see the head of this file.

    Returns: in [0, 1]; both empty 1, one empty 0.

    Raises:
        ShapeError: shapes differ, are not 2-D or 3-D, or a mask holds other values.
        SettingsError: the tolerance is negative, the spacing is not positive or does not fit, `by` is unknown.

    Source: Nikolov et al. 2018, arXiv 1809.04430 ("area"); Seidlitz et al. 2022, arXiv 2111.05408 ("voxel").

    >>> truth = np.pad(np.ones((4, 4), bool), 2)
    >>> surface_dice(truth, np.roll(truth, 1, axis=0), tolerance=1, spacing=1)
    1.0
    >>> surface_dice(truth, np.roll(truth, 1, axis=0), tolerance=0.5, spacing=1, by="voxel")
    0.5
    """
    check_tolerance(tolerance)
    borders = _compare(truth, predicted, spacing, by)
    total = borders.truth.size + borders.predicted.size
    return sum(borders.sizes_within(tolerance)) / total if total else 1.0


def average_surface_distances(
    truth: ArrayLike, predicted: ArrayLike, spacing: Spacing, by: Elements = "area"
) -> tuple[float, float]:
    """Tell the mean distance from each border to the nearest place of the other one.

    The mean of the two numbers is the average symmetric surface distance.

    Args, Raises: as for `surface_dice`.

    Returns: mm, from truth to prediction (large where something was missed) and from prediction to truth (large where
        something was invented); both empty 0, one empty NaN.

    Source: as for `surface_dice`. Differs: medpy's symmetric distance pools the voxels of both borders instead.

    >>> average_surface_distances([[1, 1, 1, 1]], [[1, 0, 0, 0]], spacing=2, by="voxel")
    (3.0, 0.0)
    """
    return compare_surfaces(truth, predicted, 0.0, spacing, by).means()


def hausdorff_distance(
    truth: ArrayLike,
    predicted: ArrayLike,
    spacing: Spacing,
    by: Elements = "area",
    percentile: float = 95.0,
) -> float:
    """Tell the distance that all but the worst few per cent of each border keep to the other one.

    Args, Raises: as for `surface_dice`.
        percentile: in (0, 100]; 95 gives HD95, 100 the classical Hausdorff distance.

    Returns: mm, the larger of the two directions; both empty 0, one empty NaN.

    Source: Huttenlocher et al. 1993; percentiles as in the two libraries named in the head of this file: by "area" the
        distance at which that share of the surface is reached, by "voxel" with linear interpolation.

    >>> hausdorff_distance([[1, 1, 1, 1]], [[1, 0, 0, 0]], spacing=2, by="voxel", percentile=100)
    6.0
    """
    _check_percentile(percentile)
    return compare_surfaces(truth, predicted, 0.0, spacing, by).percentile(percentile)


def surface_scores(
    truth: ArrayLike,
    predicted: ArrayLike,
    tolerance: float,
    spacing: Spacing,
    by: Elements = "area",
    percentile: float = 95.0,
) -> SurfaceScores:
    """Tell surface Dice, both average distances and the Hausdorff percentile, finding borders and distances once.

    Args, Returns, Raises: as for `surface_dice`, `average_surface_distances` and `hausdorff_distance`.

    >>> surface_scores([[1, 1, 1, 1]], [[1, 0, 0, 0]], tolerance=2, spacing=2, by="voxel", percentile=100)
    SurfaceScores(dice=0.6, truth_to_predicted=3.0, predicted_to_truth=0.0, hausdorff=6.0)
    """
    _check_percentile(percentile)
    counts = compare_surfaces(truth, predicted, tolerance, spacing, by)
    return SurfaceScores(counts.dice(), *counts.means(), counts.percentile(percentile))


def compare_surfaces(
    truth: ArrayLike, predicted: ArrayLike, tolerance: float, spacing: Spacing, by: Elements = "area"
) -> SurfaceCounts:
    """Compare the borders of one image, in counts that can be added up over the images of a patient.

    Sums are exact: surface Dice is the border within the tolerance on all images over the whole border, means and
    percentiles are over all distances pooled. Images that show one border only count in surface Dice with 0, have no
    distances, and are counted.

    Args, Raises: as for `surface_dice`.

    >>> truth, nothing = np.ones((1, 4)), np.zeros((1, 4))
    >>> scans = [(truth, truth), (truth, nothing), (nothing, nothing)]
    >>> counts = [compare_surfaces(*scan, tolerance=1, spacing=1, by="voxel") for scan in scans]
    >>> patient = counts[0] + counts[1] + counts[2]
    >>> round(patient.dice(), 3), patient.means(), f"{patient.undefined} of {patient.images} undefined"
    (0.667, (0.0, 0.0), '1 of 3 undefined')
    """
    check_tolerance(tolerance)
    return count_surfaces(_compare(truth, predicted, spacing, by), tolerance, by)


def _compare(truth: ArrayLike, predicted: ArrayLike, spacing: Spacing, by: Elements) -> Borders:
    known, guess = _as_mask("truth", truth), _as_mask("prediction", predicted)
    if known.shape != guess.shape or known.ndim not in (2, 3):
        raise ShapeError(
            "A surface metric",
            "two masks of the same shape, (H, W) or (D, H, W)",
            f"the truth is {known.shape} and the prediction {guess.shape}",
            "Bring scores back to the stored size first (Preparer.restore) and drop axes of channels.",
        )
    sides = np.asarray(spacing, dtype=np.float64)
    if sides.shape not in ((), (known.ndim,)) or not (np.isfinite(sides) & (sides > 0)).all():
        raise SettingsError(
            "A surface metric",
            f"a positive spacing in mm, one number or {known.ndim}",
            f"it is {spacing}",
            "Give the spacing of the masks' own file, in the order of the array's axes.",
        )
    if by not in get_args(Elements):
        raise SettingsError(
            "A surface metric",
            "by='area' or by='voxel'",
            f"it is {by!r}",
            "Take 'area' for pieces of surface, 'voxel' to count border voxels.",
        )
    return extract_borders(known, guess, np.broadcast_to(sides, (known.ndim,)), by)


def _as_mask(name: str, mask: ArrayLike) -> Bools:
    array = np.asarray(mask)
    if array.dtype == np.bool_:
        return array
    inside = array == 1
    if not (inside | (array == 0)).all():
        raise ShapeError(
            "A surface metric",
            "masks of one class (booleans, or 0 and 1)",
            f"the {name} holds other values",
            "Compare one class at a time, for example truth == 2 with predicted == 2.",
        )
    return np.asarray(inside)


def check_tolerance(tolerance: float) -> None:
    """Refuse a tolerance that is no length.

    Raises:
        SettingsError: it is negative or not finite.
    """
    if not 0 <= tolerance < np.inf:
        raise SettingsError(
            "Surface Dice",
            "a tolerance of 0 mm or more",
            f"it is {tolerance}",
            "Give the distance that two careful readers may differ by, often 1 mm.",
        )


def _check_percentile(percentile: float) -> None:
    if not 0 < percentile <= 100:
        raise SettingsError(
            "A Hausdorff distance",
            "a percentile above 0 and up to 100",
            f"it is {percentile}",
            "Give 95 for HD95 or 100 for the largest distance.",
        )
