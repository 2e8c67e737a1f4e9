"""What tables of predictions say: confusion, ROC curves, reliability. Only counting; scores come as facts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
GRID = np.linspace(0.0, 1.0, 201)


class Outcome(NamedTuple):
    """Truth and predictions of N rows.

    truth: (N, K) 1 where a row is of a class, 0 where not, NaN where unknown.
    predicted: (N, K) 1 or 0.
    probabilities: (N, K).
    exclusive: True where every row has exactly one class.
    """

    truth: Floats
    predicted: Floats
    probabilities: Floats
    exclusive: bool


class LabelCounts(NamedTuple):
    """One label of several: how often it was found, missed, seen where absent, rightly not seen."""

    name: str
    found: int
    missed: int
    false_alarms: int
    rightly_absent: int

    @property
    def sensitivity(self) -> float:
        """Share of present cases that were found; NaN without any."""
        cases = self.found + self.missed
        return self.found / cases if cases else float("nan")

    @property
    def specificity(self) -> float:
        """Share of absent cases that were not seen; NaN without any."""
        cases = self.false_alarms + self.rightly_absent
        return self.rightly_absent / cases if cases else float("nan")


class Reliability(NamedTuple):
    """Bins of confidence that are not empty: mean confidence, share that was right, cases."""

    confidence: Floats
    right: Floats
    cases: NDArray[np.int64]


def read_outcome(table: pd.DataFrame) -> Outcome | None:
    """Read truth (or truth_0, ...), predicted and p_0, ...; None where one is missing or does not fit."""
    classes = sum(str(column).startswith("p_") for column in table.columns)
    names = [f"p_{index}" for index in range(classes)]
    if not classes or not set(names) <= set(table.columns):
        return None
    probabilities = table[names].to_numpy(dtype=np.float64)
    if any(f"truth_{index}" in table for index in range(classes)):
        truth, predicted = (
            table.reindex(columns=[f"{name}_{index}" for index in range(classes)]).to_numpy(dtype=np.float64)
            for name in ("truth", "predicted")
        )
        guessed = np.where(np.isnan(predicted), probabilities > 0.5, predicted)
        return Outcome(truth, guessed, probabilities, False)
    if not {"truth", "predicted"} <= set(table.columns):
        return None
    labels = table[["truth", "predicted"]].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    if not np.isin(labels, np.arange(classes)).all():
        return None
    one_hot: Floats = np.eye(classes, dtype=np.float64)
    true_class, predicted_class = labels.astype(np.int64).T
    return Outcome(one_hot[true_class], one_hot[predicted_class], probabilities, True)


def confusion_matrix(outcomes: Sequence[Outcome]) -> NDArray[np.int64]:
    """(K, K) cases by true class (rows) and predicted class (columns), all outcomes added."""
    added: Floats = np.sum([outcome.truth.T @ outcome.predicted for outcome in outcomes], axis=0)
    return added.astype(np.int64)


def label_counts(outcomes: Sequence[Outcome], names: Sequence[str]) -> list[LabelCounts]:
    """Found, missed, false alarms and rightly absent for every label, all outcomes added."""
    truth = np.concatenate([outcome.truth for outcome in outcomes])
    seen = np.concatenate([outcome.predicted for outcome in outcomes]) > 0
    present, absent = truth == 1, truth == 0
    counts = [present & seen, present & ~seen, absent & seen, absent & ~seen]
    return [
        LabelCounts(name, *(int(count[:, index].sum()) for count in counts))
        for index, name in enumerate(names)
    ]


def roc_curve(present: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats] | None:
    """False-positive and true-positive rate at every threshold; None unless both kinds of cases are there.

    Source: Fawcett 2006, algorithm 1 (tied scores enter together).

    >>> roc_curve(np.array([True, False]), np.array([0.9, 0.1]))
    (array([0., 0., 1.]), array([0., 1., 1.]))
    """
    if present.all() or not present.any() or np.isnan(scores).any():
        return None
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true = np.cumsum(present[order])[ends]
    false = ends + 1 - true
    return np.append(0.0, false / (~present).sum()), np.append(0.0, true / present.sum())


def mean_roc(outcomes: Iterable[Outcome], index: int) -> Floats | None:
    """(201,) true-positive rate of a class at false-positive rates from 0 to 1, averaged over outcomes."""
    rates = []
    for outcome in outcomes:
        known = ~np.isnan(outcome.truth[:, index])
        curve = roc_curve(outcome.truth[known, index] == 1, outcome.probabilities[known, index])
        if curve is not None:
            rates.append(np.interp(GRID, *curve))  # at a vertical step, its upper end
    return np.mean(rates, axis=0) if rates else None


def reliability(outcomes: Sequence[Outcome], bins: int = 10) -> Reliability | None:
    """Confidence in the predicted class against how often it was right, in bins of equal width.

    With several labels per row every known cell is a case of two classes, present and absent.

    Source: Guo et al. 2017, section 2.
    """
    pairs = [_confidence(outcome) for outcome in outcomes]
    confidence = np.concatenate([pair[0] for pair in pairs])
    right = np.concatenate([pair[1] for pair in pairs])
    known = ~np.isnan(confidence)
    confidence, right = confidence[known], right[known]
    if not len(confidence):
        return None
    place = np.clip(np.searchsorted(np.linspace(0, 1, bins + 1), confidence, "left") - 1, 0, bins - 1)
    cases = np.bincount(place, minlength=bins)
    there = cases > 0
    means = [
        np.bincount(place, values, minlength=bins)[there] / cases[there] for values in (confidence, right)
    ]
    return Reliability(means[0], means[1], cases[there])


def _confidence(outcome: Outcome) -> tuple[Floats, Floats]:
    truth, chances = outcome.truth, outcome.probabilities
    if not outcome.exclusive:
        known = ~np.isnan(truth)
        truth = np.stack([1 - truth[known], truth[known]], axis=1)
        chances = np.stack([1 - chances[known], chances[known]], axis=1)
    best = chances.argmax(axis=1)[:, None]
    return np.take_along_axis(chances, best, 1)[:, 0], np.take_along_axis(truth, best, 1)[:, 0]
