"""What adaptation changed: every subject at every target, against the same source as it came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from medgraft.evidence import Evidence
from medgraft.reports.comparison import make_cell
from medgraft.reports.grids.grid import FINISHED, Grid
from medgraft.reports.grids.sites import budget_text
from medgraft.reports.panels import Panel
from medgraft.reports.wording import describe_score

STATISTICS = "batch_statistics"


class Gain(NamedTuple):
    """What a subject did to a source model at a target.

    before, after: the target's main score of the source as it is, and of the subject; means over seeds.
    gain: after minus before, turned round where less is better. low, high: its interval over units, NaN without one.
    drop: how much better the source does at its own site than here, before adaptation; NaN where nobody measured it.
    distance: divergence of batch statistics of source and target, mean over layers and seeds; NaN where not recorded.
    labelled_images, seconds: of one cell, means over seeds.
    """

    subject: str
    method: str
    role: str
    source: str
    source_cohort: str
    cohort: str
    labels: str
    labelled_images: float
    before: float
    after: float
    gain: float
    low: float
    high: float
    drop: float
    distance: float
    seconds: float

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the interval lies above or below 0; else empty."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else ""


def gains(evidence: Evidence, grid: Grid, panels: Sequence[Panel]) -> list[Gain]:
    """Gains over no adaptation of every subject at every target that both were scored at.

    Args:
        evidence: also holds the tables "batch_statistics".
        grid: its cells.
        panels: of targets and of the sources' own cohorts, all splits.
    """
    found = []
    for panel in (panel for panel in panels if grid.is_target(panel)):
        higher = describe_score(panel.main).higher_is_better is not False
        cells = grid.at(panel.cohort)
        for subject, own in cells[cells["state"] == FINISHED].groupby("subject", sort=False):
            about = own.iloc[0]
            first = grid.no_adaptation(panel.cohort, str(about["source"]))
            before, after = (_value(panel, name, panel.main) for name in (first, str(subject)))
            if subject == first or not (math.isfinite(before) and math.isfinite(after)):
                continue
            sign = 1 if higher else -1
            home = _at_home(panels, str(about["source_cohort"]), first, panel.main)
            found.append(
                Gain(
                    str(subject),
                    str(about["method"]),
                    str(about["role"]),
                    str(about["source"]), str(about["source_cohort"]),
                    panel.cohort, budget_text(own), float(own["labelled_images"].mean()), before, after,
                    sign * (after - before), *_interval(panel, str(subject), first, higher),
                    sign * (home - before), _distance(evidence, str(subject), panel.cohort),
                    float(own["seconds"].mean()),
                )
            )  # fmt: skip
    return found


def scores_of_subjects(
    grid: Grid, panels: Sequence[Panel]
) -> list[tuple[str, tuple[str, str, str], str, float]]:
    """Method, pair (source, what it was trained on, target), labels in words and mean score of every subject."""
    found = []
    for panel in (panel for panel in panels if grid.is_target(panel)):
        cells = grid.at(panel.cohort)
        for subject, own in cells[cells["state"] == FINISHED].groupby("subject", sort=False):
            value = _value(panel, str(subject), panel.main)
            if math.isfinite(value):
                method, source, trained_on = (
                    str(own[name].iloc[0]) for name in ("method", "source", "source_cohort")
                )
                found.append((method, (source, trained_on, panel.cohort), budget_text(own), value))
    return found


def _value(panel: Panel, subject: str, metric: str) -> float:
    cell = make_cell(panel, subject, metric) if subject else None
    return cell.value if cell is not None and cell.seeds else math.nan


def _at_home(panels: Sequence[Panel], source_cohort: str, subject: str, metric: str) -> float:
    """The score of a source as it is on the cohort that it was trained on."""
    values = (_value(panel, subject, metric) for panel in panels if panel.cohort == source_cohort)
    return next((value for value in values if math.isfinite(value)), math.nan)


def _interval(panel: Panel, subject: str, reference: str, higher: bool) -> tuple[float, float]:
    told = panel.comparisons
    if told.empty:
        return math.nan, math.nan
    told = told[(told["subject"] == subject) & (told["reference"] == reference)]
    told = told[told["metric"] == panel.main]
    if told.empty:
        return math.nan, math.nan
    low, high = (float(told[end].iloc[0]) for end in ("low", "high"))
    return (low, high) if higher else (-high, -low)


def _distance(evidence: Evidence, subject: str, cohort: str) -> float:
    means = []
    for name, table in evidence.tables.items():
        if name.startswith(f"{STATISTICS}/{subject}/") and {"cohort", "divergence"} <= set(table.columns):
            of_target = table[table["cohort"] == cohort]
            if len(of_target):
                means.append(float(of_target["divergence"].mean()))
    return sum(means) / len(means) if means else math.nan
