"""Scores of groups of patients, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from medgraft.evidence import Evidence
from medgraft.reports.comparison import Cell, Table
from medgraft.reports.panels import Panel
from medgraft.reports.wording import describe_score

TABLE = "subgroups"
Groups = tuple[str, str]
"""An attribute and one of its groups."""


def rows_of_groups(evidence: Evidence, cohort: str, split: str) -> pd.DataFrame:
    """What was measured by group on the rows of a panel; empty where nothing was."""
    if TABLE not in evidence.tables:
        return pd.DataFrame({"attribute": []})
    table = evidence.tables[TABLE]
    return table[(table["cohort"] == cohort) & (table["split"] == split)]


def subgroup_tables(evidence: Evidence, panel: Panel) -> list[tuple[str, Table]]:
    """For every attribute, the main score of each subject in each group."""
    rows = rows_of_groups(evidence, panel.cohort, panel.split)
    tables = []
    for attribute, own in rows.groupby("attribute", sort=False):
        shown = own[own["metric"] == panel.main]
        groups = list(dict.fromkeys(shown["group"]))
        sizes = {group: int(shown.loc[shown["group"] == group, "n"].max()) for group in groups}
        unit = str(shown["unit"].iloc[0]) if len(shown) else ""
        cells = [
            (subject, [group_cell(shown, subject, group, panel.main) for group in groups])
            for subject in panel.subjects
            if (shown["subject"] == subject).any()
        ]
        if cells:
            headings = [f"{group} ({sizes[group]} {unit})" for group in groups]
            tables.append((f"{describe_score(panel.main).label} by {attribute}", Table(headings, cells)))
    return tables


def group_cell(rows: pd.DataFrame, subject: str, group: str, metric: str) -> Cell | None:
    """One group's score: the mean over seeds of the value and of the interval's ends."""
    own = rows[(rows["subject"] == subject) & (rows["group"] == group) & (rows["metric"] == metric)]
    return mean_cell(own, digits=2 if describe_score(metric).is_distance else 3)


def mean_cell(rows: pd.DataFrame, digits: int = 3) -> Cell | None:
    """The mean over rows, one per seed, of value, low and high; undefined ones are left out."""
    own = rows[rows["value"].notna()]
    if own.empty:
        return None
    values = own["value"]
    return Cell(
        float(values.mean()),
        float(own["low"].mean()),
        float(own["high"].mean()),
        float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        tuple(values.tolist()),
        digits=digits,
    )


def group_scores(evidence: Evidence, panel: Panel, subject: str) -> Iterator[tuple[Groups, str, int, Cell]]:
    """Every score of a subject in every group: the group, the score's name, how many units, the numbers."""
    rows = rows_of_groups(evidence, panel.cohort, panel.split)
    if rows.empty:
        return
    own = rows[rows["subject"] == subject]
    for attribute, group, metric in dict.fromkeys(zip(own["attribute"], own["group"], own["metric"])):
        cell = group_cell(own[own["attribute"] == attribute], subject, group, metric)
        if cell is not None:
            chosen = own[(own["attribute"] == attribute) & (own["group"] == group)]
            yield (attribute, group), metric, int(chosen["n"].max()), cell
