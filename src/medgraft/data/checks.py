"""Every problem of a data set at once, each with its file, row and remedy, before anything is trained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from medgraft.data.boxes import parse_boxes
from medgraft.data.cohort import Cohort
from medgraft.data.labels import LABEL_PREFIX, split_labels
from medgraft.data.manifest import read_manifest
from medgraft.data.pixels import hash_pixels
from medgraft.data.readers import warn_of_header
from medgraft.errors import DataError
from medgraft.types import SPLITS, Kind

FEWEST_PER_CLASS = 2
"""Patients of a class below which no split can hold one on each side."""


class Problem(NamedTuple):
    """Something to mend.

    severity: an error stops training; a warning deserves a look.
    file, row: where, as the user named it; row 0 where it concerns the whole table.
    """

    severity: Literal["error", "warning"]
    file: str
    row: int
    message: str


def check(
    data: Path | str | Cohort,
    *,
    kind: Kind | None = None,
    classes: Sequence[str] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> list[Problem]:
    """List every problem of a data set.

    Args:
        data: what `read_manifest` opens, or a cohort.
        kind, classes: as for `read_manifest`.
        advance: called once per image, for a progress bar.

    Returns: errors first, then warnings, in row order; empty where all is well. One image is in memory at a time.
    """
    if not isinstance(data, Cohort):
        try:
            cohort = read_manifest(data, kind=kind, classes=classes)
        except DataError as error:
            return [Problem("error", str(data), 0, str(error))]
    else:
        cohort = data
    problems = [*_check_table(cohort), *_check_files(cohort, advance)]
    return sorted(problems, key=lambda problem: (problem.severity, problem.row))


def _check_table(cohort: Cohort) -> Iterator[Problem]:
    table = cohort.table
    columns = [str(column) for column in table.columns]
    if "truth" not in cohort.fields:
        what = "no column label, labels, label:NAME, mask or boxes"
        yield _whole(cohort, f"There is {what}: nothing can be learned from labels or scored.")
    if "patient" not in columns:
        yield _whole(
            cohort,
            "There is no column 'patient': every image counts as its own patient, scores may be too good.",
        )
    if "split" not in columns:
        yield _whole(cohort, "There is no column 'split': add it, or medgraft divides by patient.")
    else:
        for row, cell in table["split"].items():
            if cell not in SPLITS:
                yield _at(
                    cohort, row, f"The split {cell!r} is not one of {', '.join(SPLITS)}: correct the cell."
                )
        yield from _check_sides(cohort)
    for row in table.index[table.duplicated()]:
        yield _at(cohort, row, "The row repeats an earlier one word for word: remove it.", "warning")
    for column in ("image", "patient", "site", "mask", "split_unit"):
        if column in columns:
            for row in table.index[table[column] == ""]:
                yield _at(cohort, row, f"The cell '{column}' is empty: fill it or remove the row.")
    if "truth" in cohort.fields and cohort.kind in _CHECKS_OF_TRUTH:
        yield from _CHECKS_OF_TRUTH[cohort.kind](cohort)


def _check_label(cohort: Cohort) -> Iterator[Problem]:
    known = ", ".join(cohort.classes)
    cells = cohort.table["label"]
    for row, cell in cells.items():
        if cell not in cohort.classes:
            yield _at(
                cohort, row, f"The label {cell!r} is not one of {known}: correct the cell or the classes."
            )
    if len(cohort.classes) < 2:
        yield _whole(cohort, f"Only one class ({known}) occurs: a classifier needs two.", "error")
    yield from _check_patients(cohort, {name: (cells == name).to_numpy() for name in cohort.classes})


def _check_labels(cohort: Cohort) -> Iterator[Problem]:
    table, known = cohort.table, set(cohort.classes)
    holders = {name: np.zeros(len(cohort), bool) for name in cohort.classes}
    for column in [str(c) for c in table.columns if str(c).startswith(LABEL_PREFIX)]:
        for position, (row, cell) in enumerate(table[column].items()):
            if cell not in ("", "0", "1", "-1", "0.0", "1.0", "-1.0"):
                yield _at(
                    cohort, row, f"The cell '{column}' is {cell!r} and not 1, 0, -1 or empty: correct it."
                )
            elif cell in ("1", "1.0") and column.removeprefix(LABEL_PREFIX) in known:
                holders[column.removeprefix(LABEL_PREFIX)][position] = True
    cells = table["labels"] if "labels" in table.columns else pd.Series(dtype=object)
    for position, (row, cell) in enumerate(cells.items()):
        for label in split_labels(cell):
            if label in known:
                holders[label][position] = True
            else:
                names = ", ".join(cohort.classes)
                yield _at(cohort, row, f"The label {label!r} is not one of {names}: correct the cell.")
    yield from _check_patients(cohort, holders)


def _check_boxes(cohort: Cohort) -> Iterator[Problem]:
    holders = {name: np.zeros(len(cohort), bool) for name in cohort.classes}
    for position, (row, cell) in enumerate(cohort.table["boxes"].items()):
        try:
            labels = {box.label for box in parse_boxes(cell)}
        except DataError as error:
            yield _at(cohort, row, str(error))
            continue
        for label in sorted(labels):
            if label in holders:
                holders[label][position] = True
            else:
                names = ", ".join(cohort.classes)
                yield _at(cohort, row, f"The box class {label!r} is not one of {names}: correct the cell.")
    yield from _check_patients(cohort, holders)


_CHECKS_OF_TRUTH: dict[Kind, Callable[[Cohort], Iterator[Problem]]] = {
    "classify": _check_label,
    "multilabel": _check_labels,
    "detect": _check_boxes,
}
"""Masks are checked with their files."""


def _check_patients(cohort: Cohort, holders: Mapping[str, np.ndarray]) -> Iterator[Problem]:
    """holders: class -> (N,) bool, the rows that show it."""
    patients = cohort.patients
    for name, rows in holders.items():
        count = len(set(patients[rows]))
        if count < FEWEST_PER_CLASS:
            what = f"{count} patient{'s' * (count != 1)}"
            yield _whole(
                cohort, f"The class '{name}' has {what}: too few to train on some and test on others."
            )


def _check_sides(cohort: Cohort) -> Iterator[Problem]:
    """A patient (or split unit) in two splits; patients are told by row, not by name."""
    by_unit = "split_unit" in cohort.table.columns
    if not by_unit and "patients" not in cohort.fields:
        return
    what = "split unit" if by_unit else "patient"
    first: dict[str, tuple[object, str]] = {}
    told: set[str] = set()
    for unit, (row, split) in zip(cohort.units, cohort.table["split"].items()):
        earlier_row, earlier = first.setdefault(unit, (row, split))
        if unit and split != earlier and unit not in told:
            told.add(unit)
            where = f"in '{split}', but in '{earlier}' in row {earlier_row}"
            yield _at(cohort, row, f"The {what} of this row is {where}: move all of its rows to one split.")


def _check_files(cohort: Cohort, advance: Callable[[], None]) -> Iterator[Problem]:
    seen: dict[str, list[int]] = defaultdict(list)
    channels: dict[int, list[object]] = defaultdict(list)
    headers: dict[str, list[object]] = defaultdict(list)
    holders = {name: np.zeros(len(cohort), bool) for name in cohort.classes}
    for position, row in enumerate(cohort.table.index):
        advance()
        shape: tuple[int, ...] | None = None
        if cohort.table["image"].iloc[position] != "":  # told with the table
            try:
                array = cohort.picture(position).array
            except DataError as error:
                yield _at(cohort, row, str(error))
            else:
                shape = array.shape
                yield from _check_pixels(cohort, row, array)
                for told in warn_of_header(cohort.root / str(cohort.table["image"].iloc[position])):
                    headers[told].append(row)
                seen[hash_pixels(array)].append(position)
                channels[shape[-1]].append(row)
        if cohort.kind == "segment" and "truth" in cohort.fields:
            yield from _check_mask(cohort, position, row, shape, holders)
        if cohort.kind == "detect" and "truth" in cohort.fields and shape is not None:
            yield from _check_boxes_inside(cohort, position, row, shape)
    common = max((len(rows), count) for count, rows in channels.items())[1] if channels else 0
    for count, rows in channels.items():
        if count != common:
            what = f"The image has {count} channels, most have {common}"
            yield _at(
                cohort, rows[0], f"{what}: convert it, or let the model's preparation do so.", "warning"
            )
    for told, rows in headers.items():
        others = f" The same holds for {len(rows) - 1} more rows." if len(rows) > 1 else ""
        yield _at(cohort, rows[0], told + others, "warning")
    if cohort.kind == "segment" and "truth" in cohort.fields:
        yield from _check_patients(cohort, holders)
    yield from _check_duplicates(cohort, seen)


def _check_pixels(cohort: Cohort, row: object, array: np.ndarray) -> Iterator[Problem]:
    if array.ndim != 3 and cohort.kind not in ("segment", "encode"):
        yield _at(
            cohort, row, f"The image is a volume of {len(array)} slices: give each slice a row of its own."
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        yield _at(cohort, row, f"The image holds {bad} NaN or infinite values: repair or remove it.")
    elif array.min() == array.max():
        yield _at(cohort, row, "The image is constant: remove it.", "warning")


def _check_mask(
    cohort: Cohort,
    position: int,
    row: object,
    shape: tuple[int, ...] | None,
    holders: Mapping[str, np.ndarray],
) -> Iterator[Problem]:
    """shape: the image's, None where it cannot be read; holders: receives which classes the mask shows."""
    if cohort.table["mask"].iloc[position] == "":
        return  # told with the table
    try:
        mask = cohort.mask(position).array
    except DataError as error:
        yield _at(cohort, row, str(error), column="mask")
        return
    if shape is not None and mask.shape[:-1] != shape[:-1]:
        what = f"The mask is {mask.shape[:-1]} and its image {shape[:-1]}"
        yield _at(cohort, row, f"{what}: save them at the same size.", column="mask")
    classes = cohort.classes
    labels = np.unique(mask).tolist()
    for label in labels:
        if 0 <= label < len(classes):
            holders[classes[label]][position] = True
    wrong = [str(label) for label in labels if not 0 <= label < len(classes)]
    if wrong:
        what = f"The mask holds {', '.join(wrong[:5])}, but the classes ({', '.join(classes)})"
        do = "relabel it (white of a black-and-white mask: 1) or name more classes"
        yield _at(cohort, row, f"{what} allow 0 to {len(classes) - 1}: {do}.", column="mask")


