"""How training went: learning curves from histories, and what became of every tensor of the source."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd

from medgraft.evidence import Evidence
from medgraft.reports.charts import Chart, Line, learning_curve
from medgraft.reports.feature_drift import POINTS, SEPARATIONS
from medgraft.reports.panels import SEEDED
from medgraft.reports.ranking.source_ranking import TABLES as RANKING_TABLES
from medgraft.reports.selection.source_selection import TABLES as SELECTION_TABLES
from medgraft.reports.stains import COLUMNS as STAINS

OUTCOMES = ("adapted", "new", "dropped", "loaded")
HISTORY = "history/"
"""Tables of this name tell how a training went."""
KNOWN = (
    "predictions/",
    "scores/",
    HISTORY,
    "classes/",
    "plan/",
    "updates/",
    "policy/",
    "clusters/",
    "alignment/",
    "watched/",
    "watched_planes/",
)
SHOWN_ELSEWHERE = (
    *("comparisons", "examples", "subgroups"),
    *("bias", "bias_groups", "bias_probes", "bias_comparisons", "readers"),
    *("grid", "ranks", "critical_difference", "difference_tests", "run_tests"),
    *("negative_transfer", "patient_pictures", "source_trainings"),
    *(POINTS, SEPARATIONS),
    *STAINS,
    *RANKING_TABLES,
    *SELECTION_TABLES,
)
WITHHELD = {"unit", "patient", "patients"}
ROWS_SHOWN = 12


class PlanView(NamedTuple):
    """A regraft plan: how many tensors had which outcome, and those that were not simply loaded."""

    title: str
    counts: str
    rows: list[tuple[str, str, str, str]]


class TableView(NamedTuple):
    """The first rows of a table that a run recorded."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    left_out: int


def learning_curves(evidence: Evidence) -> list[Chart]:
    """One chart per subject (and part of its training), one line per seed."""
    lines: dict[tuple[str, ...], list[Line]] = {}
    for name, table in evidence.tables.items():
        match = SEEDED.fullmatch(name)
        if match is None or match["kind"] != "history" or not {"epoch", "loss"} <= set(table.columns):
            continue
        of_cohort = table.groupby("cohort", sort=False) if "cohort" in table else [("", table)]
        for cohort, rows in of_cohort:
            key = (match["subject"], match["part"] or "", str(cohort))
            lines.setdefault(key, []).extend(_lines(f"seed {match['seed']}", rows))
    several = len({cohort for _, _, cohort in lines}) > 1
    charts = []
    for (subject, part, cohort), of_chart in lines.items():
        caption = " · ".join(word for word in (subject, part, cohort if several else "") if word)
        charts.append(learning_curve(caption, of_chart))
    return charts


def _lines(name: str, table: pd.DataFrame) -> list[Line]:
    """One line, or several where epochs start again, as after two trainings under one name."""
    epochs = table["epoch"].to_numpy(dtype=np.float64)
    starts = np.flatnonzero(np.diff(epochs) <= 0) + 1
    scores = table["score"] if "score" in table else pd.Series(np.nan, index=table.index)
    columns = [epochs + 1, table["loss"].to_numpy(np.float64), scores.to_numpy(np.float64)]
    pieces = zip(*(np.split(column, starts) for column in columns), strict=True)
    return [Line(name, *piece) for piece in pieces]


def regraft_plans(evidence: Evidence) -> list[PlanView]:
    """Each different plan once, under the names of all subjects that had it."""
    subjects: dict[str, list[str]] = {}
    tables: dict[str, pd.DataFrame] = {}
    for name, table in evidence.tables.items():
        if name.startswith("plan/") and {"tensor", "outcome", "from", "to"} <= set(table.columns):
            match = SEEDED.fullmatch(name)
            text = table.to_csv(index=False)
            tables[text] = table
            subject = match["subject"] if match else name.removeprefix("plan/")
            if subject not in subjects.setdefault(text, []):
                subjects[text].append(subject)
    return [_plan_view(", ".join(subjects[text]), table) for text, table in tables.items()]


def _plan_view(title: str, table: pd.DataFrame) -> PlanView:
    counts = Counter(table["outcome"].astype(str))
    order = [name for name in OUTCOMES if name in counts] + sorted(set(counts) - set(OUTCOMES))
    told = ", ".join(f"{counts[name]:,} {name}" for name in reversed(order))
    changed = table[table["outcome"] != "loaded"].fillna("")
    rows = [
        (str(line["tensor"]), str(line["outcome"]), str(line["from"]), str(line["to"]))
        for line in changed.to_dict("records")
    ]
    return PlanView(title, told, rows)


def recorded_tables(evidence: Evidence) -> list[TableView]:
    """The beginning of every table that the report does not otherwise use, without columns of patients."""
    views = []
    known = (*KNOWN, "batch_statistics/") if "grid" in evidence.tables else KNOWN  # of every cell: too many
    for name, table in evidence.tables.items():
        if name.startswith(known) or name in SHOWN_ELSEWHERE:
            continue
        shown = table[[column for column in table.columns if column not in WITHHELD]]
        rows = [
            [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in line]
            for line in shown.head(ROWS_SHOWN).itertuples(index=False, name=None)
        ]
        views.append(TableView(name, list(shown.columns), rows, max(0, len(table) - ROWS_SHOWN)))
    return views
