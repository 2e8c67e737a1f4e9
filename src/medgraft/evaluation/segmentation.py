"""Evaluate models that give pixels a class."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import tee
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medgraft.engine.predict import predict_masks
from medgraft.evaluation.examples import choose_examples, thumbnail
from medgraft.evaluation.measured import Example, Measured
from medgraft.evaluation.outcome import OVERLAPS, anonymous
from medgraft.metrics.segmentation import dice, dice_per_patient

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.models.model import Model
    from medgraft.statistics.bootstrap import Metric
    from medgraft.types import JSON


def measure_masks(
    model: Model, cohort: Cohort, device: str, examples: int, progress: bool | None
) -> Measured:
    """Segment a cohort and say how well masks overlap, pixels pooled per patient (or split unit) first."""
    classes = model.spec.classes
    per_row, units = np.empty(len(cohort)), anonymous(cohort.units)

    def masks() -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        for row, predicted, _ in predict_masks(model, cohort, device=device, shown=progress):
            truth = cohort.mask(row).array[..., 0]
            per_row[row] = dice(truth, predicted, len(classes))[1:].mean()
            yield truth, predicted, int(units[row])

    # the three are drawn in step, so that one image is in memory at a time
    truths, predictions, owners = tee(masks(), 3)
    pooled = dice_per_patient(
        (truth for truth, _, _ in truths),
        (predicted for _, predicted, _ in predictions),
        (owner for _, _, owner in owners),
        len(classes),
    )
    overlaps = np.stack([pooled[str(unit)] for unit in range(len(pooled))])
    values = {"dice": overlaps, "iou": overlaps / (2 - overlaps)}
    scores: list[tuple[str, str, Metric]] = []
    for name in OVERLAPS:
        scores.append((name, "", _mean_over_rows(values[name][:, 1:])))
        scores += [
            (name, part, _mean_over_rows(values[name][:, index]))
            for index, part in enumerate(classes)
            if index > 0
        ]
    table = pd.DataFrame(
        [
            {"unit": unit, "part": part, **{name: values[name][unit, index] for name in OVERLAPS}}
            for unit in range(len(overlaps))
            for index, part in enumerate(classes)
            if index > 0
        ]
    )
    pictures = _examples_of_masks(model, cohort, per_row, device, examples)
    return Measured(scores, np.arange(len(overlaps)), "scores", table, pictures)


def _mean_over_rows(values: np.ndarray) -> Metric:
    return lambda rows: float(values[rows].mean())


def _examples_of_masks(
    model: Model, cohort: Cohort, overlap: np.ndarray, device: str, count: int
) -> list[Example]:
    """The images with the lowest Dice and some others, outlines drawn on."""
    wrongness = np.median(overlap) - overlap
    shown = []
    for position in choose_examples(wrongness, count):
        labels = next(predict_masks(model, cohort.take([position]), device=device)).labels
        truth = cohort.mask(position).array[..., 0]
        line: JSON = {
            "row": int(cohort.table.index[position]),
            "truth": "green outline",
            "predicted": f"magenta outline, Dice {overlap[position]:.2f}",
            "confidence": float(overlap[position]),
            "worst": bool(wrongness[position] > 0),
        }
        shown.append(Example(line, thumbnail(cohort.picture(position).array, truth, labels)))
    return shown
