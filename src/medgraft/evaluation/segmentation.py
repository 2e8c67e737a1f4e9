"""Evaluate models that give pixels a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medgraft.engine.predict import predict_masks
from medgraft.evaluation.measured import Measured
from medgraft.evaluation.outcome import DISTANCES, anonymous, surface_dice_name
from medgraft.evaluation.overlays import KeptSlice, draw_examples, keep_worst_slice
from medgraft.evaluation.patient_slices import FullestSlice, draw_patients, fullest_slice
from medgraft.evaluation.spacing import COLUMN, Spacing, manifest_spacings, spacing_of
from medgraft.metrics.segmentation import Overlap, count_overlap
from medgraft.metrics.surface import check_tolerance, compare_surfaces
from medgraft.metrics.surface_counts import SurfaceCounts
from medgraft.statistics.bootstrap import Metric, WeightedMetric

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.models.model import Model

PERCENTILE = 95.0


class Scored:
    """Everything counted so far, by unit: small numbers only, whatever the images' size.

    Args:
        units: (N,) the unit of each row, 0, 1, ...
        classes: names, the background first.
        tolerance_mm: of surface Dice.
    """

    def __init__(self, units: np.ndarray, classes: tuple[str, ...], tolerance_mm: float) -> None:
        self.units, self.classes, self.tolerance_mm = units, classes, tolerance_mm
        self.overlaps: dict[int, Overlap] = {}
        self.surfaces: dict[tuple[int, int], SurfaceCounts] = {}
        self.row_dice = np.full(len(units), np.nan)
        self.said = [""] * len(units)
        self.without_spacing = 0

    def add(self, row: int, truth: np.ndarray, predicted: np.ndarray, spacing: Spacing | None) -> None:
        """Count one image or volume: masks (H, W) or (D, H, W), and the spacing of their axes in mm."""
        unit = int(self.units[row])
        overlap = count_overlap(truth, predicted, len(self.classes))
        self.overlaps[unit] = self.overlaps[unit] + overlap if unit in self.overlaps else overlap
        self.row_dice[row] = overlap.dice()[1:].mean()
        self.said[row] = f"Dice {self.row_dice[row]:.2f}"
        if spacing is None:
            self.without_spacing += 1
        else:
            self._add_surfaces(row, unit, truth, predicted, spacing)

    def _add_surfaces(
        self, row: int, unit: int, truth: np.ndarray, predicted: np.ndarray, spacing: Spacing
    ) -> None:
        found = []
        for index in range(1, len(self.classes)):
            counts = compare_surfaces(truth == index, predicted == index, self.tolerance_mm, spacing)
            known = self.surfaces.get((unit, index))
            self.surfaces[unit, index] = counts if known is None else known + counts
            found.append(counts.dice())
        self.said[row] += f", surface Dice {np.mean(found):.2f}"

    @property
    def has_surfaces(self) -> bool:
        """True if every image told its spacing: a mean over some of them would be of other data."""
        return not self.without_spacing

    def table(self) -> pd.DataFrame:
        """One line per unit and class of the foreground."""
        lines = []
        for unit in range(len(self.overlaps)):
            dice, iou = self.overlaps[unit].dice(), self.overlaps[unit].iou()
            for index, part in enumerate(self.classes[1:], start=1):
                line = {"unit": unit, "part": part, "dice": dice[index], "iou": iou[index]}
                if self.has_surfaces:
                    line |= self._surface_scores(self.surfaces[unit, index])
                lines.append(line)
        return pd.DataFrame(lines)

    def _surface_scores(self, counts: SurfaceCounts) -> dict[str, float]:
        distances = (counts.percentile(PERCENTILE), *counts.means())
        return {
            surface_dice_name(self.tolerance_mm): counts.dice(),
            **dict(zip(DISTANCES, distances, strict=True)),
            "images": counts.images,
            "undefined": counts.undefined,
        }


def measure_masks(
    model: Model,
    cohort: Cohort,
    device: str,
    examples: int,
    progress: bool | None,
    tolerance_mm: float,
    picture_patients: bool = False,
) -> Measured:
    """Segment a cohort and say how well masks and their borders agree, pooled per patient (or split unit) first.

    One image or volume is in memory at a time.
    """
    check_tolerance(tolerance_mm)
    stated = manifest_spacings(cohort)
    units = anonymous(cohort.units)
    scored = Scored(units, model.spec.classes, tolerance_mm)
    kept: dict[int, KeptSlice] = {}
    fullest: dict[int, FullestSlice] = {}
    for row, predicted, _ in predict_masks(model, cohort, device=device, shown=progress):
        mask = cohort.mask(row)
        truth = mask.array[..., 0]
        scored.add(row, truth, predicted, spacing_of(cohort, row, mask, stated[row]))
        if examples:
            kept[row] = keep_worst_slice(truth, predicted)
        if picture_patients:
            unit = int(units[row])
            fullest[unit] = fullest_slice(fullest.get(unit), row, truth, predicted)
    table = scored.table()
    return Measured(
        scores=_scores(table),
        units=np.arange(len(scored.overlaps)),
        table_name="scores",
        table=table,
        examples=draw_examples(cohort, kept, scored.row_dice, scored.said, examples) if examples else [],
        patients=draw_patients(cohort, fullest, scored.said),
        warnings=_warnings(cohort, scored),
    )


def _scores(table: pd.DataFrame) -> list[tuple[str, str, Metric]]:
    """Every score over the foreground (the mean over its classes) and by class, as a mean over units."""
    found: list[tuple[str, str, Metric]] = []
    for name in [name for name in table.columns if name not in ("unit", "part", "images", "undefined")]:
        by_unit = table.pivot(index="unit", columns="part", values=name)
        found.append((name, "", _mean_of_defined(by_unit.mean(axis=1).to_numpy())))
        found += [
            (name, part, _mean_of_defined(by_unit[part].to_numpy())) for part in dict.fromkeys(table["part"])
        ]
    return found


def _mean_of_defined(values: np.ndarray) -> WeightedMetric:
    """The mean over units; undefined distances are left out here and counted in the table."""
    defined = ~np.isnan(values)
    numbers = np.where(defined, values, 0.0)

    def mean(weights: np.ndarray) -> np.ndarray:
        counted = weights @ defined
        return np.where(counted > 0, weights @ numbers / np.maximum(counted, 1), np.nan)

    return WeightedMetric(mean, len(values))


def _warnings(cohort: Cohort, scored: Scored) -> tuple[str, ...]:
    if scored.has_surfaces:
        return ()
    return (
        f"{cohort.name}: surface Dice and distances are left out, because {scored.without_spacing} of "
        f"{len(cohort)} images do not tell their spacing; the column '{COLUMN}' of the manifest may.",
    )
