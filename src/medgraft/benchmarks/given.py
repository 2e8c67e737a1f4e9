"""What the method of a cell is given: rows within the budget, of source and target, and which labels it saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medgraft.api.recipe import fingerprint
from medgraft.benchmarks.rows import SOURCE, TARGET, at_sites, open_data, within_budget
from medgraft.types import JSON

if TYPE_CHECKING:
    from medgraft.benchmarks.cell import Cell
    from medgraft.data.cohort import Cohort
    from medgraft.data.task import Task
    from medgraft.engine.method import Method


def make_task(cell: Cell, cohort: Cohort) -> Task:
    """The rows that the cell's method may be given: labels within the budget, source rows where it asks for them."""
    from medgraft.data.task import Task

    if cell.purpose == "train a source":
        return source_task(
            within_budget(source_rows(cell), cell.budget, "patient", cell.seed), method_of(cell)
        )
    if not sees_target(cell):
        return Task(source=source_rows(cell))
    target = at_sites(cohort, cell.target, TARGET)
    budgeted = within_budget(target, cell.budget, cell.budget_by, cell.seed)
    if cell.oracle and cell.budget is not None:  # it sees all validation labels, and that is what it is for
        kept = set(budgeted.table.index) | set(target.split("validation").table.index)
        budgeted = target.take([place for place, row in enumerate(target.table.index) if row in kept])
    wanted = wants_source(method_of(cell), cell.select) and has_source(cell)
    return Task(source=source_rows(cell) if wanted else None, target=budgeted)


def source_task(rows: Cohort, method: Method) -> Task:
    """What the method that trains a source model is given of the source sites: images alone where it needs no more."""
    from medgraft.data.task import Task
    from medgraft.engine.method import learns_from_images_alone

    return Task(source=rows.unlabelled()) if learns_from_images_alone(method) else Task(target=rows)


def sees_target(cell: Cell) -> bool:
    """False where neither the method nor the rule that selects for it looks at the target: one model serves all."""
    needs = method_of(cell).needs
    by_target = cell.oracle or cell.select not in (None, "last", "source_validation")
    return bool(needs.target or needs.optional_target or by_target or not has_source(cell))


def has_source(cell: Cell) -> bool:
    """Whether the grid names source rows: sites, or other data."""
    return bool(cell.sites) or cell.source_data is not None


def source_rows(cell: Cell) -> Cohort:
    """All rows of the source sites; of other data without sites, all rows."""
    return at_sites(open_data(cell.source_data or cell.data), cell.sites, SOURCE)


def scored_rows(cell: Cell, cohort: Cohort) -> Cohort:
    """The labelled training rows by which a source is scored: those that fine-tuning sees."""
    target = at_sites(cohort, cell.target, TARGET)
    return within_budget(target, cell.budget, cell.budget_by, cell.seed).split("train")


def data_of(cell: Cell, cohort: Cohort) -> JSON:
    """Hashes of all rows that the cell learns from, selects by or is scored on, images included."""
    found: JSON = {}
    if cell.purpose == "score":
        return {"data": {"target": fingerprint(scored_rows(cell, cohort))}}
    if cell.purpose != "as it is":
        task = make_task(cell, cohort)
        for side, rows in (("source", task.source), ("target", task.target)):
            found[side] = None if rows is None else fingerprint(rows.split("train", "validation"))
    if cell.purpose != "train a source":
        found["test"] = fingerprint(at_sites(cohort, cell.target, TARGET).split("test"))
        if cell.scores_source:
            found["source_test"] = fingerprint(source_rows(cell).split("test"))
    return {"data": found}


def wants_source(method: Method, select: str | None) -> bool:
    """True where the method, or the rule that selects for it, looks at source rows."""
    needs = method.needs
    return (
        bool(needs.source or needs.optional_source)
        or select == "source_validation"
        or "truth" not in needs.target
    )


def labelled_images(cell: Cell, task: Task, selection: str) -> int:
    """Target images whose truth the cell saw: in training, and in validation where that chose epoch or settings."""
    from medgraft.engine.select import choose_rule

    needs = method_of(cell).needs
    if task.target is None or "truth" not in needs.target | needs.optional_target:
        return 0
    validation = task.target.split("validation")
    if len(cell.settings) > 1 and len(validation):
        selection = choose_rule(cell.select, sees_target_truth=True, target=validation, source=None).rule
    return len(task.target.split("train")) + (len(validation) if selection == "target_validation" else 0)


def method_of(cell: Cell, number: int = 0) -> Method:
    """The cell's method with the settings of a trial."""
    from medgraft.plugins import resolve_method

    return resolve_method({"method": cell.method, "settings": cell.settings[number]})
