"""The index of a medium, a file named DICOMDIR: which files belong to it."""

from __future__ import annotations

import os
from pathlib import Path

from medgraft.data.readers.dataset import read_dataset
from medgraft.errors import DataError

NAME = "dicomdir"


def is_dicomdir(path: Path) -> bool:
    """True for a file of this name, in whatever case it was copied."""
    return path.name.lower() == NAME and path.is_file()


def files_of_dicomdir(path: Path) -> list[Path]:
    """The files that the records of an index name, in their order; names may have changed their case.

    Raises:
        DataError: no index; files that are not there.

    Source: DICOM PS3.3, F.3 (directory records); PS3.10, 8 (file names).
    """
    records = read_dataset(path).get("DirectoryRecordSequence")
    if records is None:
        raise DataError(
            "A DICOMDIR", "records of files", f"{path} has none", "Name the folder or the files themselves."
        )
    named = [_parts(record.get("ReferencedFileID")) for record in records]
    asked = [parts for parts in named if parts]
    there = _files_below(path.parent, depth=max(map(len, asked), default=0))
    missing = [parts for parts in asked if _key(parts) not in there]
    if missing:
        raise DataError(
            "A DICOMDIR", "all files of its records",
            f"{len(missing)} of the {len(asked)} that {path} names are not beside it",
            "Copy the whole medium, or name the folder itself to read what is there.",
        )  # fmt: skip
    return [there[_key(parts)] for parts in asked]


def _parts(value: object) -> tuple[str, ...]:
    """A file's name: one component, or several; empty where a record names none."""
    if value is None or value == "":
        return ()
    return (value,) if isinstance(value, str) else tuple(str(each) for each in value)  # type: ignore[attr-defined]


def _key(parts: tuple[str, ...]) -> str:
    return "/".join(parts).lower()


def _files_below(folder: Path, depth: int) -> dict[str, Path]:
    """Every file at most so deep, by its name in lower case."""
    found: dict[str, Path] = {}
    for place, folders, files in os.walk(folder):
        within = Path(place).relative_to(folder).parts
        if len(within) + 1 >= depth:
            folders.clear()
        found |= {_key((*within, file)): Path(place, file) for file in files}
    return found
