"""NIfTI volumes in canonical orientation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medgraft.data.readers.arrays import take_part
from medgraft.errors import DataError
from medgraft.types import Picture


def read_nifti(path: Path, part: str | None) -> Picture:
    """Read a volume, turned so that axes run inferior-superior, posterior-anterior, left-right.

    Returns: (D, H, W, 1), or (H, W, 1) for ``#slice:12`` and for files of one slice; spacing in the same order.

    Raises:
        DataError: more than three dimensions (time, vectors).
    """
    import nibabel

    image = nibabel.as_closest_canonical(nibabel.load(path))
    scaled = image.dataobj.slope, image.dataobj.inter  # nibabel returns floats as soon as a scale is set
    array = np.asarray(image.dataobj)
    if scaled == (1.0, 0.0) and array.dtype.kind == "f" and image.get_data_dtype().kind in "iu":
        array = array.astype(image.get_data_dtype())
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3:
        raise DataError(
            "A NIfTI image", "three dimensions", f"{path} has {array.ndim}", "Save one volume per file."
        )
    spacing = tuple(float(size) for size in image.header.get_zooms()[:3])
    spacing = (*spacing, *(1.0,) * (3 - len(spacing)))[::-1]
    volume = np.ascontiguousarray(array.transpose(2, 1, 0))[..., None]
    if part is None and volume.shape[0] == 1:
        return Picture(volume[0], spacing[1:])
    if part is None:
        return Picture(volume, spacing)
    return Picture(take_part(volume, part.removeprefix("slice:"), path), spacing[1:])
