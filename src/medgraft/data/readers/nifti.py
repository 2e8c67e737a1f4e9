"""NIfTI volumes in canonical orientation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medgraft.data.readers.arrays import take_part
from medgraft.data.readers.remember import remembered
from medgraft.errors import DataError
from medgraft.types import Picture

MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}


def read_nifti(path: Path, part: str | None) -> Picture:
    """Read a volume, turned so that axes run inferior-superior, posterior-anterior, left-right.

    Returns: (D, H, W, 1), or (H, W, 1) for ``#slice:12`` and for files of one slice; spacing in the same order.

    Raises:
        DataError: more than three dimensions (time, vectors).
    """
    volume = remembered(_decode, path)
    spacing = _spacing(path)
    if part is not None:
        return Picture(take_part(volume, part.removeprefix("slice:"), path), spacing[1:])
    if len(volume) == 1:
        return Picture(volume[0], spacing[1:])
    return Picture(volume, spacing)


def _decode(path: Path, key: str | None) -> np.ndarray:
    import nibabel

    # whole numbers stay whole numbers where the file sets no scale
    turned: Any = nibabel.as_closest_canonical(nibabel.load(path))  # type: ignore[no-untyped-call]
    array = np.asarray(turned.dataobj)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3:
        raise DataError(
            "A NIfTI image", "three dimensions", f"{path} has {array.ndim}", "Save one volume per file."
        )
    return np.ascontiguousarray(array.transpose(2, 1, 0))[..., None]


def _spacing(path: Path) -> tuple[float, ...]:
    import nibabel

    image: Any = nibabel.load(path)  # the header alone: turning the volume would read all of it
    unit = MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
    axes = nibabel.io_orientation(image.affine)[:, 0]  # type: ignore[no-untyped-call]
    turned = [1.0, 1.0, 1.0]
    for axis, size in zip(axes, image.header.get_zooms()):
        turned[int(axis)] = float(size) * unit
    return tuple(turned[::-1])
