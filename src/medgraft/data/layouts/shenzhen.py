"""Shenzhen: chest radiographs with manifestations of tuberculosis or without, of one hospital."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path

import pandas as pd

from medgraft.data.layouts.published_files import has_name, missing_files
from medgraft.data.opened import Opened
from medgraft.errors import DataError

INNER = "ChinaSet_AllFiles"
FILMS, READINGS = "CXR_png", "ClinicalReadings"
FILM = r"(CHNCXR_\d{4})_([01])\.png"
READING = r"CHNCXR_\d{4}_[01]\.txt"
CLASSES = ("normal", "tuberculosis")
"""By the last digit of a name."""
SEX = r"(fe)?male"
AGE = r"(\d+)\s*(y|m|d)"
"""As in 45yrs, 8 months."""
ONE = {"y": 1, "m": 12, "d": 365}
"""How many of a unit are a year."""
NOTES = {
    "licence": "free use with acknowledgement of the U.S. National Library of Medicine and Shenzhen No. 3 Hospital",
    "source": "Shenzhen chest X-ray set (Jaeger et al. 2014), Shenzhen No. 3 People's Hospital",
    "modality": "chest radiography",
}


def recognises(path: Path) -> bool:
    """A folder with the films in CXR_png; also one level above it."""
    return _folder_of(path) is not None


def owns(file: Path) -> bool:
    """The folder of films, or that of readings."""
    return has_name(file, {FILMS: FILM, READINGS: READING}.get(file.name, ""))


def read(path: Path) -> Opened:
    """A row per film: normal or tuberculosis; sex, age and finding where the readings are there.

    Each film is of one patient, who is called as the film is, without the last digit. Age is in whole years.

    Args:
        path: the folder with CXR_png, and with ClinicalReadings or without, or the folder around it.

    Raises:
        DataError: a file of CXR_png is called otherwise; one film both normal and not; readings are there, but not
            those of all films.

    Source: Jaeger et al. 2014, Two public chest X-ray datasets for computer-aided screening of pulmonary diseases.
    """
    folder = _folder_of(path)
    assert folder is not None  # recognised before
    films = _films_in(folder)
    columns = {
        "image": [f"{FILMS}/{match[0]}" for match in films],
        "label": [CLASSES[int(match[2])] for match in films],
        "patient": [match[1] for match in films],
        "site": ["Shenzhen"] * len(films),
    }
    notes = dict(NOTES)
    if (folder / READINGS).is_dir():
        told = _readings(folder, [match[0].removesuffix(".png") for match in films])
        columns |= told
        unknown = sum(not (sex and age) for sex, age in zip(told["sex"], told["age"]))
        if unknown:
            notes["readings"] = f"Sex or age could not be read from {unknown} of {len(films)} readings."
    table = pd.DataFrame(columns, index=pd.RangeIndex(1, len(films) + 1), dtype=object)
    sidecar = {"kind": "classify", "classes": list(CLASSES), "name": path.resolve().name, "notes": notes}
    return Opened(table, folder, sidecar)


def _folder_of(path: Path) -> Path | None:
    return next((one for one in (path, path / INNER) if has_name(one / FILMS, FILM)), None)


def _films_in(folder: Path) -> list[re.Match[str]]:
    """Names of films in their order; other files of the folder would be left out without a word."""
    names = [name for name in sorted(os.listdir(folder / FILMS)) if _is_shown(name)]
    films = [match for match in (re.fullmatch(FILM, name) for name in names) if match is not None]
    if len(films) < len(names):
        others = [name for name in names if re.fullmatch(FILM, name) is None]
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise DataError(
            f"The folder {folder / FILMS}", "files called like CHNCXR_0001_0.png", f"it has {others[0]}{more}",
            "Name them as in the download, or move them away.",
        )  # fmt: skip
    for one, other in pairwise(films):
        if one[1] == other[1]:
            raise DataError(
                f"The folder {folder / FILMS}", "one film of each number", f"it has {one[0]} and {other[0]}",
                "Move one of the two away.",
            )  # fmt: skip
    return films


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name.lower() != "thumbs.db"


def _readings(folder: Path, names: list[str]) -> dict[str, list[str]]:
    """Sex, age and finding of each film."""
    files = [f"{READINGS}/{name}.txt" for name in names]
    missing = missing_files(folder, files)
    if missing:
        raise DataError(
            f"The folder {folder}", "a reading of every film",
            f"{len(missing)} of {len(files)} are not there, the first is {missing[0]}",
            f"Unpack the archive again, or move {READINGS} away to do without sex and age.",
        )  # fmt: skip
    columns: dict[str, list[str]] = {"sex": [], "age": [], "finding": []}
    for file in files:
        for column, cell in zip(columns.values(), _told((folder / file).read_bytes())):
            column.append(cell)
    return columns


def _told(content: bytes) -> tuple[str, str, str]:
    r"""Sex, age in years and finding; what cannot be read is empty.

    >>> _told(b"Female, 45yrs\r\nPTB in the right\nupper field."), _told(b"male 8months\nnormal"), _told(b"?")
    (('female', '45', 'PTB in the right upper field.'), ('male', '0', 'normal'), ('', '', ''))
    """
    lines = [" ".join(line.split()) for line in content.decode("utf-8-sig", errors="replace").splitlines()]
    first, *others = [line for line in lines if line] or [""]
    sex, age = re.search(SEX, first.lower()), re.search(AGE, first.lower())
    years = str(int(age[1]) // ONE[age[2]]) if age else ""
    return (sex[0] if sex else "", years, " ".join(others))
