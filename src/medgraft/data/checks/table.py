"""Problems that the table alone shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from medgraft.data.boxes import parse_boxes
from medgraft.data.checks.problem import Checked, Problem
from medgraft.data.labels import LABEL_PREFIX, split_labels
from medgraft.errors import DataError
from medgraft.types import SPLITS, Kind

FEWEST_PER_CLASS = 2
"""Patients of a class below which no split can hold one on each side."""


class Shown(NamedTuple):
    """Which rows show a class, and of which rows it is known whether they do; both (N,) bool."""

    rows: np.ndarray
    known: np.ndarray


def check_table(checked: Checked) -> Iterator[Problem]:
    """Missing columns, empty cells, repeated rows, units on two sides; labels are checked by `check_truth`."""
    cohort, table, columns = checked.cohort, checked.table, checked.columns
    if not checked.has_truth:
        what = "no column label, labels, label:NAME, mask or boxes"
        yield checked.of_table(f"There is {what}: nothing can be learned from labels or scored.")
    if "patient" not in columns:
        yield checked.of_table(
            "There is no column 'patient': every image counts as its own patient, scores may be too good."
        )
    if "split" not in columns:
        yield checked.of_table("There is no column 'split': add it, or medgraft divides by patient.")
    else:
        for position, cell in enumerate(table["split"]):
            if cell not in SPLITS:
                told = f"The split {cell!r} is not one of {', '.join(SPLITS)}: correct the cell."
                yield checked.of_row(position, told)
        yield from _check_sides(checked)
    for position in np.flatnonzero(table.duplicated()).tolist():
        yield checked.of_row(position, "The row repeats an earlier one word for word: remove it.", "warning")
    unannotated = _unannotated(checked)
    for site in dict.fromkeys(cohort.sites[unannotated].tolist()):
        yield checked.of_table(
            f"Nobody annotated the site {site}: its images serve methods without labels only."
        )
    for column in ("image", "patient", "site", "mask", "split_unit"):
        if column in columns:
            empty = (table[column] == "").to_numpy() & ~(unannotated & (column == "mask"))
            for position in np.flatnonzero(empty).tolist():
                yield checked.of_row(position, f"The cell '{column}' is empty: fill it or remove the row.")
    if checked.has_truth and cohort.kind == "classify" and len(cohort.classes) < 2:
        only = ", ".join(cohort.classes)
        yield checked.of_table(f"Only one class ({only}) occurs: a classifier needs two.", "error")


def _unannotated(checked: Checked) -> np.ndarray:
    """(N,) bool: rows of a named site whose cells `label` or `mask` are all empty, while another site has some."""
    sites = checked.cohort.sites
    for column in ("label", "mask"):
        if column in checked.columns:
            empty = checked.table[column] == ""
            whole = empty.groupby(sites).transform("all").to_numpy()
            return np.asarray(whole & (sites != "") & (not empty.all()), dtype=bool)
    return np.zeros(len(sites), dtype=bool)


def check_truth(checked: Checked, shown: dict[str, Shown]) -> Iterator[Problem]:
    """Labels and boxes that cannot be understood; masks are checked with their files.

    Args:
        shown: class -> which rows show it; filled here, all false before.
    """
    if checked.has_truth and checked.cohort.kind in _CHECKS:
        yield from _CHECKS[checked.cohort.kind](checked, shown)


def check_patients(checked: Checked, shown: dict[str, Shown]) -> Iterator[Problem]:
    """Classes of too few patients."""
    patients = checked.cohort.patients
    for name, one in shown.items():
        count = len(set(patients[one.rows]))
        if count < FEWEST_PER_CLASS:
            what = f"{count} patient{'s' * (count != 1)}"
            yield checked.of_table(
                f"The class '{name}' has {what}: too few to train on some and test on others."
            )


def _check_label(checked: Checked, shown: dict[str, Shown]) -> Iterator[Problem]:
    known = ", ".join(checked.cohort.classes)
    unannotated = _unannotated(checked)
    for one in shown.values():
        one.known[unannotated] = False
    for position, cell in enumerate(checked.table["label"]):
        if cell in shown:
            shown[cell].rows[position] = True
        elif not unannotated[position]:
            told = f"The label {cell!r} is not one of {known}: correct the cell or the classes."
            yield checked.of_row(position, told)


def _check_labels(checked: Checked, shown: dict[str, Shown]) -> Iterator[Problem]:
    table, names = checked.table, ", ".join(checked.cohort.classes)
    for column in [str(c) for c in table.columns if str(c).startswith(LABEL_PREFIX)]:
        one = shown.get(column.removeprefix(LABEL_PREFIX))
        for position, cell in enumerate(table[column]):
            if cell not in ("", "0", "1", "-1", "0.0", "1.0", "-1.0"):
                told = f"The cell '{column}' is {cell!r} and not 1, 0, -1 or empty: correct it."
                yield checked.of_row(position, told)
            if one is not None:
                one.rows[position] = cell in ("1", "1.0")
                one.known[position] = cell in ("0", "1", "0.0", "1.0")
    for position, cell in enumerate(
        table["labels"] if "labels" in table.columns else pd.Series(dtype=object)
    ):
        for label in split_labels(cell):
            if label in shown:
                shown[label].rows[position] = True
            else:
                told = f"The label {label!r} is not one of {names}: correct the cell."
                yield checked.of_row(position, told)


def _check_boxes(checked: Checked, shown: dict[str, Shown]) -> Iterator[Problem]:
    names = ", ".join(checked.cohort.classes)
    for position, cell in enumerate(checked.table["boxes"]):
        try:
            labels = {box.label for box in parse_boxes(cell)}
        except DataError as error:
            yield checked.of_row(position, str(error))
            continue
        for label in sorted(labels):
            if label in shown:
                shown[label].rows[position] = True
            else:
                told = f"The box class {label!r} is not one of {names}: correct the cell."
                yield checked.of_row(position, told)


_CHECKS: dict[Kind, Callable[[Checked, dict[str, Shown]], Iterator[Problem]]] = {
    "classify": _check_label,
    "multilabel": _check_labels,
    "detect": _check_boxes,
}


def _check_sides(checked: Checked) -> Iterator[Problem]:
    """A patient (or split unit) in two splits; patients are told by row, not by name."""
    by_unit = "split_unit" in checked.columns
    if not by_unit and "patient" not in checked.columns:
        return
    what = "split unit" if by_unit else "patient"
    first: dict[str, tuple[int, str]] = {}
    told: set[str] = set()
    for position, (unit, split) in enumerate(zip(checked.cohort.units, checked.table["split"])):
        earlier_row, earlier = first.setdefault(unit, (checked.rows[position], split))
        if unit and split != earlier and unit not in told:
            told.add(unit)
            where = f"in '{split}', but in '{earlier}' in row {earlier_row}"
            yield checked.of_row(
                position, f"The {what} of this row is {where}: move all of its rows to one split."
            )
