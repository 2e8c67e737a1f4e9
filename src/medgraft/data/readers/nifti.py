"""NIfTI volumes in canonical orientation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medgraft.data.readers.arrays import take_part
from medgraft.data.readers.remember import remembered
from medgraft.errors import DataError
from medgraft.types import Picture

CHANNELS = "channels"
"""The part that reads the fourth axis of a file as channels."""
MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
TURNED = 0.5
"""Cosine between an axis by the qform and by the sform below which they contradict each other (60 degrees)."""
SAME_SIZE = 0.01
"""Share by which voxel sizes may differ before it is told."""
CONFLICT = (
    "The qform and sform of the file disagree about place or voxel size (directions are taken from the sform, spacing "
    "from the voxel size in the header): make them agree."
)


def read_nifti(path: Path, part: str | None) -> Picture:
    """Read a volume, turned so that axes run inferior-superior, posterior-anterior, left-right.

    Returns: (D, H, W, 1), or (H, W, 1) for ``#slice:12`` and for files of one slice; with ``#channels`` the fourth
        axis of the file (sequences of one examination) becomes the channels; spacing in the same order.

    Raises:
        DataError: more than three dimensions (time, vectors) where channels are not asked for; qform and sform that
            turn an axis differently.
    """
    volume = remembered(_decode, path, part if part == CHANNELS else None)
    spacing = _spacing(path)
    if part not in (None, CHANNELS):
        return Picture(take_part(volume, str(part).removeprefix("slice:"), path), spacing[1:])
    if len(volume) == 1:
        return Picture(volume[0], spacing[1:])
    return Picture(volume, spacing)


def _decode(path: Path, key: str | None) -> np.ndarray:
    import nibabel

    image: Any = nibabel.load(path)
    if not hasattr(image, "as_reoriented"):
        raise DataError(
            "A NIfTI image", "voxels of a volume", f"{path} is a {type(image).__name__.removesuffix('Image')} file",
            "Convert it to a volume, or leave it out.",
        )  # fmt: skip
    _refuse_contradiction(image, path)
    # whole numbers stay whole numbers where the file sets no scale
    turned: Any = nibabel.as_closest_canonical(image)  # type: ignore[no-untyped-call]
    array = np.asarray(turned.dataobj)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        array = array[..., None]
    if key == CHANNELS and array.ndim == 4:
        return np.ascontiguousarray(array.transpose(2, 1, 0, 3))
    if array.ndim != 3:
        raise DataError(
            "A NIfTI image", "three dimensions", f"{path} has {array.ndim}",
            "Save one volume per file, or name it FILE#channels where the fourth axis holds sequences of one scan.",
        )  # fmt: skip
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


def warn_of_conflict(path: Path) -> list[str]:
    """One sentence where a file's two affines differ in voxel size, or in place though they claim the same space."""
    import nibabel

    image: Any = nibabel.load(path)
    affines = _both_affines(image)
    if affines is None:
        return []
    by_qform, by_sform, is_same_space = affines
    sizes = np.linalg.norm(by_qform[:3, :3], axis=0), np.linalg.norm(by_sform[:3, :3], axis=0)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.asarray(image.shape[:3]) - 1)
    apart = (corners @ (by_qform - by_sform)[:3, :3].T) + (by_qform - by_sform)[:3, 3]
    is_moved = is_same_space and np.linalg.norm(apart, axis=1).max() > sizes[0].min() / 2
    return [CONFLICT] if is_moved or not np.allclose(*sizes, rtol=SAME_SIZE) else []


def _refuse_contradiction(image: Any, path: Path) -> None:
    """Left or right must not depend on which of the two affines a program prefers."""
    import nibabel

    affines = _both_affines(image)
    if affines is None:
        return
    axes = [affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0) for affine in affines[:2]]
    if ((axes[0] * axes[1]).sum(0) < TURNED).any():
        codes = ["".join(map(str, nibabel.aff2axcodes(affine))) for affine in affines[:2]]  # type: ignore[no-untyped-call]
        raise DataError(
            "A NIfTI image", "one orientation", f"{path} runs {codes[0]} by its qform and {codes[1]} by its sform",
            "Find out which is right and set the code of the other to 0.",
        )  # fmt: skip


def _both_affines(image: Any) -> tuple[np.ndarray, np.ndarray, bool] | None:
    """(qform, sform, whether they claim the same space); None unless the file sets both."""
    from nibabel.spatialimages import HeaderDataError

    if not hasattr(image.header, "get_qform"):
        return None
    try:
        by_qform, qform_code = image.header.get_qform(coded=True)
    except HeaderDataError:  # quaternions of nonsense: the sform alone counts
        return None
    by_sform, sform_code = image.header.get_sform(coded=True)
    if by_qform is None or by_sform is None or len(image.shape) < 3:
        return None
    return by_qform, by_sform, bool(qform_code == sform_code)
