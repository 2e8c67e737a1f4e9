"""NIfTI volumes, and those of FreeSurfer (MGH, MGZ) and MINC 1, turned to one orientation."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medgraft.data.readers.arrays import take_part
from medgraft.data.readers.geometry import Geometry, place_volume
from medgraft.data.readers.inflate import inflate
from medgraft.data.readers.remember import remembered
from medgraft.data.readers.room import DEFLATE, SizedFile, refuse_size
from medgraft.data.readers.together import voxels_of
from medgraft.errors import DataError
from medgraft.types import Picture

CHANNELS = "channels"
"""The part that reads the fourth axis of a file as channels."""
FRAME = "frame:"
"""How parts begin that name one volume along the fourth axis: a moment of a cine."""
RADIOLOGICAL = "radiological"
"""The part that says what an Analyze header does not: its first axis runs from the patient's right to the left."""
MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
HDF5 = b"\x89HDF\r\n\x1a\n"
PACKED = {".nii": 1, ".gz": DEFLATE, ".mgh": 1, ".mgz": DEFLATE, ".mnc": 1}
"""Bytes that one byte of a file can hold at most."""
TURNED = 0.5
"""Cosine between an axis by the qform and by the sform below which they contradict each other (60 degrees)."""
SAME_SIZE = 0.01
"""Share by which voxel sizes may differ before it is told."""
CONFLICT = (
    "The qform and sform of the file disagree about place or voxel size (directions are taken from the sform, spacing "
    "from the voxel size in the header): make them agree."
)


def read_nifti(path: Path, part: str | None) -> Picture:
    """Read a volume, turned so that axes run feet-head, front-back, right-left (see `Geometry`).

    Returns: (D, H, W, 1), or (H, W, 1) for ``#slice:12`` and for files of one slice; with ``#channels`` the fourth
        axis of the file (sequences of one examination) becomes the channels, with ``#frame:3`` the volume at this place
        of the fourth axis is taken; spacing in the same order.

    Raises:
        DataError: more than three dimensions (time, vectors) where channels are not asked for; qform and sform that
            turn an axis differently.
    """
    is_frame = str(part).startswith(FRAME)
    volume = remembered(_decode, path, CHANNELS if is_frame else part if part == CHANNELS else None)
    if is_frame:
        taken = take_part(np.moveaxis(volume, -1, 0), str(part).removeprefix(FRAME), path)
        volume = np.ascontiguousarray(taken)[..., None]
    spacing = _spacing(path)
    if part not in (None, CHANNELS) and not is_frame:
        return Picture(take_part(volume, str(part).removeprefix("slice:"), path), spacing[1:])
    if len(volume) == 1:
        return Picture(volume[0], spacing[1:])
    return Picture(volume, spacing)


def read_nifti_geometry(path: Path, part: str | None) -> Geometry:
    """Where the array that `read_nifti` returns lies; a single slice where the part names one.

    Raises:
        DataError: no volume, or an affine without directions; no such slice.
    """
    geometry = replace(_geometry(_open(path), path), files=(path,))
    if part in (None, CHANNELS) or str(part).startswith(FRAME):
        return geometry
    number = str(part).removeprefix("slice:")
    take_part(np.empty((geometry.shape[0], 0)), number, path)  # refuses slices that are not there
    return geometry.at_slice(int(number))


def read_pair(path: Path, part: str | None) -> Picture:
    """Read header and voxels of two files, NIfTI or Analyze, whose cell says that Analyze's rows run to the left.

    Args:
        path: the header; its voxels are NAME.img beside it.
        part: ``radiological``. A NIfTI header tells sides itself, and counts.

    Returns: (D, H, W, 1) as `read_nifti`.

    Raises:
        DataError: the other half is missing; as `read_nifti`.
    """
    voxels = voxels_of(path)
    if not voxels.is_file():
        raise DataError(
            "Reading an image", "header and voxels of a pair", f"{path} has no {voxels.name} beside it",
            "Copy it there.",
        )  # fmt: skip
    status = voxels.stat()  # the header may stay as it is where the voxels change
    volume = remembered(_decode, path, f"{status.st_size} {status.st_mtime_ns}")
    spacing = _spacing(path)
    return Picture(volume[0], spacing[1:]) if len(volume) == 1 else Picture(volume, spacing)


