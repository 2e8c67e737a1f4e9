"""ISIC challenges of 2018, 2019 and 2020: dermoscopic images of melanoma and of what is none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from medgraft.data.layouts.published_files import find_images
from medgraft.data.layouts.published_table import (
    header_of,
    kept_columns,
    other_columns,
    read_columns,
    refuse_cells,
    refuse_repeats,
    rows_by,
)
from medgraft.data.opened import Opened
from medgraft.errors import DataError

TABLES_OF_2020 = ("ISIC_2020_Training_GroundTruth_v2.csv", "ISIC_2020_Training_GroundTruth.csv", "train.csv")
"""The first that is there is read: the second edition adds lesions, the last is Kaggle's."""
ONE_HOT = "ISIC*_Training_GroundTruth.csv"
OF_2020 = ("image_name", "patient_id", "benign_malignant")
OF_ONE_HOT = ("image", "MEL", "NV")
TARGETS = {"benign": "0", "malignant": "1"}
DIAGNOSES = ("MEL", "NV", "BCC", "AK", "AKIEC", "BKL", "DF", "VASC", "SCC", "UNK")
"""Columns of one-hot tables; 2018 has AKIEC for AK and no SCC."""
BESIDE = ("Metadata", "LesionGroupings")
"""What stands for GroundTruth in the name of the table beside it: 2019, 2018."""
CLASSES = ("no melanoma", "melanoma")
CELLS = ("1.0", "1", "0.0", "0")
MADE = ("label", "patient")
UNKNOWN = ("", "unknown", "NA", "nan")
NOTES = {
    "licence": "CC BY-NC 4.0",
    "source": "ISIC challenges (2018: Tschandl et al. 2018; 2019: Combalia et al. 2019; 2020: Rotemberg et al. 2021)",
    "modality": "dermoscopy",
}


def recognises(path: Path) -> bool:
    """A folder with one of the tables."""
    return path.is_dir() and bool(_tables_in(path))


def owns(file: Path) -> bool:
    """A csv with the first columns of the ground truth of one of the years."""
    return file.suffix.lower() == ".csv" and (_is_of_2020(file) or set(OF_ONE_HOT) <= set(header_of(file)))


def read(path: Path) -> Opened:
    """A row per image: melanoma or not; diagnosis, age_approx, sex and the other columns as attributes.

    2020: patients are told, all that is malignant is melanoma. 2018 and 2019: the lesion is what stays together; an
    image whose lesion is not told is one of its own. The training part alone is read.

    Args:
        path: the folder with train.csv (Kaggle) or ISIC_2020_Training_GroundTruth.csv (also _v2), or with
            ISIC_2019_Training_GroundTruth.csv and _Metadata.csv, or with ISIC2018_Task3_Training_GroundTruth.csv and
            _LesionGroupings.csv; images NAME.jpg in it or in folders of it.

    Raises:
        DataError: two years in one folder; a table or images are missing; a row without one diagnosis, or twice.

    Source: https://challenge.isic-archive.com/data; Rotemberg et al. 2021 (2020), Combalia et al. 2019 and Tschandl et
    al. 2018 (2019 and 2018).
    """
    file, *more = _tables_in(path)
    if more:
        raise DataError(
            f"The folder {path}", "the training table of one year", f"it has {file.name} and {more[0].name}",
            "Move one away, with its images.",
        )  # fmt: skip
    names, columns = _of_2020(file) if _is_of_2020(file) else _of_one_hot(file)
    refuse_repeats(file, names)
    columns = {"image": find_images(path, file, [f"{name}.jpg" for name in names]), **columns}
    for column in {"sex", "age_approx"} & set(columns):
        columns[column] = ["" if cell in UNKNOWN else cell.removesuffix(".0") for cell in columns[column]]
    table = pd.DataFrame(columns, index=pd.RangeIndex(1, len(names) + 1), dtype=object)
    notes = dict(NOTES) if _is_of_2020(file) else {**NOTES, "unit_name": "lesions"}
    sidecar = {
        "kind": "classify", "classes": list(CLASSES), "name": path.resolve().name, "notes": notes
    }  # fmt: skip
    return Opened(table, path, sidecar)


