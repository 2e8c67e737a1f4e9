"""Which of two is better on the same patients, and by how much?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medgraft.errors import DataError, SettingsError
from medgraft.evaluation.outcome import MEASURES, OVERLAPS, from_table, is_share_of_masks, metric_of
from medgraft.evidence import Evidence
from medgraft.statistics.bootstrap import Metric, WeightedMetric, minus, paired_difference
from medgraft.statistics.permutation import permutation_test

MEANS_OVER_ROWS = ("accuracy", "brier")
"""Scores of classes that are means over rows, so that a patient's part in a difference can change its sign."""


def compare(
    evidence: Evidence, subject: str, reference: str, metric: str, *, repeats: int = 1000
) -> Evidence:
    """Tell by how much a subject beats a reference, with an interval over the patients both were measured on.

    The difference is that of the means over seeds; whole units are resampled, the same for both. Where an
    interval excludes 0 the two differ.

    Args:
        evidence: holds predictions (or scores) of both, as `evaluate` leaves them.
        subject, reference: names in the evidence; each may have several seeds.
        metric: a score over all classes: auroc, average_precision, accuracy, balanced_accuracy, ece, brier,
            dice, iou, or surface Dice by its full name, as surface_dice_2mm. Surface distances are not compared:
            where one of two models left a mask empty there is nothing to pair.
        repeats: bootstrap resamples.

    Returns: evidence with one row in the table "comparisons" for each cohort and split that both have:
        difference (subject minus reference), low, high, n (units), seeds (of the one that has fewer), p of a
        permutation test over the units and, as test, what to know of it. Scores that are no means over patients (auroc,
        average_precision, balanced_accuracy, ece, anything of several labels) have an interval only: p is NaN.

    Raises:
        SettingsError: the metric is none of these.
        DataError: one of the two was not measured, or they were measured on different rows.
    """
    _check_metric(metric)
    lines = []
    for (cohort, split), tables in _same_places(evidence, (subject, reference), metric).items():
        units = _by_position(tables[0][0], metric)["unit"].to_numpy()
        scores = [mean_over_seeds([_score(table, metric) for table in own]) for own in tables]
        difference = paired_difference(scores[0], scores[1], units, repeats=repeats)
        testable = _is_mean(tables[0][0], metric) and not np.isnan(difference.value)
        p, test = _test(scores, units) if testable else (float("nan"), "")
        lines.append(
            {
                "subject": subject, "reference": reference, "cohort": cohort, "split": split,
                "metric": metric, "difference": difference.value,
                "low": difference.low, "high": difference.high, "n": difference.units,
                "seeds": min(map(len, tables)), "p": p, "test": test,
            }
        )  # fmt: skip
    return Evidence(tables={"comparisons": pd.DataFrame(lines)})


def compare_gains(
    evidence: Evidence, gain: tuple[str, str], other: tuple[str, str], metric: str, *, repeats: int = 1000
) -> pd.DataFrame:
    """Tell by how much more one subject gains over its reference than another over its own.

    All four are resampled together: that one gain's interval excludes 0 and the other's does not says nothing yet of
    their difference (Gelman & Stern 2006).

    Args:
        evidence, metric, repeats: as for `compare`.
        gain, other: names of a subject and of its reference.

    Returns: a line for each cohort and split that all four have: cohort, split, difference (gain minus other), low,
        high, n (units), seeds (of the one that has fewest).

    Raises: as `compare`.
    """
    _check_metric(metric)
    lines = []
    for (cohort, split), tables in _same_places(evidence, (*gain, *other), metric).items():
        units = _by_position(tables[0][0], metric)["unit"].to_numpy()
        a, b, c, d = (mean_over_seeds([_score(table, metric) for table in own]) for own in tables)
        difference = paired_difference(minus(a, b), minus(c, d), units, repeats=repeats)
        lines.append(
            {
                "cohort": cohort, "split": split, "difference": difference.value, "low": difference.low,
                "high": difference.high, "n": difference.units, "seeds": min(map(len, tables)),
            }
        )  # fmt: skip
    return pd.DataFrame(lines)


def _check_metric(metric: str) -> None:
    if metric not in MEASURES and not is_share_of_masks(metric):
        raise SettingsError(
            "compare", f"a metric among {', '.join((*MEASURES, *OVERLAPS, 'surface_dice_2mm'))}", f"got {metric!r}",
            "Choose one of these.",
        )  # fmt: skip


def _same_places(
    evidence: Evidence, subjects: Sequence[str], metric: str
) -> dict[tuple[str, str], list[list[pd.DataFrame]]]:
    """By cohort and split where all were measured, on the same rows: for each subject a table per seed."""
    measured = [measured_tables(evidence, name, metric) for name in subjects]
    found = {
        place: [own[place] for own in measured]
        for place in measured[0]
        if all(place in own for own in measured)
    }
    if not found:
        raise DataError(
            "compare", f"{' and '.join(subjects)} measured on the same cohort and split",
            "the evidence has no such pair",
            "Evaluate both on the same rows and add the evidence.",
        )  # fmt: skip
    for (cohort, _), tables in found.items():
        for name, own in zip(subjects[1:], tables[1:]):
            refuse_different_rows(subjects[0], name, cohort, [*tables[0], *own])
    return found