def read_pair_geometry(path: Path, part: str | None) -> Geometry:
    """Where the array that `read_pair` returns lies.

    Raises:
        DataError: no volume, or an affine without directions.
    """
    return read_nifti_geometry(path, None)


def _open(path: Path) -> Any:
    import nibabel

    with path.open("rb") as file:
        if file.read(len(HDF5)) == HDF5:
            raise DataError(
                "A volume",
                "NIfTI, MGH, MGZ or MINC 1",
                f"{path} is MINC 2",
                "Convert it to NIfTI with mnc2nii.",
            )
    image: Any = _open_minc(path) if path.suffix.lower() == ".mnc" else nibabel.load(path)
    if not hasattr(image, "as_reoriented"):
        raise DataError(
            "A NIfTI image", "voxels of a volume", f"{path} is a {type(image).__name__.removesuffix('Image')} file",
            "Convert it to a volume, or leave it out.",
        )  # fmt: skip
    return image


def _open_minc(path: Path) -> Any:
    """Its reader would allocate whatever lengths a damaged file names."""
    from nibabel.fileholders import FileHolder
    from nibabel.minc1 import Minc1Image

    return Minc1Image.from_file_map({"image": FileHolder(fileobj=SizedFile(path))})  # type: ignore[no-untyped-call]


def _geometry(image: Any, path: Path) -> Geometry:
    affine = np.asarray(image.affine, dtype=np.float64).copy()
    affine[:3] *= _unit(image)
    return place_volume(affine, (*image.shape, 1, 1)[:3], "nifti", str(path))


def _unit(image: Any) -> float:
    """Millimetres of the header's unit of length; formats other than NIfTI know millimetres alone."""
    if not hasattr(image.header, "get_xyzt_units"):
        return 1.0
    return MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)


def _decode(path: Path, key: str | None) -> np.ndarray:
    image = _open(path)
    _refuse_contradiction(image, path)
    _refuse_announced(image, path)
    array = _voxels(image, path)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    while array.ndim < 3:
        array = array[..., None]
    if array.ndim > (4 if key == CHANNELS else 3):
        raise DataError(
            "A volume", "three dimensions", f"{path} has {array.ndim}",
            "Save one volume per file, or name it FILE#channels where the fourth axis holds sequences of one scan, "
            "FILE#frame:0 where it holds moments.",
        )  # fmt: skip
    turned = _geometry(image, path).to_array(array)
    return turned if turned.ndim == 4 else turned[..., None]


def _voxels(image: Any, path: Path) -> np.ndarray:
    """The numbers of a file in its own order; whole numbers stay whole numbers where the file sets no scale."""
    stored = image.dataobj
    if path.suffix.lower() != ".gz":
        return np.asarray(stored)
    from nibabel.volumeutils import apply_read_scaling

    size = stored.offset + math.prod(stored.shape) * stored.dtype.itemsize
    contents = inflate(path, size)
    if len(contents) < size:
        raise DataError(
            "Reading an image", "a whole file", f"{path} holds {len(contents)} of {size} bytes",
            "It is truncated: replace it with an intact copy or remove its row.",
        )  # fmt: skip
    array = np.ndarray(stored.shape, stored.dtype, buffer=contents, offset=stored.offset, order="F")
    return np.asarray(apply_read_scaling(array, stored.slope, stored.inter))


def _refuse_announced(image: Any, path: Path) -> None:
    """Sizes that the file cannot hold, before they are allocated."""
    dtype, stored = image.get_data_dtype(), path.stat().st_size
    is_scaled = (getattr(image.dataobj, "slope", 1), getattr(image.dataobj, "inter", 0)) != (1, 0)
    voxels = math.prod(int(size) for size in image.shape)
    if path.suffix.lower() in PACKED:
        refuse_size(voxels * dtype.itemsize, path, holds=PACKED[path.suffix.lower()] * stored)
    refuse_size(voxels * (8 if is_scaled else dtype.itemsize), path)


def _spacing(path: Path) -> tuple[float, ...]:
    image = _open(path)  # the header alone
    geometry = _geometry(image, path)
    sizes = (*image.header.get_zooms()[:3], 1.0, 1.0)
    found = tuple(float(sizes[axis]) * _unit(image) for axis in geometry.axes)
    return found if all(0 < size < math.inf for size in found) else geometry.spacing


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
