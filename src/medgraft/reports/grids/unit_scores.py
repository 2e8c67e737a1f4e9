"""The score of every single patient or block, for every subject of a target."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from medgraft.reports.panels import Panel
from medgraft.reports.wording import describe_score


class UnitScores(NamedTuple):
    """What single units scored.

    values: (units, subjects) means over classes and seeds; NaN where a subject has no score of a unit.
    metric: name of the score; "" for a share of images that were right.
    label: the score in words.
    """

    values: pd.DataFrame
    metric: str
    label: str
    higher_is_better: bool


def unit_scores(panel: Panel) -> UnitScores:
    """The main score by unit; of classifications, which have none by unit, the share of images that were right."""
    columns = {}
    for subject in panel.subjects:
        tables = [t for t in panel.scores.get(subject, {}).values() if {"unit", panel.main} <= set(t.columns)]
        if tables:
            columns[subject] = pd.concat(tables).groupby("unit")[panel.main].mean()
    if columns:
        known = describe_score(panel.main)
        values = pd.DataFrame(columns).dropna(how="all")
        return UnitScores(values, panel.main, known.label, known.higher_is_better is not False)
    for subject in panel.subjects:
        tables = [
            table[["unit"]].assign(right=(table["truth"] == table["predicted"]).astype(float))
            for table in panel.predictions.get(subject, {}).values()
            if {"unit", "truth", "predicted"} <= set(table.columns)
        ]
        if tables:
            columns[subject] = pd.concat(tables).groupby("unit")["right"].mean()
    return UnitScores(pd.DataFrame(columns), "", "share of images that were right", True)
