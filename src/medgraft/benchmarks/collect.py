"""What the cells of a grid say together, as evidence for a report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from medgraft.benchmarks.candidates import AS_IT_IS
from medgraft.benchmarks.compare import compare_subjects
from medgraft.benchmarks.grid import HUBS, INSTALLED
from medgraft.benchmarks.negative_transfer import negative_transfer
from medgraft.benchmarks.over_runs import compare_runs
from medgraft.benchmarks.patient_pictures import TABLE as PICTURES
from medgraft.benchmarks.patient_pictures import patient_pictures
from medgraft.benchmarks.plan import Plan, Row
from medgraft.benchmarks.recorded import HISTORY
from medgraft.benchmarks.rows import SOURCE, SUBJECT, TARGET
from medgraft.benchmarks.selection import judge_scores
from medgraft.benchmarks.source_trainings import source_trainings
from medgraft.benchmarks.store import Result, Store
from medgraft.evidence import Evidence
from medgraft.evidence.union import unite_tables

TIMES = ("seconds", "peak_mib", "gpu_seconds")
"""Columns of the table "grid" that differ from one computation to the next."""


def collect(plan: Plan, store: Store, results: Mapping[str, Result]) -> Evidence:
    """Evidence of all cells that ended, in the order of the grid, whoever computed them when.

    Args:
        plan: names of cells.
        store: holds what they measured.
        results: how they ended, by key.

    Returns: facts and tables under the grid's names, the tables "grid", "comparisons", "ranks",
        "critical_difference", "difference_tests", "run_tests", "negative_transfer", "source_trainings" and
        "patient_pictures" (of methods without labels, with the pictures), of grids that rank sources those of
        `judge_scores`; oracle's scores are facts only.
    """
    facts: list[pd.DataFrame] = []
    tables: dict[str, pd.DataFrame] = {}
    entries: list[dict[str, Any]] = [_about_grid(plan, results)]
    warnings: list[str] = []
    lines = []
    for row in plan.rows:
        result = results.get(row.key)
        if result is None:
            continue
        if not row.oracle:
            lines.append(_line(row, result))
        if result.state == "failed":
            warnings.append(f"{_called(row)} failed: {_named(result.error, row)}")
            continue
        measured = store.evidence(row.key)
        trained = plan.cells[row.key].needs
        if not plan.grid.adapt and trained is not None:
            measured += Evidence(tables=_of_source(store.evidence(trained).tables))
        facts.append(_facts(measured.facts, row))
        warnings += [_named(warning, row) for warning in measured.warnings]
        if not row.oracle:
            tables = unite_tables(tables, _tables(measured.tables, row))
            entries += [_about_data(entry, row) for entry in measured.provenance]
    if lines:
        tables["grid"] = pd.DataFrame(lines)
    warnings += unequal_search(plan)
    trainings = source_trainings(plan, store, results)
    together = Evidence(
        facts=pd.concat(facts, ignore_index=True) if facts else Evidence.empty().facts,
        provenance=tuple(entries),
        tables=tables,
        warnings=tuple(dict.fromkeys(warnings)),
    )
    together += patient_pictures(together, plan.rows, store, results)
    judged = judge_scores(plan, store, results, together.facts)
    harm = negative_transfer(together, plan.rows)
    compared = compare_subjects(together, plan.rows) + compare_runs(together, plan.rows, plan.grid)
    return (
        together
        + trainings
        + compared
        + judged
        + Evidence(tables={"negative_transfer": harm} if len(harm) else {})
    )


def unequal_search(plan: Plan) -> list[str]:
    """A sentence where methods could choose among unequal numbers of settings."""
    tried = {row.method: len(plan.cells[row.key].settings) for row in plan.rows if row.method != AS_IT_IS}
    if len(set(tried.values())) < 2:
        return []
    most = max(tried.values())
    fewer = [f"{method} {count}" for method, count in tried.items() if count < most]
    return [f"Search was unequal: up to {most} settings were tried per method, but of {', '.join(fewer)}."]


def _line(row: Row, result: Result) -> dict[str, Any]:
    """A row of the table "grid"."""
    return {
        "subject": row.subject,
        "method": row.method,
        "source": row.source,
        "source_cohort": row.source_cohort,
        "cohort": row.cohort,
        "budget": row.budget,
        "budget_by": row.budget_by,
        "labelled_images": result.labelled_images,
        "seed": row.seed,
        "role": row.role,
        "selection": result.selection,
        "state": result.state,
        "error": _named(result.error, row),
        "tried": result.tried,
        "settings": json.dumps(result.settings, sort_keys=True),
        "seconds": result.seconds,
        "peak_mib": result.peak_mib,
        "gpu_seconds": math.nan if result.gpu_seconds is None else result.gpu_seconds,
    }


def _about_grid(plan: Plan, results: Mapping[str, Result]) -> dict[str, Any]:
    from medgraft.evaluation.evaluate import versions

    trained = [key for key, cell in plan.cells.items() if cell.purpose == "train a source"]
    return {
        "what": "benchmark",
        "grid": _without_folders(plan.grid.model_dump(mode="json")),
        "cells": len(plan.cells),
        "finished": sum(key in results and results[key].state == "finished" for key in plan.cells),
        "failed": sum(key in results and results[key].state == "failed" for key in plan.cells),
        "seconds_of_sources": round(sum(results[key].seconds for key in trained if key in results), 2),
        "seconds": round(sum(results[key].seconds for key in plan.cells if key in results), 2),
        "versions": versions(),
    }


def _without_folders(grid: dict[str, Any]) -> dict[str, Any]:
    """Evidence is passed on, and names of folders are nobody's business: files by their own name."""
    data = [*grid["cohorts"].values(), *(table["source_data"] for table in grid["cohorts"].values())]
    named = [
        *((table, "data", INSTALLED) for table in data if table is not None),
        *((table, "model", HUBS) for table in grid["sources"].values()),
        *([(grid["run"], "cache", ())] if grid["run"]["cache"] else []),
    ]
    for table, key, installed in named:
        if not table[key].startswith(installed):
            table[key] = Path(table[key]).name
    return grid


