"""npy and npz files: one image each, or one item of a stack of images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO
from zipfile import ZipFile, is_zipfile

import numpy as np

from medgraft.data.readers.remember import remembered
from medgraft.data.readers.room import DEFLATE, refuse_size
from medgraft.errors import DataError
from medgraft.types import Picture

VOLUME = ":volume"
"""How a part ends whose three axes are those of a volume; else the last one is taken for channels."""


def read_array(path: Path, part: str | None) -> Picture:
    """Read ``file.npy``, ``file.npz#key``, or item 17 of a stack: ``file.npy#17``, ``file.npz#key:17``.

    Returns: (H, W, C); a 2-D array becomes (H, W, 1). A 3-D array with ``:volume`` at the end of its part becomes
        (D, H, W, 1): ``file.npz#key:17:volume``, ``file.npy#volume``.

    Raises:
        DataError: no such key or item; objects instead of numbers.
    """
    key, index = None, None
    is_volume = f":{part}".endswith(VOLUME)
    if part is not None and is_volume:
        part = f":{part}".removesuffix(VOLUME).removeprefix(":") or None
    is_npz = path.suffix.lower() == ".npz"
    if part is not None:
        key, _, index = part.rpartition(":") if is_npz else ("", "", part)
        if is_npz and not key:
            key, index = part, None
    array = load_array(path, key or None)
    if index is not None:
        array = take_part(array, index, path)
    if array.ndim == 2 or (array.ndim == 3 and is_volume):
        array = array[..., None]
    if array.ndim not in (3, 4) or array.dtype.kind not in "buif":
        raise DataError(
            "An array image", "numbers of shape (H, W), (H, W, C) or (D, H, W, C)",
            f"{path} holds {array.dtype} of shape {array.shape}",
            "Save images with channels last, and name one item of a stack: file.npz#key:index.",
        )  # fmt: skip
    return Picture(array)


def load_array(path: Path, key: str | None) -> np.ndarray:
    """One whole array of a file, remembered while the file stays the same; read-only."""
    return remembered(_decode, path, key)


def _decode(path: Path, key: str | None) -> np.ndarray:
    _refuse_announced(path, key)
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        array = loaded
    else:
        with loaded:
            names = loaded.files
            if key is None and len(names) == 1:
                key = names[0]
            if key not in names:
                raise DataError(
                    "An npz file", "to be told which array", f"{path} holds {', '.join(names)}, not {key!r}",
                    "Write file.npz#key or file.npz#key:index.",
                )  # fmt: skip
            array = loaded[key]
    return array


def _refuse_announced(path: Path, key: str | None) -> None:
    """Sizes that the file cannot hold, before numpy allocates them."""
    if not is_zipfile(path):
        with path.open("rb") as file:
            refuse_size(_announced(file), path, holds=path.stat().st_size)
        return
    with ZipFile(path) as archive:
        for member in archive.infolist():
            if key in (None, member.filename.removesuffix(".npy")):
                with archive.open(member) as file:
                    refuse_size(
                        _announced(file), path, holds=min(member.file_size, DEFLATE * path.stat().st_size)
                    )


def _announced(file: IO[bytes]) -> int:
    """Bytes of the array in an npy file by its header; 0 where numpy will tell what is wrong with it."""
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
        return math.prod(shape) * dtype.itemsize
    except Exception:  # whatever a header of nonsense raises
        return 0


def take_part(array: np.ndarray, index: str, path: Path) -> np.ndarray:
    """Item `index` of an array's first axis."""
    if not index.isdigit() or int(index) >= len(array):
        raise DataError(
            "A part of an array", f"a whole number from 0 to {len(array) - 1}", f"{path} is asked for {index!r}",
            "Correct what stands behind '#'.",
        )  # fmt: skip
    part: np.ndarray = array[int(index)]
    return part
