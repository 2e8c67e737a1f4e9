"""Evaluate models that give images one class or several labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medgraft.engine.predict import predict_labels
from medgraft.evaluation.examples import choose_examples, thumbnail
from medgraft.evaluation.measured import Example, Measured
from medgraft.evaluation.outcome import MEASURES, Outcome, anonymous, metric_of, recall_of, to_table

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.models.model import Model
    from medgraft.statistics.bootstrap import Metric
    from medgraft.types import JSON


def measure_labels(
    model: Model, cohort: Cohort, device: str, examples: int, progress: bool | None
) -> Measured:
    """Predict a cohort with one class or several labels per image, and say how good that is."""
    predicted = predict_labels(model, cohort, device=device, shown=progress)
    outcome = Outcome(truth_of(cohort, model.spec.classes), predicted.labels, predicted.probabilities)
    scores: list[tuple[str, str, Metric]] = [
        (name, "", metric_of(outcome, measure)) for name, measure in MEASURES.items()
    ]
    scores += [
        ("recall", name, metric_of(outcome, recall_of(index)))
        for index, name in enumerate(model.spec.classes)
    ]
    rows, units = cohort.table.index.to_numpy(), anonymous(cohort.units)
    table = to_table(outcome, rows, units)
    return Measured(
        scores,
        units,
        "predictions",
        table,
        _examples_of_labels(cohort, outcome, model.spec.classes, examples),
    )


def truth_of(cohort: Cohort, classes: Sequence[str]) -> np.ndarray:
    """The cohort's labels in the model's order; those it does not know or is unsure of are missing."""
    labels, places = cohort.labels, np.asarray([classes.index(name) for name in cohort.classes])
    truth: np.ndarray
    if labels.ndim == 1:
        truth = places[labels]
        return truth
    truth = np.full((len(labels), len(classes)), np.nan)
    truth[:, places] = np.where(np.isin(labels, (0, 1)), labels, np.nan)
    return truth


def _examples_of_labels(
    cohort: Cohort, outcome: Outcome, classes: Sequence[str], count: int
) -> list[Example]:
    if outcome.multilabel:
        # how far the worst label lies on the wrong side of one half, in [-1, 1]
        distances = np.nan_to_num(np.abs(outcome.probabilities - outcome.truth), nan=0.0)
        wrongness = 2 * distances.max(axis=1) - 1
        confidence = np.abs(outcome.probabilities - 0.5).max(axis=1) + 0.5
    else:
        confidence = outcome.probabilities.max(axis=1)
        wrongness = np.where(outcome.predicted == outcome.truth, -confidence, confidence)
    shown = []
    for position in choose_examples(wrongness, count):
        line: JSON = {
            "row": int(cohort.table.index[position]),
            "truth": _names(outcome.truth[position], classes),
            "predicted": _names(outcome.predicted[position], classes),
            "confidence": float(confidence[position]),
            "worst": bool(wrongness[position] > 0),
        }
        shown.append(Example(line, thumbnail(cohort.picture(position).array)))
    return shown


def _names(label: Any, classes: Sequence[str]) -> str:
    if np.ndim(label) == 0:
        return classes[int(label)]
    return ", ".join(name for name, value in zip(classes, label) if value > 0.5) or "none"