def _about_data(entry: Mapping[str, Any], row: Row) -> dict[str, Any]:
    """What was measured on, once for all cells that were measured there."""
    kept = ("what", "data", "bootstrap_repeats", "tolerance_mm", "versions")
    cohort, split = _place(str(entry["cohort"]), row)
    return {"cohort": cohort, "split": split, **{key: entry[key] for key in kept if key in entry}}


def _facts(facts: pd.DataFrame, row: Row) -> pd.DataFrame:
    places = [_place(cohort, row) for cohort in facts["cohort"]]
    return facts.assign(
        subject=row.subject,
        seed=row.seed,
        cohort=[cohort for cohort, _ in places],
        split=[split for _, split in places],
    )


def _tables(tables: Mapping[str, pd.DataFrame], row: Row) -> dict[str, pd.DataFrame]:
    named = {}
    for name, table in tables.items():
        if name == PICTURES:  # a few of them are chosen when all cells are known
            continue
        if {"cohort", "split"} <= set(table.columns):
            places = [_place(cohort, row) for cohort in table["cohort"]]
            table = table.assign(
                cohort=[cohort for cohort, _ in places], split=[split for _, split in places]
            )
        elif "cohort" in table.columns:
            table = table.assign(cohort=row.cohort)
        named[_named(name, row)] = table
    return named


def _of_source(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """What the training of a source recorded that is shown as that of a method would be."""
    return {name: table for name, table in tables.items() if not name.startswith(f"{HISTORY}/")}


def _place(cohort: str, row: Row) -> tuple[str, str]:
    """Cohort and split by the grid's names."""
    return (row.cohort, "test") if cohort == TARGET else (row.source_cohort, row.source_split)


def _named(text: str, row: Row) -> str:
    """A text with the grid's names in the place of the cell's."""
    source = row.source_cohort or "the source"
    return text.replace(TARGET, row.cohort).replace(SOURCE, source).replace(SUBJECT, row.subject)


def _called(row: Row) -> str:
    return f"{row.subject}, seed {row.seed}, on {row.cohort}" + (
        " with the rule 'oracle'" if row.oracle else ""
    )
