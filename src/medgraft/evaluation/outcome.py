"""What was true and what was predicted, and every score that follows from the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medgraft.metrics import weighted
from medgraft.statistics.bootstrap import WeightedMetric

if TYPE_CHECKING:
    import pandas as pd


class Outcome(NamedTuple):
    """Truth and predictions of the same N rows.

    truth: (N,) int64 classes, or (N, K) float of 0, 1 and NaN (missing) for several labels.
    predicted: (N,) int64, or (N, K) int64 of 0 and 1.
    probabilities: (N, K) float.
    """

    truth: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    @property
    def multilabel(self) -> bool:
        """True where a row may have several labels."""
        return self.truth.ndim == 2


Measure = Callable[[Outcome, np.ndarray], np.ndarray]
"""An outcome of N rows and weights (R, N), how often each of R resamples holds each row, to (R,) scores."""

MEASURES: dict[str, Measure] = {
    "auroc": lambda outcome, weights: weighted.auroc(outcome.truth, outcome.probabilities, weights),
    "average_precision": lambda outcome, weights: weighted.average_precision(
        outcome.truth, outcome.probabilities, weights
    ),
    "accuracy": lambda outcome, weights: weighted.accuracy(outcome.truth, outcome.predicted, weights),
    "balanced_accuracy": lambda outcome, weights: weighted.balanced_accuracy(
        outcome.truth, outcome.predicted, outcome.probabilities.shape[1], weights
    ),
    "ece": lambda outcome, weights: weighted.expected_calibration_error(
        outcome.truth, outcome.probabilities, weights
    ),
    "brier": lambda outcome, weights: weighted.brier(outcome.truth, outcome.probabilities, weights),
}
"""Scores over all classes, by the name they have in evidence."""
ERRORS = ("brier", "ece")
"""Of these, those of which less is better."""

OVERLAPS = ("dice", "iou")
"""Shares of a segmentation that need no spacing, by the name they have in evidence."""
SURFACE_DICE = "surface_dice_"
DISTANCES = ("hd95_mm", "asd_truth_to_predicted_mm", "asd_predicted_to_truth_mm")
"""Surface distances of a segmentation, by the name they have in evidence; undefined where one mask is empty."""


def surface_dice_name(tolerance_mm: float) -> str:
    """The name of surface Dice in evidence: with its tolerance, for without it the number says nothing.

    >>> surface_dice_name(2.0), surface_dice_name(0.5)
    ('surface_dice_2mm', 'surface_dice_0.5mm')
    """
    return f"{SURFACE_DICE}{tolerance_mm:g}mm"


def is_share_of_masks(metric: str) -> bool:
    """True for scores of a segmentation that every unit has, which can therefore be compared in pairs.

    >>> is_share_of_masks("surface_dice_2mm"), is_share_of_masks("hd95_mm")
    (True, False)
    """
    return metric in OVERLAPS or metric.startswith(SURFACE_DICE)


def metric_of(outcome: Outcome, measure: Measure) -> WeightedMetric:
    """A measure of an outcome as the bootstrap wants it.

    >>> outcome = Outcome(np.array([0, 1, 1]), np.array([0, 0, 1]), np.eye(2)[[0, 0, 1]])
    >>> metric_of(outcome, MEASURES["balanced_accuracy"])(np.arange(3))
    0.75
    """
    return WeightedMetric(lambda weights: measure(outcome, weights), len(outcome.truth))


def recall_of(index: int) -> Measure:
    """Recall of one class or label as a measure."""
    return lambda outcome, weights: weighted.recall(outcome.truth, outcome.predicted, index, weights)


def to_table(outcome: Outcome, rows: np.ndarray, units: np.ndarray) -> pd.DataFrame:
    """The table of predictions: row, unit, truth, predicted and p_0, p_1, ...

    With several labels per row, truth_0, ... and predicted_0, ... instead.

    Args:
        outcome: N rows.
        rows: (N,) row numbers in the manifest.
        units: (N,) integers that name no patient.
    """
    import pandas as pd

    columns: dict[str, np.ndarray] = {"row": rows, "unit": units}
    for name, values in (("truth", outcome.truth), ("predicted", outcome.predicted)):
        if values.ndim == 1:
            columns[name] = values
        else:
            columns |= {f"{name}_{index}": values[:, index] for index in range(values.shape[1])}
    probabilities = outcome.probabilities
    columns |= {f"p_{index}": probabilities[:, index] for index in range(probabilities.shape[1])}
    return pd.DataFrame(columns)


def from_table(table: pd.DataFrame) -> Outcome:
    """The outcome that `to_table` wrote.

    >>> outcome = Outcome(np.array([0, 1]), np.array([0, 0]), np.array([[0.9, 0.1], [0.6, 0.4]]))
    >>> from_table(to_table(outcome, np.array([1, 2]), np.array([0, 0]))).predicted.tolist()
    [0, 0]
    """
    count = sum(str(column).startswith("p_") for column in table.columns)

    def columns(name: str) -> np.ndarray:
        if name in table.columns:
            return table[name].to_numpy()
        return table[[f"{name}_{index}" for index in range(count)]].to_numpy()

    return Outcome(
        columns("truth"), columns("predicted"), table[[f"p_{index}" for index in range(count)]].to_numpy()
    )


def anonymous(units: np.ndarray) -> np.ndarray:
    """Names to the numbers 0, 1, ... in order of first appearance, so that evidence names no patient.

    >>> anonymous(np.array(["Anna", "Ben", "Anna"])).tolist()
    [0, 1, 0]
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(units.tolist()))}
    return np.asarray([numbers[name] for name in units.tolist()], dtype=np.int64)
