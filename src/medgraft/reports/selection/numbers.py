"""Selections of sources as plain data, for the report's JSON."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medgraft.evidence import Evidence
from medgraft.reports.selection.performance import performances
from medgraft.reports.selection.source_selection import (
    ALL,
    CHOICES,
    FORMS,
    OWN,
    REGRET,
    RELIABILITY,
    TAUS,
    Selection,
    read_selections,
)

Plain = dict[str, Any]


def selection_numbers(evidence: Evidence) -> list[Plain]:
    """One entry for each budget: what fine-tuning gave, what scores said, and what their choices cost."""
    return [_selection(selection) for selection in read_selections(evidence)]


def _selection(selection: Selection) -> Plain:
    return {
        "budget": "all" if selection.budget == ALL else selection.budget,
        "metric": selection.metric,
        "targets": [_target(selection, target) for target in selection.targets],
        "regret": _rows(selection.regret, REGRET),
        "score_seconds": [
            {"score": str(name), "median": float(own["seconds"].median()), "longest": float(own["seconds"].max()),
             "defined": int(own["value"].notna().sum()), "asked": len(own)}
            for name, own in selection.scores.groupby("score", sort=False)
        ],
    }  # fmt: skip


def _target(selection: Selection, target: str) -> Plain:
    def of_target(table: pd.DataFrame, name: str) -> list[Plain]:
        return _rows(table[table["cohort"] == target], name)

    known = of_target(selection.reliability, RELIABILITY)
    return {
        "cohort": target,
        "tells_apart": target in selection.readable,
        "reliability": {name: value for name, value in known[0].items() if name != "tells_apart"} if known else None,
        "sources": [
            {"source": one.source, "size": one.size, "own": one.own, "mean": one.mean, "values": one.values}
            for one in performances(selection)
            if one.target == target
        ],
        "taus": of_target(selection.taus, TAUS),
        "choices": of_target(selection.choices, CHOICES),
        "own_sources": of_target(selection.own, OWN),
    }  # fmt: skip


def _rows(table: pd.DataFrame, name: str) -> list[Plain]:
    """Rows of a table without the columns that say which block they are of."""
    columns = [column for column in FORMS[name] if column not in ("cohort", "budget")]
    return [{column: row[column] for column in columns} for row in table.to_dict("records")]
