"""Parts of an audit: all cases, groups, the worst of them and the gap, scored on the same resampled patients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from medgraft.evaluation.outcome import MEASURES, Outcome, metric_of
from medgraft.evaluation.subgroups import NOT_TOLD, in_order
from medgraft.metrics.fairness import ALIGNED, CONFLICTING, gap
from medgraft.statistics.bootstrap import WEIGHTS_AT_ONCE, Interval, WeightedMetric, bootstrap_interval
from medgraft.statistics.exchange import exchange_groups

METRICS = ("auroc", "balanced_accuracy")
FEWEST = 5
"""Patients of every class that a group needs to be compared: with fewer its score is mostly chance."""

SIDES = {"conflicting": CONFLICTING, "aligned": ALIGNED}
"""Parts of cases that go against, or with, what training taught by the way."""
ACROSS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "worst": lambda scores: scores.min(axis=0),
    "gap": gap,
}
"""Scores of groups (G, R) to one number for each of R resamples, by the name of the part."""


class Rows(NamedTuple):
    """Rows that are scored by themselves: what was predicted of them, and the units that are resampled."""

    outcome: Outcome
    units: np.ndarray


class Compared(NamedTuple):
    """Groups that are compared with one another.

    rows: of all of them, one group after the other.
    inside: positions in these rows, by the group's name.
    """

    rows: Rows
    inside: dict[str, np.ndarray]

    @property
    def reason(self) -> str:
        """Why there is neither a worst group nor a gap; empty where there is."""
        count = len(self.inside)
        return "" if count > 1 else f"{count} group{'s' * (count != 1)} with enough patients of every class"


def rows_at(rows: Rows, positions: np.ndarray) -> Rows:
    """Some rows, in this order."""
    truth, predicted, probabilities = (each[positions] for each in rows.outcome)
    return Rows(Outcome(truth, predicted, probabilities), rows.units[positions])


def rows_kept(rows: Rows, kept: np.ndarray) -> Rows:
    """Only some rows; of several labels only some cells.

    Args:
        rows: N of them.
        kept: (N, 1) bool, or one column per label.
    """
    positions = np.flatnonzero(kept.any(axis=1))
    own = rows_at(rows, positions)
    if not rows.outcome.multilabel:
        return own
    return own._replace(
        outcome=own.outcome._replace(truth=np.where(kept[positions], own.outcome.truth, np.nan))
    )


def metric_on(rows: Rows, name: str) -> WeightedMetric:
    """A score of these rows; undefined where there is nothing to be told apart: balanced accuracy would be a recall."""
    return metric_of(rows.outcome, MEASURES[name] if is_mixed(rows.outcome) else _undefined)


def scored(
    rows: Rows, repeats: int, *, part: str, group: str = "", reason: str = ""
) -> Iterator[dict[str, object]]:
    """A line for each score of these rows."""
    for name in METRICS:
        interval = bootstrap_interval(metric_on(rows, name), rows.units, repeats)
        why = reason or (
            "" if np.isfinite(interval.value) else "one class only" if len(rows.units) else "no image"
        )
        yield {"part": part, "group": group, "metric": name} | numbers(interval, len(rows.units), why)


def compared_groups(
    rows: Rows, groups: np.ndarray, classes: Sequence[str], unit_name: str
) -> tuple[Compared, dict[str, str]]:
    """Groups with enough patients of every class, and of every group why it is not compared, empty where it is.

    Args:
        rows: N of them.
        groups: (N,) text.
        classes: names of classes or labels, for the reasons.
        unit_name: what is resampled, likewise.
    """
    reasons, chosen = {}, {}
    for group in in_order(groups):
        positions = np.flatnonzero(groups == group)
        reasons[group] = _not_compared(rows, rows_at(rows, positions), classes, unit_name)
        if not reasons[group] and group != NOT_TOLD:
            chosen[group] = positions
    sizes = np.cumsum([0, *(len(positions) for positions in chosen.values())])
    together = np.concatenate([*chosen.values(), np.array([], dtype=np.int64)])
    inside = {group: np.arange(*sizes[at : at + 2]) for at, group in enumerate(chosen)}
    return Compared(rows_at(rows, together), inside), reasons


def by_group(compared: Compared, name: str, weights: np.ndarray) -> np.ndarray:
    """(G, R) scores: of every group on each of R resamples, which weigh all rows (R, N) at once."""
    return np.stack(
        [
            MEASURES[name](rows_at(compared.rows, of_group).outcome, weights[:, of_group])
            for of_group in compared.inside.values()
        ]
    )


def metric_across(compared: Compared, name: str, part: str) -> WeightedMetric:
    """The score of the worst group, whichever that is in a resample, or the gap between the best and the worst.

    Args:
        compared: two groups or more.
        name: of the score.
        part: "worst" or "gap".
    """
    return WeightedMetric(
        lambda weights: ACROSS[part](by_group(compared, name, weights)), len(compared.rows.units)
    )


def gap_by_chance(compared: Compared, name: str, repeats: int, seed: int = 0) -> Interval:
    """The gap that would be measured if it made no difference to which group a patient belongs.

    Patients exchange their groups at random, each with one whose rarest class is the same, so that every group keeps
    about as many cases as it has; predictions and truth stay.

    Args:
        compared: two groups or more.
        name: of the score.
        repeats: exchanges.
        seed: of the exchanges.

    Returns: the mean gap, and the middle 95 % of gaps as low and high.

    Source: the permutation principle, Fisher 1935, section 21.
    """
    rows, generator = compared.rows, np.random.default_rng(seed)
    codes = np.empty(len(rows.units), dtype=np.int64)
    for code, of_group in enumerate(compared.inside.values()):
        codes[of_group] = code
    strata = _rarest_class(rows)
    at_once = max(1, WEIGHTS_AT_ONCE // len(codes))
    gaps = []
    for start in range(0, repeats, at_once):
        dealt = exchange_groups(codes, rows.units, strata, min(at_once, repeats - start), generator)
        scores = [
            MEASURES[name](rows.outcome, (dealt == code).astype(np.float64))
            for code in range(len(compared.inside))
        ]
        gaps.append(gap(np.stack(scores)))
    found = np.concatenate(gaps)
    defined, units = found[~np.isnan(found)], len(np.unique(rows.units))
    if not len(defined):
        return Interval(np.nan, np.nan, np.nan, repeats, units, repeats, "undefined in every exchange")
    low, high = np.quantile(defined, (0.025, 0.975))
    return Interval(float(defined.mean()), float(low), float(high), repeats, units, repeats - len(defined))


def is_mixed(outcome: Outcome) -> bool:
    """Whether there is something to be told apart."""
    truth = outcome.truth
    if not outcome.multilabel:
        return len(np.unique(truth)) > 1
    return bool(((truth == 0).any(axis=0) & (truth == 1).any(axis=0)).any())


def numbers(interval: Interval, images: int, reason: str = "") -> dict[str, object]:
    """An interval as part of a line."""
    return {
        "value": interval.value, "low": interval.low, "high": interval.high,
        "n": interval.units, "images": images, "reason": reason,
    }  # fmt: skip


def _undefined(outcome: Outcome, weights: np.ndarray) -> np.ndarray:
    return np.full(len(weights), np.nan)


def _rarest_class(rows: Rows) -> np.ndarray:
    """(N,) of each row's unit the rarest class or label that it has; one number more where it has none."""
    truth, count = rows.outcome.truth, rows.outcome.probabilities.shape[1]
    there = truth == 1 if rows.outcome.multilabel else np.eye(count, dtype=bool)[truth]
    _, membership = np.unique(rows.units, return_inverse=True)
    of_unit = np.zeros((membership.max() + 1, count + 1), dtype=bool)
    np.logical_or.at(of_unit[:, :count], membership, there)
    of_unit[:, count] = True
    order = [*np.argsort(of_unit[:, :count].sum(axis=0), kind="stable"), count]
    rarest: np.ndarray = np.array(order)[of_unit[:, order].argmax(axis=1)]
    return rarest[membership]


def _not_compared(everyone: Rows, own: Rows, classes: Sequence[str], unit_name: str) -> str:
    """Why a group cannot be the worst: it lacks patients of a class that others have; empty where it can."""
    if not is_mixed(own.outcome):
        return "one class only"
    for name, all_cases, cases in _cases(everyone.outcome, own.outcome, classes):
        count = len(np.unique(own.units[cases]))
        if all_cases.any() and count < FEWEST:
            return f"{count} {unit_name} {name}, fewer than {FEWEST}"
    return ""


def _cases(
    everyone: Outcome, own: Outcome, classes: Sequence[str]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for index, name in enumerate(classes):
        if not own.multilabel:
            yield f"with {name}", everyone.truth == index, own.truth == index
            continue
        for word, value in (("with", 1), ("without", 0)):
            yield f"{word} {name}", everyone.truth[:, index] == value, own.truth[:, index] == value