def _check_boxes_inside(
    cohort: Cohort, position: int, row: object, shape: tuple[int, ...]
) -> Iterator[Problem]:
    try:
        boxes = parse_boxes(cohort.table["boxes"].iloc[position])
    except DataError:
        return  # told with the table
    height, width = shape[-3], shape[-2]
    if any(box.left < 0 or box.top < 0 or box.right > width or box.bottom > height for box in boxes):
        yield _at(cohort, row, f"A box lies outside the image of {height} x {width} pixels: correct it.")


def _check_duplicates(cohort: Cohort, seen: Mapping[str, Sequence[int]]) -> Iterator[Problem]:
    table = cohort.table
    rows, repeated = table.index, table.duplicated().to_numpy()
    truth = table["label"].tolist() if "label" in table.columns else None
    splits = table["split"].tolist() if cohort.has_splits else None
    for first, *others in seen.values():
        for position in others:
            if repeated[position]:
                continue  # told with the table
            where = f"The pixels are those of row {rows[first]}"
            row = rows[position]
            if splits is not None and splits[position] != splits[first]:
                what = f"which is in another split ('{splits[first]}')"
                yield _at(cohort, row, f"{where}, {what}: keep one of the two.")
            elif truth is not None and truth[position] != truth[first]:
                yield _at(cohort, row, f"{where}, which has another label ({truth[first]!r}): correct one.")
            else:
                yield _at(cohort, row, f"{where}: remove one of the two.", "warning")


def _whole(cohort: Cohort, message: str, severity: Literal["error", "warning"] = "warning") -> Problem:
    return Problem(severity, cohort.name, 0, message)


def _at(
    cohort: Cohort,
    row: object,
    message: str,
    severity: Literal["error", "warning"] = "error",
    column: str = "image",
) -> Problem:
    number = int(str(row))
    file = str(cohort.table.at[number, column]) if column in cohort.table.columns else cohort.name
    return Problem(severity, file, number, message)
