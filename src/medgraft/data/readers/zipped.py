"""A zip of DICOM files, as hospitals send them: read like the folder it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from zipfile import ZipFile

from medgraft.data.readers.geometry import Geometry
from medgraft.data.readers.series import read_series, read_series_geometry
from medgraft.errors import DataError
from medgraft.types import Picture

Read = TypeVar("Read")

LARGEST = 16 * 2**30
"""Bytes of all files in a zip beyond which it is not unpacked: a small zip may hold more than any disk."""


def read_zip(path: Path, part: str | None) -> Picture:
    """Read a series from a zip.

    Args:
        part: as for `read_series`.

    Raises:
        DataError: as `read_series`; files of more than `LARGEST` bytes together.
    """
    return _read(path, part, read_series)


def read_zip_geometry(path: Path, part: str | None) -> Geometry:
    """Where the array that `read_zip` returns lies; the files it names are gone."""
    return _read(path, part, read_series_geometry)


def _read(path: Path, part: str | None, read: Callable[[Path, str | None], Read]) -> Read:
    with unpack(path) as folder:
        try:
            return read(folder, part)
        except DataError as error:
            error.got = error.got.replace(str(folder), str(path))
            raise


@contextmanager
def unpack(path: Path) -> Iterator[Path]:
    """A folder with the files of a zip, gone afterwards.

    Raises:
        DataError: files of more than `LARGEST` bytes together.
    """
    with ZipFile(path) as archive, TemporaryDirectory() as folder:
        if sum(member.file_size for member in archive.infolist()) > LARGEST:
            raise DataError(
                "A zip of DICOM files", f"at most {LARGEST // 2**30} GiB when unpacked", f"{path} holds more",
                "Unpack it and name the folder.",
            )  # fmt: skip
        archive.extractall(folder)  # names that lead out of the folder are cleaned by zipfile
        yield Path(folder)
