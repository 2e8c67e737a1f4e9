"""What trainings recorded that stays with a grid: how layers moved, which were tuned, how sites differ, warnings."""

from __future__ import annotations

from pathlib import Path

from medgraft.api.recipe import read_recipe
from medgraft.benchmarks.rows import SUBJECT, TARGET
from medgraft.engine.records import read_records
from medgraft.evidence import Evidence

KEPT = ("updates", "policy", "alignment", "batch_statistics")


def recorded(run: Path, seed: int) -> Evidence:
    """Tables of a run that stay with its cell, and what it warned of.

    Args:
        run: folder of the run.
        seed: of the cell; the last part of the tables' names but for the names of children.
    """
    tables = {}
    for name, table in read_records(run).tables.items():
        *children, kind = name.split("/")
        if kind in KEPT:
            tables["/".join([kind, SUBJECT, str(seed), *children])] = table.assign(cohort=TARGET)
    told = read_recipe(run).get("warnings", [])
    return Evidence(tables=tables, warnings=tuple(f"{SUBJECT} on {TARGET}: {warning}" for warning in told))
