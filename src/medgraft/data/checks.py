"""Every problem of a data set at once, each with its file, row and remedy, before anything is trained."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from medgraft.data.boxes import parse_boxes
from medgraft.data.cohort import TRUTH_COLUMNS, Cohort
from medgraft.data.labels import LABEL_PREFIX
from medgraft.data.manifest import read_manifest
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
    if not any(column in TRUTH_COLUMNS or column.startswith(LABEL_PREFIX) for column in columns):
        yield _whole(cohort, "warning", "There is no column label, labels, label:NAME, mask or boxes: nothing can be learned from labels or scored.")
    if "patient" not in columns:
        yield _whole(cohort, "warning", "There is no column 'patient': every image counts as a patient of its own, and scores may be too good.")
    if "split" not in columns:
        yield _whole(cohort, "warning", "There is no column 'split': add it, or medgraft divides by patient.")
    else:
        for row, cell in table["split"].items():
            if cell not in SPLITS:
                yield _at(cohort, row, f"The split {cell!r} is not one of {', '.join(SPLITS)}: correct the cell.")
        yield from _check_sides(cohort)
    for row in table.index[table.duplicated()]:
        yield _at(cohort, row, "The row repeats an earlier one word for word: remove it.", "warning")
    for column in ("image", "patient", "site", "mask"):
        if column in columns:
            for row in table.index[table[column].astype(str).str.strip() == ""]:
                yield _at(cohort, row, f"The cell '{column}' is empty: fill it or remove the row.")
    yield from _check_labels(cohort)


def _check_labels(cohort: Cohort) -> Iterator[Problem]:
    table = cohort.table
    if cohort.kind == "classify" and "label" in table.columns:
        for row, cell in table["label"].items():
            if cell not in cohort.classes:
                yield _at(cohort, row, f"The label {cell!r} is not one of {', '.join(cohort.classes)}: correct the cell or the classes.")
        patients = pd.Series(cohort.patients, index=table.index)
        for label in cohort.classes:
            count = patients[table["label"] == label].nunique()
            if count < FEWEST_PER_CLASS:
                yield _whole(cohort, "warning", f"The class '{label}' has {count} patient{'s' * (count != 1)}: too few to train on some and test on others.")
        if len(cohort.classes) < 2:
            yield _whole(cohort, "error", f"Only one class ({', '.join(cohort.classes)}) occurs: a classifier needs two.")
    if cohort.kind == "multilabel":
        for column in [str(c) for c in table.columns if str(c).startswith(LABEL_PREFIX)]:
            for row, cell in table[column].items():
                if cell not in ("", "0", "1", "-1", "0.0", "1.0", "-1.0"):
                    yield _at(cohort, row, f"The cell '{column}' is {cell!r} and not 1, 0, -1 or empty: correct it.")
        if "labels" in table.columns:
            known = set(cohort.classes)
            for row, cell in table["labels"].items():
                for label in str(cell).split("|"):
                    if label.strip() and label.strip() not in known:
                        yield _at(cohort, row, f"The label {label.strip()!r} is not one of {', '.join(cohort.classes)}: correct the cell.")
    if "boxes" in table.columns:
        for row, cell in table["boxes"].items():
            try:
                labels = {box.label for box in parse_boxes(str(cell))}
            except DataError as error:
                yield _at(cohort, row, str(error))
                continue
            for label in sorted(labels - set(cohort.classes)):
                yield _at(cohort, row, f"The box class {label!r} is not one of {', '.join(cohort.classes)}: correct the cell.")


def _check_sides(cohort: Cohort) -> Iterator[Problem]:
    """A patient (or split unit) in two splits; patients are told by row, not by name."""
    if "patients" not in cohort.fields:
        return
    by_unit = "split_unit" in cohort.table.columns
    first: dict[str, tuple[int, str]] = {}
    told: set[str] = set()
    for unit, (row, split) in zip(cohort.units, cohort.table["split"].items()):
        earlier_row, earlier = first.setdefault(unit, (int(str(row)), split))
        if split != earlier and unit not in told:
            told.add(unit)
            what = "split unit" if by_unit else "patient"
            yield _at(cohort, row, f"The {what} of this row is in '{split}', but in '{earlier}' in row {earlier_row}: move all of its rows to one split.")


def _check_files(cohort: Cohort, advance: Callable[[], None]) -> Iterator[Problem]:
    seen: dict[str, list[int]] = defaultdict(list)
    channels: Counter[int] = Counter()
    first_with: dict[int, int] = {}
    for position, row in enumerate(cohort.table.index):
        advance()
        try:
            array = cohort.picture(position).array
        except DataError as error:
            yield _at(cohort, row, str(error))
            continue
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            yield _at(cohort, row, f"The image holds {bad} NaN or infinite values: repair or remove it.")
        elif array.min() == array.max():
            yield _at(cohort, row, "The image is constant: remove it.", "warning")
        seen[hashlib.sha256(f"{array.shape}{array.dtype}".encode() + array.tobytes()).hexdigest()].append(position)
        channels[array.shape[-1]] += 1
        first_with.setdefault(array.shape[-1], row)
        if cohort.kind == "segment" and "truth" in cohort.fields:
            yield from _check_mask(cohort, position, row, array.shape[:-1])
        if cohort.kind == "detect" and "boxes" in cohort.table.columns:
            yield from _check_boxes_inside(cohort, position, row, array.shape)
    if len(channels) > 1:
        common = channels.most_common(1)[0][0]
        for count, row in first_with.items():
            if count != common:
                yield _at(cohort, row, f"The image has {count} channels, most have {common}: convert it, or let the model's preparation do so.", "warning")
    yield from _check_duplicates(cohort, seen)


def _check_mask(cohort: Cohort, position: int, row: int, shape: tuple[int, ...]) -> Iterator[Problem]:
    try:
        mask = cohort.mask(position).array
    except DataError as error:
        yield _at(cohort, row, str(error), column="mask")
        return
    if mask.shape[:-1] != shape:
        yield _at(cohort, row, f"The mask is {mask.shape[:-1]} and its image {shape}: save them at the same size.", column="mask")
    low, high = int(mask.min()), int(mask.max())
    if low < 0 or high >= len(cohort.classes):
        worst = low if low < 0 else high
        yield _at(cohort, row, f"The mask holds the label {worst}, but the classes ({', '.join(cohort.classes)}) allow 0 to {len(cohort.classes) - 1}: relabel it or name more classes.", column="mask")


def _check_boxes_inside(cohort: Cohort, position: int, row: int, shape: tuple[int, ...]) -> Iterator[Problem]:
    try:
        boxes = parse_boxes(str(cohort.table["boxes"].iloc[position]))
    except DataError:
        return  # told with the table
    height, width = shape[-3], shape[-2]
    if any(box.left < 0 or box.top < 0 or box.right > width or box.bottom > height for box in boxes):
        yield _at(cohort, row, f"A box lies outside the image of {height} x {width} pixels: correct it.")


def _check_duplicates(cohort: Cohort, seen: dict[str, list[int]]) -> Iterator[Problem]:
    rows = cohort.table.index
    truth = cohort.table["label"].tolist() if "label" in cohort.table.columns else None
    splits = cohort.table["split"].tolist() if cohort.has_splits else None
    for positions in seen.values():
        first = positions[0]
        for position in positions[1:]:
            where = f"The pixels are those of row {rows[first]}"
            if splits is not None and splits[position] != splits[first]:
                yield _at(cohort, rows[position], f"{where}, which is in another split ('{splits[first]}'): keep one of the two.")
            elif truth is not None and truth[position] != truth[first]:
                yield _at(cohort, rows[position], f"{where}, which has another label ({truth[first]!r}): correct one of the two.")
            else:
                yield _at(cohort, rows[position], f"{where}: remove one of the two.", "warning")


def _whole(cohort: Cohort, severity: Literal["error", "warning"], message: str) -> Problem:
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


