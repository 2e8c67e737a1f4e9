"""M&Ms: short-axis cine MR of the heart from scanners of four vendors, with masks at two moments of the beat."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from medgraft.data.layouts.published_files import (
    has_name,
    names_in,
    refuse_missing,
    refuse_other_folders,
)
from medgraft.data.layouts.published_table import header_of, rows_by
from medgraft.data.opened import Opened
from medgraft.errors import DataError

INNER = "OpenDataset"
TABLE = "*M&Ms*.csv"
COLUMNS = ("External code", "Vendor", "Centre", "ED", "ES")
ATTRIBUTES = {"Pathology": "pathology", "Sex": "sex", "Age": "age"}
"""Columns that not every edition of the table has -> our attributes."""
VENDORS = {"A": "Siemens", "B": "Philips", "C": "GE", "D": "Canon"}
SEXES = {"M": "male", "F": "female"}
FOLDERS = {"Training/Labeled": "train", "Validation": "validation", "Testing": "test"}
"""Published division -> our split."""
UNLABELLED = "Training/Unlabeled"
CASE = r"[A-Z]\d[A-Z]\d[A-Z]\d"
PHASES = ("ED", "ES")
"""End of diastole and of systole: the frames with a mask."""
CLASSES = ("background", "left ventricle", "myocardium", "right ventricle")
NOTES = {
    "licence": "as agreed with the M&Ms challenge, https://www.ub.edu/mnms",
    "source": "M&Ms (Campello et al. 2021), six centres in Spain, Germany and Canada",
    "modality": "cine MR, short axis",
}


def recognises(path: Path) -> bool:
    """A folder with the table or with cases in the published folders; also one level above it."""
    return _folder_of(path) is not None


def owns(file: Path) -> bool:
    """The csv that names vendor, centre and the two frames of each case, or a folder of cases."""
    if any(has_name(file / inner, CASE) for inner in ("", "Labeled", "Unlabeled")):
        return True
    return file.suffix.lower() == ".csv" and {"External code", "Vendor"} <= set(header_of(file))


def read(path: Path) -> Opened:
    """Two rows per case, end of diastole and of systole: mask, vendor as the site, split, centre, phase and attributes.

    Cases under Training/Unlabeled have no masks (their mask files are empty): they are rows only where no truth is
    asked for. Cases of the table that are not there are left out: some are published on request alone.

    Args:
        path: OpenDataset, with the csv, Training/Labeled, Validation and Testing (or some of these), or the folder
            around it.

    Raises:
        DataError: no table; a case that is not in it, is told in two ways or is of another vendor; a mask or image is
            missing; folders of another name; cases lie side by side instead of in folders of their own.

    Source: Campello et al. 2021, Multi-Centre, Multi-Vendor and Multi-Disease Cardiac Segmentation; folders and labels
    as in the download, https://www.ub.edu/mnms.
    """
    folder = _folder_of(path)
    assert folder is not None  # recognised before
    file = _table_in(folder)
    if file is None:
        raise DataError(
            f"The folder {folder}", "the table 211230_M&Ms_Dataset_information_diagnosis_opendataset.csv of M&Ms",
            "it has the cases without it", "Copy it from the download into the folder.",
        )  # fmt: skip
    told = _read_table(file)
    _refuse_places(folder)
    rows: list[dict[str, str]] = []
    for place, split in FOLDERS.items():
        rows += _rows_of(folder, file, place, split, told)
    if not rows:
        raise DataError(
            f"The folder {folder}", f"cases in {', '.join(FOLDERS)}", "it has none",
            "Unpack the archive there.",
        )  # fmt: skip
    table = _as_table(rows, first=1)
    hidden = _rows_of(folder, file, UNLABELLED, "", told)
    unlabelled = _as_table(hidden, first=len(rows) + 1).drop(columns=["mask", "split"], errors="ignore")
    name = path.resolve().name
    sidecar = {"kind": "segment", "classes": list(CLASSES), "name": name, "notes": dict(NOTES)}
    return Opened(table, folder, sidecar, unlabelled)


def _folder_of(path: Path) -> Path | None:
    if not path.is_dir():
        return None
    return next((one for one in (path, path / INNER) if one.is_dir() and _is_ours(one)), None)


def _is_ours(folder: Path) -> bool:
    places = (*FOLDERS, UNLABELLED, "Training")
    files = rf"{CASE}(_sa(_gt)?\.nii\.gz)?"
    ours = any(owns(file) for file in folder.glob(TABLE))
    return ours or any(has_name(folder / place, files) for place in places)


def _table_in(folder: Path) -> Path | None:
    """The newest that has the columns, or else the newest: names begin with the date."""
    files = sorted(folder.glob(TABLE), reverse=True)
    return next((file for file in files if owns(file)), files[0] if files else None)


def _read_table(file: Path) -> dict[str, dict[str, str]]:
    """Case -> what the table says of it."""
    header = header_of(file)
    columns = [*COLUMNS, *(name for name in ATTRIBUTES if name in header)]
    return rows_by(file, columns, key="External code")


def _refuse_places(folder: Path) -> None:
    """Cases in folders that are none of the published ones."""
    for inner, known in (("", ("Training", "Validation", "Testing")), ("Training", ("Labeled", "Unlabeled"))):
        for match in names_in(folder / inner, r"[^.].*"):
            has_cases = has_name(folder / inner / match[0], CASE) or re.fullmatch(CASE, match[0])
            if has_cases and match[0] not in known:
                raise DataError(
                    f"The folder {folder / inner}", f"cases in the folders {', '.join(known)} alone",
                    f"there are some in {match[0]}", "Name and place folders as in the download.",
                )  # fmt: skip


def _rows_of(
    folder: Path, file: Path, place: str, split: str, told: dict[str, dict[str, str]]
) -> list[dict[str, str]]:
    loose = names_in(folder / place, rf"{CASE}_sa\.nii\.gz") or (
        names_in(folder / "Training", rf"{CASE}_sa\.nii\.gz") if place.startswith("Training") else []
    )
    if loose:
        raise DataError(
            f"The folder {folder}", f"a folder for each case in {place}", f"{loose[0][0]} lies there by itself",
            f"Unpack the archive again, so that there is {place}/{loose[0][0][:6]}/{loose[0][0]}.",
        )  # fmt: skip
    do = "Name it as in the table, or move it away."
    refuse_other_folders(folder / place, CASE, "folders called like the cases of the table (A0S9V9)", do)
    cases = [match[0] for match in names_in(folder / place, CASE)]
    for case in cases:
        _refuse_case(file, case, f"{place}/{case}", told)
    images = {case: f"{place}/{case}/{case}_sa.nii.gz" for case in cases}
    masks = {case: f"{place}/{case}/{case}_sa_gt.nii.gz" for case in cases if split}
    needs, do = (
        "image and mask of every case in its folder",
        "Unpack the archive again, or move the case away.",
    )
    refuse_missing(folder, [*images.values(), *masks.values()], needs, do)
    return [
        {
            "image": f"{images[case]}#frame:{_frame(file, told[case], phase)}",
            "mask": f"{masks[case]}#frame:{_frame(file, told[case], phase)}" if split else "",
            "patient": case,
            "site": VENDORS[told[case]["Vendor"]],
            "split": split,
            "centre": told[case]["Centre"],
            "phase": phase,
            **{ours: _attribute(told[case][theirs]) for theirs, ours in ATTRIBUTES.items() if theirs in told[case]},
        }
        for case in cases
        for phase in PHASES
    ]  # fmt: skip


def _refuse_case(file: Path, case: str, place: str, told: dict[str, dict[str, str]]) -> None:
    if case not in told:
        got, do = f"it has none for {place}", "Take the table of the same download, or move the case away."
        raise DataError(f"The table {file}", "a row for every case", got, do)
    vendor = told[case]["Vendor"]
    if vendor not in VENDORS:
        known = ", ".join(f"{letter} ({name})" for letter, name in VENDORS.items())
        raise DataError(
            f"The table {file}", f"vendors {known}", f"that of {place} is {vendor!r}", "Correct the cell."
        )


def _frame(file: Path, row: dict[str, str], phase: str) -> int:
    """The number of a frame; tables that went through a spreadsheet may say 9.0."""
    try:
        number = float(row[phase])
    except ValueError:
        number = -1.0
    if number < 0 or not number.is_integer():
        case = row["External code"]
        got = f"{row[phase]!r} stands for {case}"
        raise DataError(f"The table {file}", f"the number of a frame in {phase}", got, "Correct the cell.")
    return int(number)


def _attribute(cell: str) -> str:
    return SEXES.get(cell, cell)


def _as_table(rows: list[dict[str, str]], first: int) -> pd.DataFrame:
    return pd.DataFrame(rows, index=pd.RangeIndex(first, first + len(rows)), dtype=object)
