"""RSNA-STR Pulmonary Embolism CT: slices of CT angiographies of the lung, with embolism or without."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medgraft.data.layouts.published_files import refuse_absent
from medgraft.data.layouts.published_table import (
    header_of,
    kept_columns,
    other_columns,
    read_columns,
    refuse_cells,
    refuse_names,
    refuse_repeats,
)
from medgraft.data.opened import Opened
from medgraft.errors import DataError

TABLE, HIDDEN_TABLE = "train.csv", "test.csv"
IMAGES, HIDDEN = "train", "test"
PLACE = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
LABEL = "pe_present_on_image"
MADE = ("image", "label", "patient")
CLASSES = ("absent", "present")
NOTES = {
    "licence": "as agreed with the challenge, https://www.kaggle.com/c/rsna-str-pulmonary-embolism-detection",
    "source": "RSNA-STR Pulmonary Embolism CT (Colak et al. 2021), five institutions of five countries",
    "modality": "CT",
    "labels": "A slice counts as present where a radiologist marked an embolism on it; other columns are of the study.",
    "patients": "A study counts as a patient: the table tells none.",
}


def recognises(path: Path) -> bool:
    """A folder with the table."""
    return path.is_dir() and _is_table(path / TABLE)


def owns(file: Path) -> bool:
    """The csv of slices with their truth, or a folder of images beside it."""
    if file.is_dir():
        whole = next((folder for folder in file.absolute().parents[:3] if recognises(folder)), None)
        return whole is not None and file.absolute().relative_to(whole).parts[0] in (IMAGES, HIDDEN)
    return file.suffix.lower() == ".csv" and _is_table(file)


def read(path: Path) -> Opened:
    """A row per slice: embolism absent or present; the study as the patient; the other columns as attributes.

    Slices of test/, where that is there, are published without truth: they are rows only where none is asked for.

    Args:
        path: the folder with train.csv and train/, and with test.csv and test/ or without.

    Raises:
        DataError: a column or slices are missing; a label other than 0 and 1; two rows of one slice; test/ without
            test.csv.

    Source: Colak et al. 2021, The RSNA Pulmonary Embolism CT Dataset; files as in the challenge of 2020.
    """
    file = path / TABLE
    others = other_columns(file, (*PLACE, LABEL), MADE)
    stored = read_columns(file, [*PLACE, LABEL, *others])
    refuse_cells(file, LABEL, stored[LABEL], ("0", "1").__contains__, f"0 or 1 in '{LABEL}'")
    columns = {
        "image": _images(path, file, IMAGES, stored),
        "label": [CLASSES[cell == "1"] for cell in stored[LABEL]],
        "patient": stored[PLACE[0]],
        **kept_columns(stored, others),
    }
    count = len(columns["image"])
    table = pd.DataFrame(columns, index=pd.RangeIndex(1, count + 1), dtype=object)
    sidecar = {
        "kind": "classify", "classes": list(CLASSES), "name": path.resolve().name, "notes": dict(NOTES)
    }  # fmt: skip
    return Opened(table, path, sidecar, _unlabelled(path, first=count + 1))


def _is_table(file: Path) -> bool:
    return {*PLACE[1:], LABEL} <= set(header_of(file))


def _images(path: Path, file: Path, top: str, stored: dict[str, list[str]]) -> list[str]:
    for column in PLACE:
        refuse_names(file, column, stored[column])
    images = [
        f"{top}/{study}/{series}/{name}.dcm"
        for study, series, name in zip(*(stored[column] for column in PLACE))
    ]
    refuse_repeats(file, images)
    refuse_absent(path, file, images, f"its slices in {top}/STUDY/SERIES/")
    return images


def _unlabelled(path: Path, first: int) -> pd.DataFrame | None:
    """Slices of the test part, if it was unpacked."""
    file = path / HIDDEN_TABLE
    if not (path / HIDDEN).is_dir():
        return None
    if not file.is_file():
        raise DataError(
            f"The folder {path}", f"the table {HIDDEN_TABLE} beside {HIDDEN}/", "it has none",
            f"Copy it from the download into the folder, or move {HIDDEN}/ away.",
        )  # fmt: skip
    stored = read_columns(file, PLACE)
    columns = {"image": _images(path, file, HIDDEN, stored), "patient": stored[PLACE[0]]}
    count = len(columns["image"])
    return pd.DataFrame(columns, index=pd.RangeIndex(first, first + count), dtype=object)
