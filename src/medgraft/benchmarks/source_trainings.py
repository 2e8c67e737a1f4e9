"""How the sources of a grid were trained: what their last epochs logged, and what their trainings warned of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from medgraft.benchmarks.recorded import HISTORY
from medgraft.benchmarks.rows import SUBJECT, TARGET
from medgraft.benchmarks.store import Result, Store
from medgraft.evidence import Evidence

if TYPE_CHECKING:
    from medgraft.benchmarks.plan import Plan

TABLE = "source_trainings"
COURSE = frozenset({"epoch", "step", "lr", "seconds"})
"""Columns of a history that tell of its course, not of what was learned."""


class Trained(NamedTuple):
    """A cell that trains a source, as tables call it: its name, what it is trained on, and the seed."""

    key: str
    source: str
    source_cohort: str
    seed: int


def source_trainings(plan: Plan, store: Store, results: Mapping[str, Result]) -> Evidence:
    """What the trainings of a grid's sources left: last values, and warnings.

    Args:
        plan: names of cells.
        store: holds what they recorded.
        results: how they ended, by key.

    Returns: the table "source_trainings" with a row per source, seed and logged name: source, source_cohort, seed, part
        (of a training in several parts, else ""), epochs (how many were trained), name, value (of the last epoch). It
        is not there where no cell kept a history, as those of earlier versions did not.
    """
    lines: list[dict[str, Any]] = []
    warnings: list[str] = []
    for trained in plan.trained:
        if trained.key not in results or results[trained.key].state == "failed":
            continue
        found = store.evidence(trained.key)
        lines += [line for name, table in found.tables.items() for line in _last(trained, name, table)]
        told = f"{trained.source}, trained on {trained.source_cohort}"
        warnings += [warning.replace(f"{SUBJECT} on {TARGET}", told) for warning in found.warnings]
    tables = {TABLE: pd.DataFrame(lines)} if lines else {}
    return Evidence(tables=tables, warnings=tuple(dict.fromkeys(warnings)))


def _last(trained: Trained, name: str, table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    kind, *rest = name.split("/")
    if kind != HISTORY or table.empty:
        return
    last = table.select_dtypes("number").iloc[-1].dropna()
    for column in last.index:
        if column not in COURSE:
            yield {
                "source": trained.source, "source_cohort": trained.source_cohort, "seed": trained.seed,
                "part": "/".join(rest[2:]), "epochs": len(table), "name": column, "value": float(last[column]),
            }  # fmt: skip