def measured_tables(
    evidence: Evidence, subject: str, metric: str
) -> dict[tuple[str, str], list[pd.DataFrame]]:
    """A subject's predictions (scores, where the metric is of masks), one table per seed, by cohort and split.

    Raises:
        DataError: there are none.
    """
    prefix = f"{'scores' if is_share_of_masks(metric) else 'predictions'}/{subject}/"
    found: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for name, table in evidence.tables.items():
        if name.startswith(prefix) and "/" not in name.removeprefix(prefix):
            for (cohort, split), part in table.groupby(["cohort", "split"], sort=False):
                own = part.reset_index(drop=True) if is_share_of_masks(metric) else _own_columns(part)
                if metric in MEASURES or (metric in own and own[metric].notna().all()):
                    found.setdefault((str(cohort), str(split)), []).append(own)
    if not found:
        known = sorted(
            {name.split("/")[1] for name in evidence.tables if name.startswith(prefix.split("/")[0])}
        )
        raise DataError(
            "compare", f"{metric} of {subject!r}", f"the evidence has it of: {', '.join(known) or 'nothing'}",
            "Check the name, or evaluate it and add the evidence.",
        )  # fmt: skip
    return found


def _own_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Predictions of one cohort without the columns that another one, with more classes, left empty."""
    count = sum(bool(table[name].notna().any()) for name in table.columns if str(name).startswith("p_"))
    one_class = "truth" in table.columns and bool(table["truth"].notna().all())
    endings = [""] if one_class else [f"_{index}" for index in range(count)]
    names = [f"{name}{ending}" for name in ("truth", "predicted") for ending in endings]
    columns = ["row", "unit", *names, *(f"p_{index}" for index in range(count))]
    return table[columns].astype(float).reset_index(drop=True)


def refuse_different_rows(subject: str, reference: str, cohort: str, tables: Sequence[pd.DataFrame]) -> None:
    """Refuse tables of which rows, units or truth differ, or in which a row stands twice.

    Raises:
        DataError: they do.
    """
    keys = [
        column
        for column in tables[0].columns
        if column in ("row", "unit", "part") or str(column).startswith("truth")
    ]
    first = tables[0][keys]
    ids = [column for column in ("row", "part") if column in keys]
    once = not first.duplicated([*ids, "unit"]).any()
    same = all(set(keys) <= set(table.columns) and table[keys].equals(first) for table in tables)
    if not (once and same):
        raise DataError(
            "compare", f"{subject} and {reference} measured on the same rows of {cohort}",
            "their rows, units or truth differ" if once else "one of them was measured there more than once",
            "Evaluate both anew on one manifest and compare that evidence.",
        )  # fmt: skip


def _by_position(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One line per resampled position: a row of predictions, or a unit of scores."""
    return (
        table.groupby("unit", as_index=False, sort=True).mean(numeric_only=True)
        if is_share_of_masks(metric)
        else table
    )


def _score(table: pd.DataFrame, metric: str) -> Metric:
    if is_share_of_masks(metric):
        # per unit, the mean over the classes of the foreground
        values = _by_position(table, metric)[metric].to_numpy()
        return WeightedMetric(lambda weights: weights @ values / weights.sum(axis=1), len(values))
    return metric_of(from_table(table), MEASURES[metric])


def _is_mean(table: pd.DataFrame, metric: str) -> bool:
    return is_share_of_masks(metric) or (metric in MEANS_OVER_ROWS and "truth" in table)


def _test(scores: Sequence[Metric], units: np.ndarray) -> tuple[float, str]:
    """p of exchanging the two per unit, and what the reader must know of it."""
    _, membership, counts = np.unique(units, return_inverse=True, return_counts=True)
    rows = [np.flatnonzero(membership == unit) for unit in range(len(counts))]
    # A unit of many rows weighs as much in the difference as they do.
    weights = counts * len(counts) / len(units)
    ours, theirs = (weights * [score(own) for own in rows] for score in scores)
    found = permutation_test(ours, theirs)
    return found.p, f"permutation. {found.note}" if found.note else "permutation"


def mean_over_seeds(scores: Sequence[Metric]) -> Metric:
    """The mean of scores of the same rows, as a score."""
    weighted = [score for score in scores if isinstance(score, WeightedMetric)]
    if len(weighted) == len(scores):
        return WeightedMetric(
            lambda weights: np.mean([score.function(weights) for score in weighted], axis=0), weighted[0].rows
        )
    return lambda rows: float(np.mean([score(rows) for score in scores]))
