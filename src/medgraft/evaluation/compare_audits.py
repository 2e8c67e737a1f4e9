"""Is one model fairer than another? Audits of models on the same patients, with intervals of what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from medgraft.errors import DataError
from medgraft.evaluation.bias_parts import (
    ACROSS,
    METRICS,
    SIDES,
    Rows,
    compared_groups,
    metric_across,
    metric_on,
    rows_kept,
)
from medgraft.evaluation.compare import mean_over_seeds, measured_tables, refuse_different_rows
from medgraft.evaluation.outcome import from_table
from medgraft.evidence import Evidence
from medgraft.statistics.bootstrap import Metric, paired_difference

TABLE = "bias_comparisons"
Place = tuple[str, str]
"""Cohort and split."""


class Audited(NamedTuple):
    """What one model said of the rows of a place, and how its audit sorted them by an attribute.

    seeds: its predictions, one per seed. groups: (N,) text. sides: (N, 1), or a column per label; None without
    reference.
    """

    seeds: list[Rows]
    groups: np.ndarray
    sides: np.ndarray | None


def compare_audits(evidence: Evidence, reference: str | None = None, *, repeats: int = 1000) -> Evidence:
    """Tell by how much audited models differ from one of them, with intervals over the patients all were measured on.

    Whole units are resampled, the same for both models of a pair, for all their groups and all their seeds; the
    difference is that of means over seeds. Where an interval excludes 0 the two differ.

    Args:
        evidence: of two models or more, each evaluated with `bias` on the same rows.
        reference: the model that all others are compared with; None takes the one that was audited first.
        repeats: bootstrap resamples.

    Returns: evidence with the table "bias_comparisons": subject, reference, cohort, split, attribute, part (all,
        conflicting, aligned, worst, gap), metric, difference (subject minus reference; of a gap less is better), low,
        high, n (units), seeds (of the one that has fewer), reason (why there is no number). Cases against and with
        training are compared where both models were audited with the same ones, the rest where their groups are the
        same.

    Raises:
        DataError: fewer than two models were audited on the same cohort and split, or on different rows of it.
    """
    audits = evidence.tables.get("bias", pd.DataFrame({"subject": [], "cohort": [], "split": []}))
    lines: list[dict[str, object]] = []
    for (cohort, split), own in audits.groupby(["cohort", "split"], sort=False):
        subjects = list(dict.fromkeys(own["subject"]))
        first = subjects[0] if reference is None else reference
        if first not in subjects:
            continue
        for subject in subjects:
            if subject != first:
                lines += _pair(evidence, (subject, first), (str(cohort), str(split)), repeats)
    if not lines:
        raise DataError(
            "compare_audits", f"two models, {reference or 'the first'} one of them, audited on the same rows",
            f"the evidence has audits of {', '.join(dict.fromkeys(audits['subject'])) or 'none'}",
            "Evaluate all with `bias` on the same cohort and split and add the evidence.",
        )  # fmt: skip
    return Evidence(tables={TABLE: pd.DataFrame(lines)})


def _pair(
    evidence: Evidence, names: tuple[str, str], place: Place, repeats: int
) -> Iterator[dict[str, object]]:
    """Every attribute that both were audited by."""
    tables = [measured_tables(evidence, name, METRICS[0])[place] for name in names]
    refuse_different_rows(*names, place[0], [*tables[0], *tables[1]])
    members = [_members(evidence, name, place) for name in names]
    for attribute in members[0]:
        if attribute not in members[1]:
            continue
        ours, theirs = (
            _audited(own, by_attribute[attribute], name)
            for own, by_attribute, name in zip(tables, members, names)
        )
        told: dict[str, object] = {
            "subject": names[0], "reference": names[1], "cohort": place[0], "split": place[1], "attribute": attribute
        }  # fmt: skip
        seeds = min(len(ours.seeds), len(theirs.seeds))
        yield from (told | line | {"seeds": seeds} for line in _differences(ours, theirs, repeats))


def _members(evidence: Evidence, subject: str, place: Place) -> dict[str, pd.DataFrame]:
    """The group of each row, and its sides, by attribute; of one seed, as they are the same for all."""
    table = evidence.tables["bias_groups"]
    asked = {"subject": subject, "cohort": place[0], "split": place[1]}
    own = table[(table.reindex(columns=list(asked)) == pd.Series(asked)).all(axis=1)]
    if own.empty:
        raise DataError(
            "compare_audits", "audits that tell whose groups they are", f"that of {subject} is of an older version",
            "Evaluate it anew.",
        )  # fmt: skip
    own = own[own["seed"] == own["seed"].iloc[0]]
    return {str(name): rows for name, rows in own.groupby("attribute", sort=False)}


def _audited(tables: Sequence[pd.DataFrame], member: pd.DataFrame, subject: str) -> Audited:
    if member["row"].duplicated().any():
        raise DataError(
            "compare_audits", "one audit of each model", f"{subject} was audited more than once, and differently",
            "Evaluate it once, or give the audits different names.",
        )  # fmt: skip
    ordered = member.set_index("row").reindex(tables[0]["row"].astype(int))
    columns = [name for name in ordered if str(name).startswith("side_") and ordered[name].notna().all()]
    return Audited(
        [Rows(from_table(table), table["unit"].to_numpy()) for table in tables],
        ordered["group"].to_numpy(object),
        ordered[columns].to_numpy() if columns else None,
    )


def _differences(ours: Audited, theirs: Audited, repeats: int) -> Iterator[dict[str, object]]:
    units = ours.seeds[0].units
    for name in METRICS:
        scores = [mean_over_seeds([metric_on(rows, name) for rows in each.seeds]) for each in (ours, theirs)]
        yield _line("all", name, scores, units, repeats)
    if ours.sides is not None and theirs.sides is not None:
        same = ours.sides.shape == theirs.sides.shape and (ours.sides == theirs.sides).all()
        for part, side in SIDES.items():
            kept = [[rows_kept(rows, ours.sides == side) for rows in each.seeds] for each in (ours, theirs)]
            for name in METRICS:
                scores = [mean_over_seeds([metric_on(rows, name) for rows in each]) for each in kept]
                if same:
                    yield _line(part, name, scores, kept[0][0].units, repeats)
                else:
                    yield _nothing(part, name, "their training data make other cases go against them")
    yield from _across(ours, theirs, repeats)


def _across(ours: Audited, theirs: Audited, repeats: int) -> Iterator[dict[str, object]]:
    """The worst group and the gap; each model has its own worst group."""
    classes = [f"class {index}" for index in range(ours.seeds[0].outcome.probabilities.shape[1])]
    compared = [
        [compared_groups(rows, each.groups, classes, "units")[0] for rows in each.seeds]
        for each in (ours, theirs)
    ]
    reason = compared[0][0].reason
    if not (ours.groups == theirs.groups).all():
        reason = "their groups are not the same"
    for name in METRICS:
        for part in ACROSS:
            if reason:
                yield _nothing(part, name, reason)
                continue
            scores = [mean_over_seeds([metric_across(one, name, part) for one in each]) for each in compared]
            yield _line(part, name, scores, compared[0][0].rows.units, repeats)


def _line(
    part: str, metric: str, scores: Sequence[Metric], units: np.ndarray, repeats: int
) -> dict[str, object]:
    found = paired_difference(scores[0], scores[1], units, repeats)
    return {
        "part": part, "metric": metric, "difference": found.value, "low": found.low, "high": found.high,
        "n": found.units, "reason": "" if np.isfinite(found.value) else "undefined for one of them",
    }  # fmt: skip


def _nothing(part: str, metric: str, reason: str) -> dict[str, object]:
    return {
        "part": part, "metric": metric, "difference": np.nan, "low": np.nan, "high": np.nan, "n": 0, "reason": reason
    }  # fmt: skip
