"""The numbers of a report as JSON, for programs; the page is for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medgraft.evidence import Evidence
from medgraft.reports.bias import audit_differences, audit_scores
from medgraft.reports.caveats import caveats
from medgraft.reports.comparison import Cell, make_cell
from medgraft.reports.files import write_whole
from medgraft.reports.grids.efficiency import cost_against_gain, label_efficiency
from medgraft.reports.grids.gains import gains
from medgraft.reports.grids.grid import Grid, read_grid
from medgraft.reports.grids.negative_transfer import COLUMNS as NEGATIVE_TRANSFER
from medgraft.reports.grids.over_runs import COLUMNS as RUN_TEST
from medgraft.reports.grids.ranking import critical_difference, ranked_elsewhere, ranking, rows_about
from medgraft.reports.grids.sites import forgetting, site_maps, target_panel
from medgraft.reports.grids.source_trainings import source_trainings
from medgraft.reports.grids.unit_scores import unit_scores
from medgraft.reports.grids.violins import spread_over_units
from medgraft.reports.grids.worst_units import worst_units
from medgraft.reports.panels import Panel, make_panels
from medgraft.reports.ranking.numbers import ranking_numbers, regret_numbers
from medgraft.reports.report import refuse_no_facts
from medgraft.reports.selection.numbers import selection_numbers
from medgraft.reports.stains import stain_numbers
from medgraft.reports.subgroups import group_scores
from medgraft.reports.training_numbers import training_numbers
from medgraft.reports.wording import describe_score

SCHEMA = "medgraft.report/1"
SCHEMA_FILE = Path(__file__).parent / "schema" / "report.schema.json"
Plain = dict[str, Any]


def write_numbers(
    evidence: Evidence | str | Path, path: str | Path, *, title: str = "medgraft report"
) -> Path:
    """Write the numbers that a report of this evidence shows as JSON.

    Args:
        evidence: what was measured, or the folder it was saved in.
        path: the JSON file to write; one that is there is replaced.
        title: of the report.

    Returns: the path.

    Raises:
        DataError: there is no evidence in the folder, it holds no facts, or `path` is a folder.
    """
    if not isinstance(evidence, Evidence):
        evidence = Evidence.load(evidence)
    refuse_no_facts(evidence)
    text = json.dumps(report_numbers(evidence, title=title), indent=1, allow_nan=False, ensure_ascii=False)
    return write_whole(Path(path), text + "\n", "a JSON file")


def report_numbers(evidence: Evidence, *, title: str = "medgraft report") -> Plain:
    """The numbers of a report as plain data, as `schema/report.schema.json` describes them.

    The same evidence gives the same numbers; what is undefined is None.

    >>> import pandas as pd
    >>> from medgraft.evidence import fact
    >>> row = fact(subject="probe", cohort="Porto", metric="auroc", value=0.8)
    >>> report_numbers(Evidence(pd.DataFrame([row])))["cohorts"][0]["subjects"][0]["scores"][0]["value"]
    0.8
    """
    grid, panels = read_grid(evidence), make_panels(evidence)
    found: Plain = {
        "schema": SCHEMA,
        "title": title,
        "warnings": caveats(evidence),
        "cohorts": [_cohort(evidence, grid, panel) for panel in panels],
        "grid": None if grid is None else _grid(evidence, grid, panels),
        "source_rankings": ranking_numbers(evidence, panels),
        "expected_regret": regret_numbers(evidence),
        "source_selections": selection_numbers(evidence),
        **training_numbers(evidence),
        **stain_numbers(evidence),
    }
    plain: Plain = _plain(found)
    return plain


def _cohort(evidence: Evidence, grid: Grid | None, panel: Panel) -> Plain:
    target = None
    if grid is not None and grid.is_target(panel):
        panel = target_panel(grid, panel)
        target = _target(evidence, grid, panel)
    return {
        "cohort": panel.cohort,
        "split": panel.split,
        "metric": panel.main,
        "higher_is_better": describe_score(panel.main).higher_is_better,
        "level": panel.level,
        "units": panel.units,
        "subjects": [_subject(evidence, panel, subject) for subject in panel.subjects],
        "comparisons": [
            _picked(row, "subject", "reference", "metric", "difference", "low", "high", "n", "seeds")
            for row in panel.comparisons.to_dict("records")
        ],
        "target": target,
    }


def _subject(evidence: Evidence, panel: Panel, subject: str) -> Plain:
    facts = panel.facts[panel.facts["subject"] == subject]
    pairs = dict.fromkeys(zip(facts["metric"], facts["part"], strict=True))
    scores = []
    for metric, part in pairs:
        cell = make_cell(panel, subject, metric, part)
        if cell is not None:
            scores.append({"metric": metric, "part": part, **_cell(cell)})
    groups = [
        {"attribute": attribute, "group": group, "metric": metric, "n": n, **_cell(cell)}
        for (attribute, group), metric, n, cell in group_scores(evidence, panel, subject)
    ]
    selection = sorted(set(facts["selection"]))
    audits = [
        {"attribute": attribute, "part": part, "group": group, "metric": metric, **_cell(cell)}
        for (attribute, part, group), metric, cell in audit_scores(evidence, panel, subject)
    ]
    columns = ("attribute", "part", "metric", "reference", "difference", "low", "high", "n", "seeds")
    differences = [_picked(line, *columns) for line in audit_differences(evidence, panel, subject)]
    return {
        "subject": subject, "selection": selection, "scores": scores, "subgroups": groups, "audits": audits,
        "audit_differences": differences,
    }  # fmt: skip


def _cell(cell: Cell) -> Plain:
    return {
        "value": cell.value,
        "low": cell.low,
        "high": cell.high,
        "seed_spread": cell.spread,
        "seeds": list(cell.seeds),
    }


def _target(evidence: Evidence, grid: Grid, panel: Panel) -> Plain:
    rows = ranking(evidence, grid, panel)
    worst = worst_units(panel)
    return {
        "ranking": [
            {
                "subject": row.subject, "role": row.role, "value": row.cell.value if row.cell else None,
                "mean_rank": row.mean_rank, "letters": row.letters, "selection": row.selection,
                "settings_tried": row.tried, "oracle": row.oracle,
            }
            for row in rows
        ],
        "critical_difference": critical_difference(evidence, panel.cohort, panel.main),
        "difference_tests": [
            _picked(row, "subject", "reference", "p_wilcoxon", "p_permutation", "p_holm", "detectable")
            for row in rows_about(evidence, "difference_tests", panel.cohort, panel.main).to_dict("records")
        ],
        "run_tests": [
            _picked(row, *RUN_TEST)
            for row in rows_about(evidence, "run_tests", panel.cohort, panel.main).to_dict("records")
        ],
        "negative_transfer": [
            _picked(row, *NEGATIVE_TRANSFER)
            for row in rows_about(evidence, "negative_transfer", panel.cohort, panel.main).to_dict("records")
        ],
        "label_efficiency": [
            {
                "source": one.source,
                "band": one.band,
                "curves": [
                    {"method": curve.method, "points": [point._asdict() for point in curve.points]}
                    for curve in one.curves
                ],
                "lines": [level._asdict() for level in one.levels],
            }
            for one in label_efficiency(grid, panel)
        ],
        "cost_against_gain": [spent._asdict() for spent in cost_against_gain(grid, panel)],
        "spread_over_units": _spread(panel, [row.subject for row in rows]),
        "worst_units": None if worst is None else {
            "score": worst.score,
            "units": [unit._asdict() for unit in worst.units],
            "of": worst.among,
        },
    }  # fmt: skip


def _spread(panel: Panel, subjects: list[str]) -> list[Plain]:
    found = unit_scores(panel)
    return [
        {
            "subject": one.subject, "score": found.label, "units": len(one.scores),
            "lowest": one.scores[0], "highest": one.scores[-1],
            **dict(zip(("lower_quartile", "median", "upper_quartile"), one.quartiles, strict=True)),
        }
        for one in spread_over_units(found, subjects)
    ]  # fmt: skip


def _grid(evidence: Evidence, grid: Grid, panels: list[Panel]) -> Plain:
    own = [target_panel(grid, panel) for panel in panels if grid.is_target(panel)]
    return {
        "targets": grid.targets,
        "methods": grid.methods,
        "finished": len(grid.finished),
        "failed": len(grid.failed),
        "cells": [
            {**row, "settings": _settings(str(row["settings"]))} for row in grid.cells.to_dict("records")
        ],
        "overall_ranks": [
            {
                "cohort": cohort,
                "metric": metric,
                "ranks": [
                    _picked(row, "subject", "mean_rank", "letters")
                    for row in rows_about(evidence, "ranks", cohort, metric).to_dict("records")
                ],
                "critical_difference": critical_difference(evidence, cohort, metric),
            }
            for cohort, metric in ranked_elsewhere(evidence, grid.targets)
        ],
        "sites": [
            {"method": site_map.method, "budget": site_map.budget, "source": source, "target": cell.target,
             "subject": cell.subject, "value": cell.value}
            for site_map in site_maps(grid, own, every_budget=True)
            for source, row in site_map.rows
            for cell in row
        ],
        "forgetting": [
            {"cohort": found.cohort, "split": found.split, "metric": found.metric, "subject": row.subject,
             "before": row.before.value, "after": row.after.value,
             "low": row.after.low, "high": row.after.high}
            for found in forgetting(grid, panels)
            for row in found.rows
        ],
        "gains": [gain._asdict() for gain in gains(evidence, grid, panels)],
        "source_trainings": [logged._asdict() for logged in source_trainings(evidence)],
    }  # fmt: skip


def _settings(text: str) -> object:
    """Chosen settings as they were; None where none were noted."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def _picked(row: Mapping[Any, Any], *names: str) -> Plain:
    return {name: row.get(name) for name in names}


def _plain(value: Any) -> Any:
    """What JSON knows; NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):
        value = value.item()
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value
