"""ChestX-ray14: frontal chest radiographs of the NIH Clinical Center with fourteen findings."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from medgraft.data.labels import LABEL_PREFIX
from medgraft.data.layouts.published_table import header_of, read_columns
from medgraft.data.opened import Opened
from medgraft.errors import DataError

TABLE = "Data_Entry_2017*.csv"
LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}
FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
NONE = "No Finding"
COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position")
SEX_COLUMNS = ("Patient Gender", "Patient Sex")
"""The second since the release of 2020."""
SEXES = {"M": "male", "F": "female"}
IMAGES = "images*"
OLDEST = 120
"""Years; the release of 2017 has ages up to 414."""
ONE_IN = 8
"""Share of the patients of train_val_list.txt for validation: 70/10/20, as in the paper."""
NOTES = {
    "licence": "unrestricted use with acknowledgement of the NIH Clinical Center",
    "source": "ChestX-ray14 (Wang et al. 2017), NIH Clinical Center",
    "silver_labels": "Labels were mined from reports by a program (silver standard).",
    "validation": "One in eight patients of train_val_list.txt, chosen by a hash of the patient's number.",
}


def recognises(path: Path) -> bool:
    """A folder with the table, or with both lists, or with the folders of images as unpacked."""
    if not path.is_dir():
        return False
    has_lists = all((path / name).is_file() for name in LISTS)
    return has_lists or _table_in(path) is not None or (path / "images_001" / "images").is_dir()


def owns(file: Path) -> bool:
    """A csv with the first columns of Data_Entry_2017.csv."""
    return file.suffix.lower() == ".csv" and {"Image Index", "Finding Labels"} <= set(header_of(file))


def read(path: Path) -> Opened:
    """A row per radiograph: fourteen labels, patient, split, sex, age, view.

    The published test list is the split `test`; one patient in eight of the other list is `validation`. The boxes of
    BBox_List_2017.csv are not used.

    Args:
        path: the folder with Data_Entry_2017.csv (or _v2020), both lists, and images/ or images_001/images and so on.

    Raises:
        DataError: one of these is missing; images that are listed but not there; a finding that is none of the 14.

    Source: Wang et al. 2017, ChestX-ray8; labels and lists as published for 14 findings.
    """
    file = _table_in(path)
    if file is None:
        raise DataError(
            f"The folder {path}", "the table Data_Entry_2017_v2020.csv of ChestX-ray14", "it has none",
            "Copy it from the download into the folder.",
        )  # fmt: skip
    sexes = next((name for name in SEX_COLUMNS if name in header_of(file)), SEX_COLUMNS[0])
    stored = read_columns(file, [*COLUMNS, sexes])
    columns = {
        "image": _where(path, file, stored["Image Index"]),
        "patient": stored["Patient ID"],
        "site": ["NIH"] * len(stored["Image Index"]),
        "split": _splits(path, file, stored),
        "sex": [SEXES.get(cell, "") for cell in stored[sexes]],
        "age": [_years(cell) for cell in stored["Patient Age"]],
        "view": stored["View Position"],
        **_labels(file, stored["Finding Labels"]),
    }
    table = pd.DataFrame(columns, index=pd.RangeIndex(1, len(columns["image"]) + 1), dtype=object)
    sidecar = {
        "kind": "multilabel",
        "classes": list(FINDINGS),
        "name": path.resolve().name,
        "notes": dict(NOTES),
    }
    return Opened(table, path, sidecar)


def _table_in(path: Path) -> Path | None:
    """The newest, where there are several."""
    return next((file for file in sorted(path.glob(TABLE), reverse=True) if owns(file)), None)


def _labels(file: Path, cells: list[str]) -> dict[str, list[str]]:
    """A column per finding; of the 112 120 cells, fewer than a thousand differ."""
    found = {cell: set(cell.split("|")) for cell in set(cells)}
    odd = {cell for cell, names in found.items() if names - {*FINDINGS, NONE}}
    if odd:
        row = next(row for row, cell in enumerate(cells) if cell in odd)
        name = min(found[cells[row]] - {*FINDINGS, NONE})
        raise DataError(
            f"The table {file}", f"findings among {', '.join(FINDINGS)} or {NONE}", f"row {row + 1} has {name!r}",
            "Correct the cell.",
        )  # fmt: skip
    columns = {}
    for label in FINDINGS:
        known = {cell: "1" if label in names else "0" for cell, names in found.items()}
        columns[f"{LABEL_PREFIX}{label}"] = [known[cell] for cell in cells]
    return columns


def _splits(path: Path, file: Path, stored: Mapping[str, list[str]]) -> list[str]:
    split_of: dict[str, str] = {}
    for name, split in LISTS.items():
        if not (path / name).is_file():
            raise DataError(
                f"The folder {path}", f"the published division in {' and '.join(LISTS)}", f"it has no {name}",
                "Copy it from the download into the folder.",
            )  # fmt: skip
        split_of.update(dict.fromkeys((path / name).read_text(encoding="utf-8-sig").split(), split))
    absent = [row for row, image in enumerate(stored["Image Index"], start=1) if image not in split_of]
    if absent:
        raise DataError(
            f"The table {file}", f"every image in {' or '.join(LISTS)}",
            f"the image of row {absent[0]} is in neither ({len(absent)} in all)",
            "Take the lists from the download again, or remove these rows.",
        )  # fmt: skip
    held_out = {patient for patient in set(stored["Patient ID"]) if _is_held_out(patient)}
    return [
        "validation" if split_of[image] == "train" and patient in held_out else split_of[image]
        for image, patient in zip(stored["Image Index"], stored["Patient ID"])
    ]


def _is_held_out(patient: str) -> bool:
    digest = hashlib.sha256(patient.lstrip("0").encode()).digest()
    return int.from_bytes(digest[:4], "big") % ONE_IN == 0


def _years(cell: str) -> str:
    """Age in years; the first release writes 058Y, 011M, 003D.

    >>> _years("058Y"), _years("11"), _years("018M"), _years("414")
    ('58', '11', '1', '')
    """
    match = re.fullmatch(r"(\d+)([YMD]?)", cell.strip())
    if match is None:
        return ""
    years = int(match[1]) // {"": 1, "Y": 1, "M": 12, "D": 365}[match[2]]
    return str(years) if years <= OLDEST else ""


def _where(path: Path, file: Path, names: list[str]) -> list[str]:
    """Paths of images within the folder, from one listing of each folder of images."""
    place_of: dict[str, str] = {}
    for top in sorted(path.glob(IMAGES)):
        for folder in (top, top / "images"):
            if folder.is_dir():
                place = folder.relative_to(path).as_posix()
                place_of.update(dict.fromkeys(os.listdir(folder), place))
    absent = [row for row, name in enumerate(names, start=1) if name not in place_of]
    if absent:
        raise DataError(
            f"The table {file}", "its images in images/ or images_001/images, images_002/images and so on",
            f"{len(absent)} of {len(names)} are not there, the first in row {absent[0]}",
            "Unpack the other archives of images into the folder, or remove these rows from the table.",
        )  # fmt: skip
    return [f"{place_of[name]}/{name}" for name in names]
