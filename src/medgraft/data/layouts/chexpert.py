"""CheXpert: chest radiographs of Stanford with fourteen observations, in the full or the small version."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd

from medgraft.data.labels import LABEL_PREFIX
from medgraft.data.layouts.published_table import header_of, read_columns
from medgraft.data.opened import Opened
from medgraft.errors import DataError

TABLES = {"train": "train", "valid": "validation"}
"""Name of the published table and of its folder of images -> our split."""
OBSERVATIONS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip
ATTRIBUTES = {"Sex": "sex", "Age": "age", "Frontal/Lateral": "view", "AP/PA": "projection"}
SEXES = {"Male": "male", "Female": "female"}
CELLS = {"1.0": "1", "0.0": "0", "-1.0": "-1", "": "0"}
"""An observation that a report does not mention (an empty cell) counts as absent, as in the field's use."""
NOTES = {
    "licence": "Stanford University Dataset Research Use Agreement",
    "source": "CheXpert (Irvin et al. 2019), Stanford Hospital",
    "silver_labels": "Labels of train.csv were mined from reports by a program (silver standard); those of valid.csv "
    "come from three radiologists.",
    "unmentioned": "An observation that a report does not mention counts as absent.",
}


def recognises(path: Path) -> bool:
    """A folder with one of the tables, or one with patients in train/ or valid/; also one level above it."""
    return _folder_of(path) is not None


def owns(file: Path) -> bool:
    """A csv with the columns of train.csv."""
    return file.suffix.lower() == ".csv" and {"Path", *OBSERVATIONS} <= set(header_of(file))


def read(path: Path) -> Opened:
    """A row per radiograph: fourteen labels, patient, split, sex, age, view, projection and study.

    Rows are counted through train.csv, then valid.csv. Only one file of each table is looked for: `check` finds others.

    Args:
        path: the folder with train.csv and valid.csv, for instance CheXpert-v1.0-small, or the folder around it.

    Raises:
        DataError: a table or its images are missing; a path in it is not of the published form.

    Source: Irvin et al. 2019, CheXpert.
    """
    folder = _folder_of(path)
    assert folder is not None  # recognised before
    parts = [_columns(folder, name) for name in TABLES if _has_part(folder, name)]
    columns = {name: [cell for part in parts for cell in part[name]] for name in parts[0]}
    table = pd.DataFrame(columns, index=pd.RangeIndex(1, len(columns["image"]) + 1), dtype=object)
    sidecar = {
        "kind": "multilabel",
        "classes": list(OBSERVATIONS),
        "name": folder.resolve().name,
        "notes": dict(NOTES),
    }
    return Opened(table, folder, sidecar)


def _folder_of(path: Path) -> Path | None:
    if not path.is_dir():
        return None
    inner = (entry for entry in sorted(path.glob("CheXpert*")) if entry.is_dir())
    return next((one for one in (path, *inner) if any(_has_part(one, name) for name in TABLES)), None)


def _has_part(folder: Path, name: str) -> bool:
    return owns(folder / f"{name}.csv") or _has_patients(folder / name)


def _has_patients(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:  # the first is enough: there are 64 540 in train/
        return any(re.fullmatch(r"patient\d+", entry.name) for entry, _ in zip(entries, range(3)))


def _columns(folder: Path, name: str) -> dict[str, list[str]]:
    file = folder / f"{name}.csv"
    if not file.is_file():
        raise DataError(
            f"The folder {folder}", f"the table {name}.csv of CheXpert", f"it has the images in {name}/ without it",
            f"Copy {name}.csv from the download into the folder.",
        )  # fmt: skip
    stored = read_columns(file, ["Path", *ATTRIBUTES, *OBSERVATIONS])
    paths, patients, studies = _places(file, stored["Path"])
    return {
        "image": _where(folder, name, stored["Path"], paths),
        "patient": patients,
        "site": ["Stanford"] * len(paths),
        "split": [TABLES[name]] * len(paths),
        "sex": [SEXES.get(cell, "") for cell in stored["Sex"]],
        **{ours: stored[theirs] for theirs, ours in ATTRIBUTES.items() if theirs != "Sex"},
        "study": studies,
        **{
            f"{LABEL_PREFIX}{label}": [CELLS.get(cell, cell) for cell in stored[label]]
            for label in OBSERVATIONS
        },
    }


def _places(file: Path, cells: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Path from train/ or valid/ on, patient and study of each row."""
    places: tuple[list[str], list[str], list[str]] = ([], [], [])
    for row, cell in enumerate(cells, start=1):
        part = f"/{cell}".rsplit("/", 4)
        if len(part) < 5 or part[1] not in TABLES or part[2][:7] != "patient" or part[3][:5] != "study":
            raise DataError(
                f"The table {file}", "paths such as CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg",
                f"row {row} has {cell!r}", "Download it again, or correct it.",
            )  # fmt: skip
        for column, text in zip(places, ("/".join(part[1:]), part[2], part[3])):
            column.append(text)
    return places


def _where(folder: Path, name: str, full: list[str], short: list[str]) -> list[str]:
    """Paths of images within the folder: unpacked without the top folder that the table names, or with it."""
    for paths in (short, full):
        if (folder / paths[0]).is_file():
            return paths
    raise DataError(
        f"The table {folder / name}.csv", "its images beside it", f"{folder / short[0]} does not exist",
        f"Unpack the images so that the folders of patients lie in {folder / name}, or remove the table.",
    )  # fmt: skip
