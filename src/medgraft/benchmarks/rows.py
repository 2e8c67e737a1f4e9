"""Which rows a cell may use: cohorts by what the grid says, sites, and label budgets."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from medgraft.errors import DataError

if TYPE_CHECKING:
    from medgraft.benchmarks.grid import BudgetBy, Data
    from medgraft.data.cohort import Cohort

TARGET, SOURCE, SUBJECT = "@target", "@source", "@subject"
"""What cells call cohorts and model; evidence of a grid puts the names of the grid file in their place."""


def forget_data() -> None:
    """Open data anew the next time: tables may have changed."""
    _open.cache_clear()


def open_data(data: Data) -> Cohort:
    """Open what a grid names; the same data are opened once per process. One without splits is divided by patient.

    Splits are called as the grid says.

    Raises:
        DataError: it cannot be opened.
    """
    return _open(data.model_dump_json(include={"data", "kind", "classes", "settings", "splits", "shares"}))


@lru_cache(maxsize=8)
def _open(described: str) -> Cohort:
    from medgraft.benchmarks.grid import Data
    from medgraft.data.manifest import read_manifest
    from medgraft.data.samples import load_samples
    from medgraft.data.splits import split_by_patient
    from medgraft.plugins import activate

    activate()
    data = Data.model_validate_json(described)
    group, _, name = data.data.partition("/")
    if group == "phantoms":
        from medgraft.phantoms import load_phantom

        cohort = load_phantom(name, **data.settings)
    elif data.settings:
        raise DataError(
            "Settings of a cohort",
            "data that are simulated (phantoms/NAME)",
            f"these are {data.data}",
            "Remove them.",
        )
    elif group == "samples":
        cohort = load_samples(name)
    else:
        cohort = read_manifest(data.data, kind=data.kind, classes=data.classes or None)
    whole = split_by_patient(cohort, data.shares)
    if not data.splits:
        return whole
    return whole.with_splits([data.splits.get(split, split) for split in whole.table["split"]])


def at_sites(cohort: Cohort, sites: tuple[str, ...], called: str) -> Cohort:
    """The rows of sites, all rows where none is named, under the name that cells give them."""
    view = cohort.at(*sites) if sites else cohort.take(range(len(cohort)))
    view.name = called
    return view


def within_budget(target: Cohort, budget: int | None, by: BudgetBy, seed: int) -> Cohort:
    """A target with few labels: so many training patients (or images), and validation rows in proportion.

    Validation labels cost as much as training labels, so a budget of a tenth of the training patients comes with a
    tenth of the validation patients: at least one, and of one label per image at least as many as classes, for a score
    needs more than one class. Larger budgets with the same seed contain smaller ones.

    Args:
        target: with splits.
        budget: patients, or images (of one label per image: images per class); None is all.
        by: what is counted.
        seed: which ones.

    Raises:
        DataError: there are not so many.

    >>> from medgraft.testing import make_cohort
    >>> few = within_budget(make_cohort("segment"), 2, "patient", 0)
    >>> [len(few.split(name)) for name in ("train", "validation", "test")]
    [4, 2, 4]
    """
    if budget is None:
        return target
    chosen = target.few(budget, by, seed)
    validation = target.split("validation")
    if not len(validation):
        return chosen
    available = _count(target.split("train"), by)
    wanted = -(-_count(validation, by) * budget // max(1, available))  # rounded up
    fewest = len(target.classes) if target.kind == "classify" and by == "patient" else 1
    training = validation.with_splits(["train"] * len(validation))
    kept = set(_few_or_all(training, max(fewest, wanted), by, seed).table.index)
    table = chosen.table
    held = [
        place
        for place, (row, split) in enumerate(zip(table.index, table["split"]))
        if split != "validation" or row in kept
    ]
    return chosen.take(held)


def _count(rows: Cohort, by: BudgetBy) -> int:
    """What a budget of all of them would be: patients; or images, of the rarest class where there is one label."""
    if by == "patient":
        return len(set(rows.patients.tolist()))
    if rows.kind != "classify" or "truth" not in rows.fields:
        return len(rows)
    labels = rows.labels.tolist()
    return min((labels.count(label) for label in range(len(rows.classes))), default=0)


def _few_or_all(rows: Cohort, wanted: int, by: BudgetBy, seed: int) -> Cohort:
    """Few of them; all where a class has not so many."""
    try:
        return rows.few(wanted, by, seed)
    except DataError:
        return rows
