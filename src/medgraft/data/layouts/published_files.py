"""The files of published data sets: which are there, and which cases they are of."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from medgraft.errors import DataError

OF_THE_SYSTEM = "._"
"""How names begin that some archives hold beside every image and that are no images (macOS)."""
VOLUMES = (".nii", ".nii.gz", ".hdr", ".img")
FEW = 50
"""Entries of a folder that are looked at to tell whether it is one of a data set."""


def has_name(folder: Path, pattern: str) -> bool:
    """Whether one of the first entries of a folder has a name of this kind."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(re.fullmatch(pattern, entry.name) for entry, _ in zip(entries, range(FEW)))


def names_in(folder: Path, pattern: str) -> list[re.Match[str]]:
    """Names of a folder's entries that are of this kind, in their order, numbers as numbers."""
    if not folder.is_dir():
        return []
    found = [re.fullmatch(pattern, name) for name in sorted(os.listdir(folder), key=_by_number)]
    return [match for match in found if match is not None]


def refuse_others(folder: Path, pattern: str, needs: str, do: str) -> None:
    """Name a volume of a folder that is called otherwise: it would be left out without a word.

    Raises:
        DataError: with what is needed and what to do.
    """
    known = {match[0] for match in names_in(folder, pattern)}
    others = [match[0] for match in names_in(folder, r"[^.].*") if match[0].lower().endswith(VOLUMES)]
    others = [name for name in others if name not in known]
    if others:
        raise DataError(f"The folder {folder}", needs, f"it has {_first_of(others)}", do)


def refuse_other_folders(folder: Path, pattern: str, needs: str, do: str) -> None:
    """Name a folder in a folder of cases that is called otherwise: it would be left out without a word.

    Raises:
        DataError: with what is needed and what to do.
    """
    found = [match[0] for match in names_in(folder, r"[^.].*") if (folder / match[0]).is_dir()]
    others = [name for name in found if re.fullmatch(pattern, name) is None]
    if others:
        raise DataError(f"The folder {folder}", needs, f"it has {_first_of(others)}", do)


def _first_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def folders_below(path: Path, levels: int) -> list[str]:
    """A folder and those within it, down to so many levels, as relative paths; hidden ones are left out."""
    found = [""]
    if levels:
        for name in sorted(os.listdir(path)):
            if not name.startswith(".") and (path / name).is_dir():
                found += [f"{name}/{inner}" for inner in folders_below(path / name, levels - 1)]
    return found


def find_images(path: Path, table: Path, names: Sequence[str], levels: int = 2) -> list[str]:
    """Paths of a table's images within a folder, wherever below it they were unpacked; each folder is listed once.

    Raises:
        DataError: some are not there, or lie in two folders.
    """
    wanted, place_of = set(names), dict[str, str]()
    for place in folders_below(path, levels):
        for name in wanted.intersection(os.listdir(path / place)):
            if place_of.setdefault(name, place) != place:
                raise DataError(
                    f"The folder {path}", "one copy of each image",
                    f"{name} lies in {place_of[name] or '.'} and in {place}", "Move the copies out of the folder.",
                )  # fmt: skip
    absent = [row for row, name in enumerate(names, start=1) if name not in place_of]
    if absent:
        raise DataError(
            f"The table {table}", "its images beside it or in folders beside it",
            f"{len(absent)} of {len(names)} are not there, the first is {names[absent[0] - 1]} in row {absent[0]}",
            "Unpack or download them into the folder, or remove these rows from the table.",
        )  # fmt: skip
    return [place_of[name] + name for name in names]


def missing_files(path: Path, files: Sequence[str]) -> list[str]:
    """Those of many files below a folder that are not there, from one listing of each folder."""
    places = [file.rpartition("/") for file in files]
    there: dict[str, set[str]] = {}
    for folder in {folder for folder, _, _ in places}:
        place = path / folder
        there[folder] = set(os.listdir(place)) if place.is_dir() else set()
    return [file for file, (folder, _, name) in zip(files, places) if name not in there[folder]]


def refuse_absent(path: Path, table: Path, files: Sequence[str], needs: str) -> None:
    """Name the first row of a table whose file is not there by its number alone: file names may tell patients.

    Args:
        path: what the files are relative to.
        table: the table.
        files: one for each row; several rows may have the same.
        needs: where they are to be.

    Raises:
        DataError: with how many of the files are not there.
    """
    missing = set(missing_files(path, files))
    if missing:
        row = next(row for row, file in enumerate(files, start=1) if file in missing)
        raise DataError(
            f"The table {table}", needs,
            f"{len(missing)} of {len(set(files))} are not there, the first in row {row}",
            "Unpack or download them into the folder, or remove these rows from the table.",
        )  # fmt: skip


def refuse_missing(path: Path, files: Iterable[str], needs: str, do: str) -> None:
    """Name the first of several files that are not there.

    Raises:
        DataError: with what is needed and what to do.
    """
    files = list(files)
    missing = missing_files(path, files)
    if missing:
        got = f"{len(missing)} of {len(files)} are not there, the first is {missing[0]}"
        raise DataError(f"The folder {path}", needs, got, do)
