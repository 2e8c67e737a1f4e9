"""VinDr-CXR: chest radiographs of two hospitals in Vietnam with findings that radiologists marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medgraft.data.labels import LABEL_PREFIX
from medgraft.data.layouts.published_files import has_name, refuse_absent
from medgraft.data.layouts.published_table import (
    header_of,
    read_columns,
    refuse_cells,
    refuse_names,
    refuse_repeats,
)
from medgraft.data.opened import Opened
from medgraft.errors import DataError

ANNOTATIONS = "annotations"
PARTS = ("train", "test")
"""Folders of images and splits."""
IMAGE = r"[0-9a-f]{32}\.dicom"
NAME, READER = "image_id", "rad_id"
FINDINGS = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation",
    "Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst",
    "Mediastinal shift", "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax",
    "Pulmonary fibrosis", "Rib fracture", "Other lesion", "COPD", "Lung tumor", "Pneumonia", "Tuberculosis",
    "Other diseases",
)  # fmt: skip
SPELLINGS = {"Other diseases": "Other disease"}
"""Finding -> what the table of the test part calls it."""
READERS = 3
"""Of each training image."""
CELLS = ("0", "1", "0.0", "1.0")
NOTES = {
    "licence": "PhysioNet Credentialed Health Data License 1.5.0",
    "source": "VinDr-CXR (Nguyen et al. 2022), Hospital 108 and Hanoi Medical University Hospital",
    "modality": "chest radiography",
    "labels": "A training image has the findings of two or more of its three radiologists; a test image those of a "
    "consensus of five.",
    "patients": "The tables tell no patients.",
}


def recognises(path: Path) -> bool:
    """A folder with one of the tables in annotations/, or with images in train/ or test/ without it."""
    return path.is_dir() and any(_has_part(path, part) for part in PARTS)


def owns(file: Path) -> bool:
    """A csv with names of images and findings, or a folder of images or of such tables."""
    if file.name == ANNOTATIONS:
        return any(owns(_table_of(file.parent, part)) for part in PARTS)
    if file.name in PARTS and has_name(file, IMAGE):
        return True
    return file.suffix.lower() == ".csv" and {NAME, *FINDINGS[:3], "ILD"} <= set(header_of(file))


def read(path: Path) -> Opened:
    """A row per radiograph: 27 findings and the split; of training images, on how many findings readers differ.

    A training image has a finding where two or more of its three readers saw it; the column `disagreements` counts
    the findings that one or two of them saw. Rows are counted in images, through the training table, then the test
    table. Boxes and the column rad_id are not used, nor is No finding, which is none of the 27.

    Args:
        path: the folder with annotations/image_labels_train.csv, annotations/image_labels_test.csv, train/ and test/,
            or with one of the two parts.

    Raises:
        DataError: a table or images are missing; a cell other than 0 and 1; a training image without three readers;
            a test image twice.

    Source: Nguyen et al. 2022, VinDr-CXR: an open dataset of chest X-rays with radiologist's annotations; files as in
    version 1.0.0 on https://physionet.org/content/vindr-cxr.
    """
    parts = [_columns(path, part) for part in PARTS if _has_part(path, part)]
    columns = {name: [cell for part in parts for cell in part[name]] for name in parts[0]}
    table = pd.DataFrame(columns, index=pd.RangeIndex(1, len(columns["image"]) + 1), dtype=object)
    sidecar = {
        "kind": "multilabel", "classes": list(FINDINGS), "name": path.resolve().name, "notes": dict(NOTES)
    }  # fmt: skip
    return Opened(table, path, sidecar)


def _table_of(path: Path, part: str) -> Path:
    return path / ANNOTATIONS / f"image_labels_{part}.csv"


def _has_part(path: Path, part: str) -> bool:
    return owns(_table_of(path, part)) or has_name(path / part, IMAGE)


def _columns(path: Path, part: str) -> dict[str, list[str]]:
    file = _table_of(path, part)
    if not file.is_file():
        raise DataError(
            f"The folder {path}", f"the table {ANNOTATIONS}/{file.name} of VinDr-CXR",
            f"it has the images in {part}/ without it",
            f"Copy it from the download, or move {part}/ away.",
        )  # fmt: skip
    header = header_of(file)
    theirs = {
        ours: ours if ours in header or SPELLINGS.get(ours) not in header else SPELLINGS[ours]
        for ours in FINDINGS
    }
    stored = read_columns(file, [NAME, *([READER] if part == "train" else []), *theirs.values()])
    refuse_names(file, NAME, stored[NAME])
    for column in theirs.values():
        refuse_cells(file, column, stored[column], CELLS.__contains__, f"0 or 1 in '{column}'")
    refuse_absent(path, file, [f"{part}/{name}.dicom" for name in stored[NAME]], f"its images in {part}/")
    if part == "train":
        _refuse_readers(file, stored[NAME], stored[READER])
    else:
        refuse_repeats(file, stored[NAME])
    row_of, images = pd.factorize(np.array(stored[NAME], dtype=object))
    seen = np.array([_votes(stored[column], row_of) for column in theirs.values()])
    readers = np.bincount(row_of)
    split = (seen > 0) & (seen < readers)
    return {
        "image": [f"{part}/{name}.dicom" for name in images],
        "split": [part] * len(images),
        "disagreements": [str(count) if part == "train" else "" for count in split.sum(axis=0)],
        **{
            f"{LABEL_PREFIX}{label}": ["1" if most else "0" for most in 2 * votes > readers]
            for label, votes in zip(FINDINGS, seen)
        },
    }


def _votes(cells: list[str], row_of: np.ndarray) -> np.ndarray:
    """How many readers saw a finding, of each image."""
    return np.bincount(row_of, weights=[cell[0] == "1" for cell in cells]).astype(int)


def _refuse_readers(file: Path, names: list[str], readers: list[str]) -> None:
    """Where an image has not three readers, two of three do not decide."""
    of: dict[str, set[str]] = {}
    for row, (name, reader) in enumerate(zip(names, readers), start=1):
        if reader in of.setdefault(name, set()):
            raise DataError(
                f"The table {file}", f"each reader once for an image in '{READER}'",
                f"row {row} has {reader!r} a second time", "Remove the row.",
            )  # fmt: skip
        of[name].add(reader)
    for row, name in enumerate(names, start=1):
        if len(of[name]) != READERS:
            raise DataError(
                f"The table {file}", f"{READERS} readers of each image", f"the image of row {row} has {len(of[name])}",
                "Take the table from the download again, or remove all rows of the image.",
            )  # fmt: skip
