"""Camelyon17-WILDS: patches of lymph nodes from five hospitals, with tumour in the middle or without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from medgraft.data.layouts.published_files import has_name, missing_files
from medgraft.data.layouts.published_table import (
    header_of,
    other_columns,
    read_columns,
    refuse_cells,
    refuse_repeats,
)
from medgraft.data.opened import Opened
from medgraft.errors import DataError

TABLE = "metadata.csv"
PATCHES = "patches"
SLIDE = r"patient_\d{3}_node_\d"
"""A folder of patches."""
PATCH = r"patch_patient_\d{3}_node_\d_x_\d+_y_\d+\.png"
PLACE = ("patient", "node", "x_coord", "y_coord")
COLUMNS = (*PLACE, "tumor", "slide", "center", "split")
MADE = ("image", "label", "site", "wilds_split")
CLASSES = ("normal", "tumor")
CENTERS = ("0", "1", "2", "3", "4")
SPLIT_OF_CENTER = {"1": ("validation", "val"), "2": ("test", "test")}
"""Our split and that of WILDS, whatever the column says."""
SPLIT_OF_CELL = {"0": ("train", "train"), "1": ("train", "id_val")}
"""The column within the other three."""
NOTES = {
    "licence": "CC0 1.0",
    "source": "Camelyon17-WILDS (Koh et al. 2021), patches of CAMELYON17 (Bandi et al. 2019), five Dutch hospitals",
    "labels": "A patch counts as tumour where its middle 32 x 32 pixels hold any.",
}


def recognises(path: Path) -> bool:
    """A folder with the table, or with folders of patches without it."""
    return path.is_dir() and (owns(path / TABLE) or has_name(path / PATCHES, SLIDE))


def owns(file: Path) -> bool:
    """A csv with where patches lie on slides, the folder of patches, or one of its folders."""
    if file.is_dir():
        return has_name(file, SLIDE) or has_name(file, PATCH)
    return file.suffix.lower() == ".csv" and {*PLACE, "center"} <= set(header_of(file))


def read(path: Path) -> Opened:
    """A row per patch: tumour or not, hospital as the site (0 to 4), patient, split; slide and place as attributes.

    Splits are the official ones: hospitals 0, 3 and 4 train, 1 validation (WILDS: val), 2 test. The patches that WILDS
    calls id_val are of patients of its training set, so that they are train here; the column `wilds_split` tells them
    apart. Other columns of the table stay as they are.

    Args:
        path: the folder camelyon17_v1.0, with metadata.csv and patches/.

    Raises:
        DataError: the table or patches are missing; a cell is none of the published; two rows of one patch.

    Source: Koh et al. 2021, WILDS; Bandi et al. 2019, CAMELYON17. Files as in the download of version 1.0,
    https://wilds.stanford.edu; camelyon17_unlabeled_v1.0 is not read.
    """
    file = path / TABLE
    if not file.is_file():
        raise DataError(
            f"The folder {path}", f"the table {TABLE} of Camelyon17-WILDS", f"it has {PATCHES}/ without it",
            "Copy it from the download into the folder.",
        )  # fmt: skip
    others = other_columns(file, COLUMNS, MADE)
    stored = read_columns(file, [*COLUMNS, *others])
    _refuse_odd_cells(file, stored)
    patients = [cell.zfill(3) for cell in stored["patient"]]
    images = [
        f"{PATCHES}/patient_{patient}_node_{node}/patch_patient_{patient}_node_{node}_x_{x}_y_{y}.png"
        for patient, node, x, y in zip(patients, stored["node"], stored["x_coord"], stored["y_coord"])
    ]
    refuse_repeats(file, images)
    _refuse_missing(path, file, images)
    splits = [
        SPLIT_OF_CENTER.get(center) or SPLIT_OF_CELL[cell]
        for center, cell in zip(stored["center"], stored["split"])
    ]
    columns = {
        "image": images,
        "label": [CLASSES[int(cell)] for cell in stored["tumor"]],
        "patient": patients,
        "site": stored["center"],
        "split": [ours for ours, _ in splits],
        "wilds_split": [theirs for _, theirs in splits],
        **{name: stored[name] for name in ("slide", "center", "node", "x_coord", "y_coord", *others)},
    }
    table = pd.DataFrame(columns, index=pd.RangeIndex(1, len(images) + 1), dtype=object)
    sidecar = {
        "kind": "classify", "classes": list(CLASSES), "name": path.resolve().name, "notes": dict(NOTES)
    }  # fmt: skip
    return Opened(table, path, sidecar)


def _refuse_odd_cells(file: Path, stored: Mapping[str, list[str]]) -> None:
    for column in PLACE:
        refuse_cells(file, column, stored[column], str.isdecimal, f"whole numbers in '{column}'")
    for column, known in (("tumor", ("0", "1")), ("center", CENTERS), ("split", tuple(SPLIT_OF_CELL))):
        needs = f"{', '.join(known[:-1])} or {known[-1]} in '{column}'"
        refuse_cells(file, column, stored[column], known.__contains__, needs)


def _refuse_missing(path: Path, file: Path, images: list[str]) -> None:
    missing = missing_files(path, images)
    if missing:
        row = images.index(missing[0]) + 1
        raise DataError(
            f"The table {file}", f"its patches in {PATCHES}/",
            f"{len(missing)} of {len(images)} are not there, the first is {missing[0]} in row {row}",
            "Unpack the archive again, or remove these rows from the table.",
        )  # fmt: skip
