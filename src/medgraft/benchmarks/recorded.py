"""What trainings recorded that stays with a grid: how layers moved, which were tuned, how sites differ, warnings."""

from __future__ import annotations

from pathlib import Path

from medgraft.api.recipe import read_recipe
from medgraft.benchmarks.rows import SUBJECT, TARGET
from medgraft.engine.records import read_records
from medgraft.evidence import Evidence

KEPT = ("updates", "policy", "alignment", "batch_statistics")
HISTORY = "history"
"""Kept of the trainings of sources only."""


def recorded(run: Path, seed: int, *, history: bool = False) -> Evidence:
    """Tables of a run that stay with its cell, and what it warned of.

    Args:
        run: folder of the run.
        seed: of the cell; the last part of the tables' names but for the names of children.
        history: also keep what every epoch logged, without its seconds.
    """
    tables = {}
    for name, table in read_records(run).tables.items():
        *children, kind = name.split("/")
        if kind in KEPT:
            tables["/".join([kind, SUBJECT, str(seed), *children])] = table.assign(cohort=TARGET)
        elif history and kind == HISTORY:
            tables["/".join([kind, SUBJECT, str(seed), *children])] = table.drop(
                columns="seconds", errors="ignore"
            )
    told = read_recipe(run).get("warnings", [])
    return Evidence(tables=tables, warnings=tuple(f"{SUBJECT} on {TARGET}: {warning}" for warning in told))
