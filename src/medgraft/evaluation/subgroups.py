"""The same scores for parts of the patients: by site, sex, age or any other column of the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medgraft.data.attributes import attribute_columns
from medgraft.errors import DataError
from medgraft.statistics.bootstrap import WEIGHTS_AT_ONCE, Metric, WeightedMetric, bootstrap_interval

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.evaluation.measured import Measured

MOST_GROUPS = 20
"""More values than this are not groups; they might name patients."""
TONE = ("ita", "fitzpatrick", "skin")
"""How names begin by which the tone of skin is asked for."""
QUARTERS = 10
"""Numbers of which there are more than so many different ones are grouped by quarters."""
NOT_TOLD, SEVERAL = "not told", "several"


def measure_subgroups(measured: Measured, cohort: Cohort, by: Sequence[str], repeats: int) -> pd.DataFrame:
    """Score every group of each attribute by itself.

    Args:
        measured: of the whole cohort.
        cohort: the rows that were measured.
        by: columns of the manifest: "site", or any that says something about patients or images.
        repeats: bootstrap resamples of each group's units.

    Returns: columns attribute, group, metric, value, low, high, n (units); scores over all classes only. Numbers with
        more than ten different values are grouped by quarters; a patient whose images differ belongs to "several".

    Raises:
        DataError: no such column, one that every row needs for something else, or one with more than 20 values.
    """
    lines: list[dict[str, object]] = []
    for attribute in by:
        groups = groups_of(cohort, attribute)
        if len(measured.units) != len(cohort):
            groups = _by_unit(groups, cohort)
        for group in in_order(groups):
            positions = np.flatnonzero(groups == group)
            for metric, part, score in measured.scores:
                if part:
                    continue
                interval = bootstrap_interval(
                    _within(score, positions, len(groups)), measured.units[positions], repeats
                )
                lines.append(
                    {"attribute": attribute, "group": group, "metric": metric, "value": interval.value}
                    | {"low": interval.low, "high": interval.high, "n": interval.units}
                )
    return pd.DataFrame(lines)


def groups_of(cohort: Cohort, attribute: str) -> np.ndarray:
    """(N,) text: the group of each row.

    Raises:
        DataError: as `measure_subgroups`.

    >>> from medgraft.testing import make_cohort
    >>> sorted(set(groups_of(make_cohort("classify"), "site")))
    ['A']
    """
    return groups_of_all([cohort], attribute)[0]


def groups_of_all(cohorts: Sequence[Cohort], attribute: str) -> list[np.ndarray]:
    """(N,) text for each cohort, as `groups_of`; numbers are grouped by the quarters of all of them together.

    Raises:
        DataError: as `measure_subgroups`.
    """
    who = f"Subgroups by '{attribute}'"
    for cohort in cohorts:
        _refuse_other_columns(cohort, attribute, who)
    values = pd.concat([cohort.table[attribute] for cohort in cohorts], ignore_index=True)
    told = (values.notna() & (values.astype(str).str.strip() != "")).to_numpy()
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    if np.isfinite(numbers[told]).all() and len(np.unique(numbers[told])) > QUARTERS:
        groups = _quarters(numbers, told)
    else:
        groups = values.astype(str).str.strip().to_numpy(object)
    found = np.where(told, groups, NOT_TOLD)
    if (count := len(set(found))) > MOST_GROUPS:
        raise DataError(
            who, f"{MOST_GROUPS} groups or fewer", f"the column has {count} different values",
            "Name a column with fewer, for example sex, scanner or site.",
        )  # fmt: skip
    return np.split(found, np.cumsum([len(cohort) for cohort in cohorts])[:-1])


def _refuse_other_columns(cohort: Cohort, attribute: str, who: str) -> None:
    offered = attribute_columns(cohort)
    if attribute not in offered:
        raise DataError(
            who, f"a column that groups images ({', '.join(offered) or cohort.name + ' has none'})",
            f"{'that one has another purpose' if attribute in cohort.table.columns else 'there is none of that name'}",
            "For the tone of skin run `medgraft skin-tone`, and name its column fitzpatrick_ita."
            if attribute.lower().startswith(TONE)
            else "Correct the name, or add the column to the manifest.",
        )  # fmt: skip


def _quarters(numbers: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Ages and the like, by where they lie among all of them."""
    edges = np.unique(np.quantile(numbers[told], [0.0, 0.25, 0.5, 0.75, 1.0]))
    place = np.clip(np.searchsorted(edges, numbers, side="left") - 1, 0, len(edges) - 2)
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    names[1:] = [f"over {name}" for name in names[1:]]
    return np.asarray([names[index] for index in place], dtype=object)


def _by_unit(groups: np.ndarray, cohort: Cohort) -> np.ndarray:
    """Of scores that belong to a patient: the group that all its images share, in order of first appearance."""
    shared: dict[object, str] = {}
    for unit, group in zip(cohort.units.tolist(), groups.tolist()):
        shared[unit] = group if shared.get(unit, group) == group else SEVERAL
    return np.asarray(list(shared.values()), dtype=object)


def in_order(groups: np.ndarray) -> Iterator[str]:
    """By name, quarters by number, those that tell nothing last."""

    def place(group: str) -> tuple[bool, float, str]:
        first = group.removeprefix("over ").split(" ")[0]
        try:
            return group in (NOT_TOLD, SEVERAL), float(first), group
        except ValueError:
            return group in (NOT_TOLD, SEVERAL), np.inf, group

    yield from sorted(set(groups.tolist()), key=place)


def _within(score: Metric, positions: np.ndarray, total: int) -> Metric:
    """A score of some positions only, whose resamples are numbered from 0."""
    if not isinstance(score, WeightedMetric):
        return lambda rows: score(positions[rows])

    def weighted(weights: np.ndarray) -> np.ndarray:
        at_once = max(1, WEIGHTS_AT_ONCE // total)
        parts = []
        for start in range(0, len(weights), at_once):
            some = weights[start : start + at_once]
            everyone = np.zeros((len(some), total))
            everyone[:, positions] = some
            parts.append(score.function(everyone))
        return np.concatenate(parts)

    return WeightedMetric(weighted, len(positions))
