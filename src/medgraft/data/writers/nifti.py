"""Masks as NIfTI: in the axes and the place of the image's own file, so that any viewer lays them over it."""

from __future__ import annotations

import gzip
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from medgraft.data.readers import expand_name, read_geometry, split_part
from medgraft.whole_files import written_whole

PLACE = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip
"""Fields of the header that say where a voxel lies; no others are copied, descriptions may hold names."""
UNPLACED = np.array([[0.0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""Of an array that lies nowhere: voxels of 1 mm, and axes that run as `read_image` turns volumes to."""
LEVEL = 4
"""Of gzip: label maps shrink a hundredfold at any level."""


def write_like_nifti(labels: np.ndarray, reference: str | Path, path: Path) -> None:
    """Write labels in the voxel order of a NIfTI image and with its qform, sform and codes.

    Args:
        labels: (D, H, W) or (H, W) uint8 or uint16, turned as `read_image` turns the image.
        reference: the image (of several sequences the first), or a slice of it: its mask becomes a volume of one slice
            at its place.

    Raises:
        ShapeError: the labels are not of the image's size.
        RunError: no room, or no permission.
    """
    import nibabel

    file, part = split_part(reference)
    geometry = read_geometry(reference)
    image: Any = nibabel.load(expand_name(file)[0])
    first = np.zeros(3)
    if part is not None:
        whole = read_geometry(file).stored_affine
        first = np.rint((np.linalg.inv(whole) @ geometry.stored_affine[:, 3])[:3])
    own = geometry.to_stored(labels)
    _store(own, _placed_header(image.header, first), type(image), path)


def write_nifti(labels: np.ndarray, affine: np.ndarray | None, path: Path) -> None:
    """Write labels of an image that is no NIfTI file.

    Args:
        labels: (D, H, W) or (H, W) uint8 or uint16; (H, W) becomes a volume of one slice.
        affine: (4, 4) from the array's index (d, h, w) to the scanner's millimetres, right-anterior-superior; None
            where the image lies nowhere: then `UNPLACED`.

    Raises:
        RunError: no room, or no permission.
    """
    import nibabel

    volume = (labels[None] if labels.ndim == 2 else labels).transpose(2, 1, 0)
    kind: Any = nibabel.Nifti1Image if max(volume.shape) < 2**15 else nibabel.Nifti2Image
    header = kind.header_class()
    header.set_xyzt_units("mm")
    header.set_data_shape(volume.shape)
    turned = (UNPLACED if affine is None else affine)[:, [2, 1, 0, 3]]
    code = "aligned" if affine is None else "scanner"
    axes = turned[:3, :3]
    is_sheared = not np.allclose(axes.T @ axes, np.diag((axes**2).sum(0)), atol=1e-4 * (axes**2).sum(0).max())
    header.set_qform(turned, code="unknown" if is_sheared else code)  # a qform cannot shear
    header.set_sform(turned, code=code)
    _store(volume, header, kind, path)


def _placed_header(header: Any, first: np.ndarray) -> Any:
    """A header that holds only the place: voxel `first` of the image is where the mask begins."""
    from nibabel.spatialimages import HeaderDataError

    placed = type(header)()
    placed["pixdim"][:4] = header["pixdim"][:4]
    for name in PLACE:
        placed[name] = header[name]
    if first.any():
        for name in ("srow_x", "srow_y", "srow_z"):
            placed[name][3] += header[name][:3] @ first
        with suppress(HeaderDataError):  # quaternions of nonsense have no place that could move
            moved = header.get_qform()[:3] @ [*first, 1]
            for value, name in zip(moved, ("qoffset_x", "qoffset_y", "qoffset_z")):
                placed[name] = value
    return placed


def _store(array: np.ndarray, header: Any, kind: type[Any], path: Path) -> None:
    header.set_data_dtype(array.dtype)
    header.set_intent("label")
    image = kind(array, None, header)
    # without name and time in the archive, the same mask is the same bytes
    with (
        written_whole(path) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=file, mtime=0) as archive,
    ):
        image.to_stream(archive)
