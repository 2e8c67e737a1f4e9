"""A zip of DICOM files, as hospitals send them: read like the folder it was made from."""

from __future__ import annotations

import atexit
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage, rmtree
from tempfile import mkdtemp
from threading import Lock
from typing import TypeVar
from zipfile import ZipFile

from medgraft.data.readers.geometry import Geometry
from medgraft.data.readers.series import read_series, read_series_geometry
from medgraft.errors import DataError
from medgraft.types import Picture

Read = TypeVar("Read")

SMALL = 256 * 2**20
"""Bytes that any zip may become."""
PACKED = 100
"""Bytes that one byte of a larger zip may become: pictures hardly ever shrink more, bombs do."""
FILES = 100_000
"""Files that a zip may hold."""
KEPT = 2
"""Unpacked zips that are kept."""
Key = tuple[int, str, int, int]
"""Process, path, time and size."""
_UNPACKED: dict[Key, Path] = {}
_USED: Counter[Key] = Counter()
_LOCK = Lock()


def read_zip(path: Path, part: str | None) -> Picture:
    """Read a series from a zip.

    Args:
        part: as for `read_series`.

    Raises:
        DataError: as `read_series`; more than can be unpacked.
    """
    return _read(path, part, read_series)


def read_zip_geometry(path: Path, part: str | None) -> Geometry:
    """Where the array that `read_zip` returns lies; its files stay for as long as `unpack` keeps them."""
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
    """A folder with the files of a zip, kept for the next who asks, until others follow or the process ends.

    Raises:
        DataError: more than can be unpacked.
    """
    status = path.stat()
    key = (
        os.getpid(),
        str(path),
        status.st_mtime_ns,
        status.st_size,
    )  # a forked process does not rely on its parent's
    with _LOCK:
        if key not in _UNPACKED:
            _UNPACKED[key] = _unpack(path)
        folder = _UNPACKED[key] = _UNPACKED.pop(key)  # the last to be discarded
        _USED[key] += 1
    try:
        yield folder
    finally:
        with _LOCK:
            _USED[key] -= 1
            unused = [key for key in _UNPACKED if not _USED[key]]
            for key in unused[: max(0, len(_UNPACKED) - KEPT)]:
                _discard(key)


def _unpack(path: Path) -> Path:
    with ZipFile(path) as archive:
        folder = Path(mkdtemp(prefix="medgraft-"))
        try:
            _refuse_bomb(archive, path, folder)
            archive.extractall(folder)  # names that lead out of the folder are cleaned by zipfile
        except BaseException:
            rmtree(folder, ignore_errors=True)
            raise
    return folder


def _discard(key: Key) -> None:
    folder = _UNPACKED.pop(key)
    _USED.pop(key, None)
    if key[0] == os.getpid():
        rmtree(folder, ignore_errors=True)


@atexit.register
def _discard_all() -> None:
    for key in list(_UNPACKED):
        _discard(key)


def _refuse_bomb(archive: ZipFile, path: Path, folder: Path) -> None:
    members = archive.infolist()
    total, free = sum(member.file_size for member in members), disk_usage(folder).free
    if len(members) > FILES or total > max(SMALL, PACKED * path.stat().st_size):
        got = f"{path} announces {len(members)} files of {total / 2**30:.3g} GiB, as only damaged or harmful ones do"
    elif total > free:
        got = f"{path} holds {total / 2**30:.3g} GiB and {folder.parent} has room for {free / 2**30:.3g} GiB"
    else:
        return
    raise DataError(
        "A zip of DICOM files", "files that can be unpacked", got, "Unpack it and name the folder."
    )
