"""RSNA Pneumonia Detection Challenge: chest radiographs of the NIH with opacities of the lung, or without."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd

from medgraft.data.layouts.published_files import has_name, names_in, refuse_absent
from medgraft.data.layouts.published_table import header_of, read_columns, refuse_cells, refuse_names
from medgraft.data.opened import Opened
from medgraft.errors import DataError

TABLE, DETAILED = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
IMAGES, HIDDEN = "stage_2_train_images", "stage_2_test_images"
IMAGE = r"[0-9a-f-]{36}\.dcm"
PATIENT, TARGET, CLASS = "patientId", "Target", "class"
BOX = ("x", "y", "width", "height")
OPACITY = "Lung Opacity"
TWO = ("No Lung Opacity", OPACITY)
"""By Target."""
THREE = ("Normal", "No Lung Opacity / Not Normal", OPACITY)
NOTES = {
    "licence": "as agreed with the challenge, https://www.kaggle.com/c/rsna-pneumonia-detection-challenge",
    "source": "RSNA Pneumonia Detection Challenge (Shih et al. 2019), radiographs of ChestX-ray14",
    "modality": "chest radiography",
    "patients": "Each radiograph has a patientId of its own, also where ChestX-ray14 has several of one person.",
}


def recognises(path: Path) -> bool:
    """A folder with the table, or with its folder of images without it."""
    return path.is_dir() and (owns(path / TABLE) or has_name(path / IMAGES, IMAGE))


def owns(file: Path) -> bool:
    """A csv with boxes and targets or with detailed classes of patients, or a folder of images."""
    if file.is_dir():
        return file.name in (IMAGES, HIDDEN) and has_name(file, IMAGE)
    header = set(header_of(file)) if file.suffix.lower() == ".csv" else set()
    return {PATIENT, TARGET, *BOX} <= header or (file.name == DETAILED and {PATIENT, CLASS} <= header)


def read(path: Path) -> Opened:
    """A row per radiograph: three classes where the detailed table is there, else two; boxes of opacities.

    Rows are counted in radiographs, by their first row in the table; its several rows of one are several boxes. They
    stand in the column `boxes`, of kind "detect", for the class Lung Opacity. Images of stage_2_test_images, where
    that is there, are published without truth: they are rows only where none is asked for.

    Args:
        path: the folder with stage_2_train_labels.csv and stage_2_train_images/, and with
            stage_2_detailed_class_info.csv or without.

    Raises:
        DataError: a table or images are missing; a target or class is none of the published; rows of one patient, or
            the two tables, contradict each other; a box where there is none, or none where there is one.

    Source: Shih et al. 2019, Augmenting the National Institutes of Health chest radiograph dataset with expert
    annotations of possible pneumonia; files as in stage 2 of the challenge.
    """
    file = path / TABLE
    if not file.is_file():
        raise DataError(
            f"The folder {path}", f"the table {TABLE} of the RSNA Pneumonia Detection Challenge",
            f"it has {IMAGES}/ without it", "Copy it from the download into the folder.",
        )  # fmt: skip
    stored = read_columns(file, [PATIENT, *BOX, TARGET])
    refuse_names(file, PATIENT, stored[PATIENT])
    refuse_cells(file, TARGET, stored[TARGET], ("0", "1").__contains__, f"0 or 1 in '{TARGET}'")
    targets = _by_patient(file, TARGET, stored)
    boxes = _boxes(file, stored)
    images = [f"{IMAGES}/{name}.dcm" for name in stored[PATIENT]]
    refuse_absent(path, file, images, f"its images in {IMAGES}/")
    classes = THREE if (path / DETAILED).is_file() else TWO
    told = _detailed(path / DETAILED, targets, stored[PATIENT]) if classes == THREE else {}
    columns = {
        "image": list(dict.fromkeys(images)),
        "label": [told.get(name) or TWO[int(target)] for name, target in targets.items()],
        "boxes": [
            json.dumps([[*box, OPACITY] for box in boxes[name]]) if boxes[name] else "" for name in targets
        ],
        "patient": list(targets),
        "site": ["NIH"] * len(targets),
    }
    table = pd.DataFrame(columns, index=pd.RangeIndex(1, len(targets) + 1), dtype=object)
    sidecar = {
        "kind": "classify", "classes": list(classes), "name": path.resolve().name, "notes": dict(NOTES)
    }  # fmt: skip
    return Opened(table, path, sidecar, _unlabelled(path, first=len(targets) + 1))


def _by_patient(file: Path, column: str, stored: dict[str, list[str]]) -> dict[str, str]:
    """What the rows of a patient, which may be several, say alike."""
    told: dict[str, tuple[str, int]] = {}
    for row, (name, cell) in enumerate(zip(stored[PATIENT], stored[column]), start=1):
        first, earlier = told.setdefault(name, (cell, row))
        if first != cell:
            raise DataError(
                f"The table {file}", f"one '{column}' for each patient",
                f"row {row} says something else than row {earlier}", "Correct one of the two rows.",
            )  # fmt: skip
    return {name: cell for name, (cell, _) in told.items()}


def _detailed(file: Path, targets: dict[str, str], names: list[str]) -> dict[str, str]:
    """The class of each patient; Lung Opacity stands where the target is 1."""
    stored = read_columns(file, [PATIENT, CLASS])
    refuse_cells(file, CLASS, stored[CLASS], THREE.__contains__, f"{', '.join(THREE)} in '{CLASS}'")
    told = _by_patient(file, CLASS, stored)
    absent = [row for row, name in enumerate(names, start=1) if name not in told]
    if absent:
        raise DataError(
            f"The table {file}", f"a row for every patient of {TABLE}",
            f"it has none for that of row {absent[0]} there",
            "Take both tables from one download, or move this one away.",
        )  # fmt: skip
    for row, name in enumerate(stored[PATIENT], start=1):
        if name in targets and (told[name] == OPACITY) != (targets[name] == "1"):
            raise DataError(
                f"The table {file}", f"{OPACITY} where {TABLE} has the target 1, and only there",
                f"row {row} has {told[name]} and the target is {targets[name]}", "Take both tables from one download.",
            )  # fmt: skip
    return told


def _boxes(file: Path, stored: dict[str, list[str]]) -> dict[str, list[tuple[float, ...]]]:
    """Left, top, right and bottom of the boxes of each patient, in pixels."""
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in stored[PATIENT]}
    rows = zip(stored[PATIENT], stored[TARGET], zip(*(stored[column] for column in BOX)))
    for row, (name, target, cells) in enumerate(rows, start=1):
        if target == "0" and not any(cells):
            continue
        try:
            x, y, width, height = map(float, cells)
        except ValueError:
            x = math.nan
            y = width = height = x
        if target == "0" or not (
            min(x, y) >= 0 < min(width, height) and math.isfinite(x + y + width + height)
        ):
            raise DataError(
                f"The table {file}", f"{', '.join(BOX)} of a box where the target is 1, and empty cells where it is 0",
                f"row {row} has others", "Correct the cells or remove the row.",
            )  # fmt: skip
        found[name].append((x, y, x + width, y + height))
    return found


def _unlabelled(path: Path, first: int) -> pd.DataFrame | None:
    """Images of the test part, if it was unpacked."""
    folder = path / HIDDEN
    names = [match[0] for match in names_in(folder, r"[^.].*\.dcm")]
    if not names:
        return None
    columns = {
        "image": [f"{HIDDEN}/{name}" for name in names],
        "patient": [name.removesuffix(".dcm") for name in names],
        "site": ["NIH"] * len(names),
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(first, first + len(names)), dtype=object)
