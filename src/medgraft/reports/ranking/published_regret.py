"""What published scores cost on published targets: the outlook for a choice made by the same score."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd

from medgraft.evidence import Evidence
from medgraft.reports.ranking.source_ranking import REGRET, refuse_gaps
from medgraft.reports.ranking.titles import score_title
from medgraft.reports.wording import MINUS, number, percent, span

ALWAYS = "always "
POINTS = 100
"""Points of AUC, as the publication counts them, in an AUC of 1."""
LEVEL = 0.95
COLUMNS = ("score", "tau", "against_best", "low", "high", "against_baseline", "baseline_low", "baseline_high")


class Cost(NamedTuple):
    """What choosing by a score cost on average, in AUC points; the baseline is one of the rows.

    tau: weighted, mean over targets, as text.
    best, baseline: against the best source, and against always taking the baseline: text, with intervals.
    decides: a ranking in this report goes by this score.
    """

    title: str
    tau: str
    best: tuple[str, str]
    baseline: tuple[str, str]
    decides: bool


class Outlook(NamedTuple):
    """The costs of all published scores; `baseline` is what would always be taken instead."""

    baseline: str
    costs: list[Cost]


def read_regret(evidence: Evidence) -> pd.DataFrame:
    """The table of expected regret; without rows where evidence has none.

    Raises:
        DataError: it lacks a column.
    """
    table = evidence.tables.get(REGRET, pd.DataFrame(columns=list(COLUMNS)))
    refuse_gaps(REGRET, table, COLUMNS)
    return table


def outlook(table: pd.DataFrame, deciding: set[str]) -> Outlook | None:
    """The table, ready for a page; None without rows."""
    if table.empty:
        return None
    costs = [
        Cost(
            title=_title(str(row["score"])),
            tau=number(float(row["tau"]), 2) if math.isfinite(float(row["tau"])) else "",
            best=_points(row, "against_best", "low", "high"),
            baseline=("", "") if _is_baseline(row) else _points(row, *COLUMNS[-3:]),
            decides=str(row["score"]) in deciding,
        )
        for row in table.to_dict("records")
    ]
    return Outlook(_baseline(table), costs)


def regret_sentence(table: pd.DataFrame, score: str) -> str:
    """What a choice by this score cost where all is known; empty where it was not published."""
    rows = table[table["score"] == score]
    if rows.empty:
        return ""
    row = rows.iloc[0].to_dict()
    loss, interval = _points(row, "against_best", "low", "high")
    more, its_interval = _points(row, *COLUMNS[-3:])
    low, high = float(row["baseline_low"]), float(row["baseline_high"])
    beside = f", not told apart from {_always(table)} (difference {more}, {its_interval})"
    if low > 0:
        beside = f", {more} ({its_interval}) more than {_always(table)}"
    elif high < 0:
        beside = f", {more.removeprefix(MINUS)} less than {_always(table)} (difference {its_interval})"
    return (
        f"On published targets a choice by {score_title(score)} is expected to lose {loss} AUC points against the "
        f"best source ({percent(LEVEL)} interval {interval}){beside}."
    )


def _always(table: pd.DataFrame) -> str:
    return _baseline(table).replace(ALWAYS, f"{ALWAYS}taking ", 1)


def _baseline(table: pd.DataFrame) -> str:
    return next((name for name in map(str, table["score"]) if name.startswith(ALWAYS)), "the baseline")


def _is_baseline(row: dict[object, object]) -> bool:
    return str(row["score"]).startswith(ALWAYS)


def _title(name: str) -> str:
    return name if name.startswith(ALWAYS) else score_title(name)


def _points(row: dict[object, object], *names: str) -> tuple[str, str]:
    value, low, high = (POINTS * float(str(row[name])) for name in names)
    return number(value, 1), span(low, high, 1)
