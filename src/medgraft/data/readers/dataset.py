"""A DICOM file's data set, read so that no damaged length is allocated."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medgraft.data.readers.room import SizedFile, largest, refuse_size

DEFLATED = b"1.2.840.10008.1.2.1.99"
HEAD = 1024
"""Bytes at the start of a file that name its transfer syntax."""
STEP = 2**20


def read_dataset(
    path: Path,
    *,
    stop_before_pixels: bool = False,
    specific_tags: Sequence[str] | None = None,
    force: bool = True,
) -> Any:
    """The `pydicom.Dataset` of a file.

    Args:
        path: the file.
        stop_before_pixels: leave the pixels out.
        specific_tags: read only these.
        force: take a file without the DICOM mark.

    Raises:
        DataError: a deflated file that would not fit into memory.
    """
    import pydicom

    _refuse_deflated(path)
    tags = None if specific_tags is None else list(specific_tags)
    with SizedFile(path) as file:
        return pydicom.dcmread(file, stop_before_pixels=stop_before_pixels, specific_tags=tags, force=force)


def _refuse_deflated(path: Path) -> None:
    """pydicom inflates such a file whole, whatever that takes."""
    with path.open("rb") as file:
        if DEFLATED not in file.read(HEAD) or path.stat().st_size * 1032 < largest():
            return
    from pydicom.filereader import read_file_meta_info

    with SizedFile(path) as file:
        file.seek(_end_of_meta(read_file_meta_info(path)))
        inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while piece := inflate.unconsumed_tail or file.read(STEP):
            total += len(inflate.decompress(piece, STEP))
            refuse_size(total, path)


def _end_of_meta(meta: Any) -> int:
    """Where the data set begins: preamble, mark, and the group's own length with what it counts."""
    return 132 + 12 + int(meta.FileMetaInformationGroupLength)