def _tables_in(path: Path) -> list[Path]:
    """One of 2020, and those of other years."""
    of_2020 = [path / name for name in TABLES_OF_2020 if _is_of_2020(path / name)]
    others = [file for file in sorted(path.glob(ONE_HOT)) if owns(file) and not _is_of_2020(file)]
    return of_2020[:1] + others


def _is_of_2020(file: Path) -> bool:
    return {"image_name", "benign_malignant"} <= set(header_of(file))


def _of_2020(file: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Names of images, and columns."""
    used = [*OF_2020, *({"target"} & set(header_of(file)))]
    others = other_columns(file, used, ("image", *MADE))
    stored = read_columns(file, [*used, *others])
    told = stored["benign_malignant"]
    refuse_cells(
        file, "benign_malignant", told, TARGETS.__contains__, "benign or malignant in 'benign_malignant'"
    )
    for row, (word, cell) in enumerate(zip(told, stored.get("target", [])), start=1):
        if TARGETS[word] != cell:
            raise DataError(
                f"The table {file}", "a target of 1 where it says malignant and of 0 where it says benign",
                f"row {row} has {cell!r} and {word}", "Correct one of the two cells.",
            )  # fmt: skip
    columns = {
        "label": [CLASSES[word == "malignant"] for word in told],
        "patient": stored["patient_id"],
        **kept_columns(stored, others),
    }
    return stored["image_name"], columns


def _of_one_hot(file: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Names of images, and columns; what the table beside it says of each image is joined."""
    used = ["image", *(name for name in DIAGNOSES if name in header_of(file))]
    others = other_columns(file, used, (*MADE, "split_unit", "diagnosis", "lesion_id"))
    stored = read_columns(file, [*used, *others])
    diagnoses = _diagnoses(file, {name: stored[name] for name in used[1:]})
    about = _about_images(file, stored["image"], {*MADE, "split_unit", "diagnosis", *others})
    lesions = [lesion or f"image {name}" for lesion, name in zip(about["lesion_id"], stored["image"])]
    columns = {
        "label": [CLASSES[one == "MEL"] for one in diagnoses],
        "patient": lesions,
        "split_unit": lesions,
        "diagnosis": diagnoses,
        **about,
        **kept_columns(stored, others),
    }
    return stored["image"], columns


def _diagnoses(file: Path, stored: Mapping[str, list[str]]) -> list[str]:
    for name, cells in stored.items():
        refuse_cells(file, name, cells, CELLS.__contains__, f"1.0 or 0.0 in '{name}'")
    found = []
    for row, told in enumerate(zip(*stored.values()), start=1):
        here = [name for name, cell in zip(stored, told) if cell[0] == "1"]
        if len(here) != 1:
            raise DataError(
                f"The table {file}", "one diagnosis in each row", f"row {row} has {' and '.join(here) or 'none'}",
                "Correct the row or remove it.",
            )  # fmt: skip
        found += here
    return found


def _about_images(file: Path, names: list[str], made: Collection[str]) -> dict[str, list[str]]:
    """Lesion and attributes of each image, from the table beside the ground truth."""
    places = [file.with_name(file.name.replace("GroundTruth", word)) for word in BESIDE]
    beside = next((place for place in places if place.is_file()), None)
    if beside is None:
        raise DataError(
            f"The table {file}", f"the one that tells lesions beside it ({' or '.join(p.name for p in places)})",
            "there is none", "Copy it from the download into the folder.",
        )  # fmt: skip
    others = other_columns(beside, ("image", "lesion_id"), made)
    rows = rows_by(beside, ["image", "lesion_id", *others], key="image")
    absent = [row for row, name in enumerate(names, start=1) if name not in rows]
    if absent:
        raise DataError(
            f"The table {beside}", f"a row for every image of {file.name}",
            f"it has none for {len(absent)} of {len(names)}, the first of row {absent[0]}",
            "Take both tables from one download.",
        )  # fmt: skip
    columns = {column: [rows[name][column] for name in names] for column in ("lesion_id", *others)}
    return {"lesion_id": columns["lesion_id"], **kept_columns(columns, others)}
