"""Masks as files that lie on the image they were predicted from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from medgraft.data.readers import known_extensions, read_geometry, split_part
from medgraft.data.readers.dicom import looks_like_dicom
from medgraft.data.writers.dicom_seg import write_segmentation
from medgraft.data.writers.nifti import write_like_nifti, write_nifti
from medgraft.data.writers.photo import write_png
from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.whole_files import written_whole

MaskFormat = Literal["auto", "nifti", "png", "dicom_seg", "npy"]
"""`auto`: what the image itself is."""

__all__ = ["MaskFormat", "write_mask"]

_LOGGER = logging.getLogger(__name__)


def write_mask(
    labels: np.ndarray,
    reference: str | Path | None,
    path: str | Path,
    *,
    classes: Sequence[str],
    format: MaskFormat = "auto",
) -> Path:
    """Write the mask of an image in the place and the axes of the image's own file.

    A DICOM segmentation carries the patient's name and number like the images it refers to, because the standard
    demands it; no other format written here does, and no message quotes them.

    Args:
        labels: (H, W) or (D, H, W) integers from 0 (background) to K - 1, of the size of the image and turned as
            `read_image` turns it.
        reference: the image, as in a manifest: a file, a folder, or a part of one behind '#'; None in memory.
        path: without suffix, which the format adds; an older mask of this name is replaced.
        classes: K names; the first is the background.
        format: "nifti": the image's own axes and affine. "png": one image, grey values are labels. "dicom_seg": one
            segment per foreground class. "npy": the labels alone. "auto": NIfTI for NIfTI, a DICOM segmentation
            for DICOM whose headers suffice, PNG for other images and NIfTI for other volumes.

    Returns: the file written: 8 bits per pixel for up to 256 classes, else 16.

    Raises:
        ShapeError: labels beyond the classes, not of two or three axes, or not of the image's size.
        SettingsError: no such format; a DICOM segmentation of an image that is not DICOM.
        DataError: a volume as PNG; headers to which a segmentation cannot refer.
        RunError: no room, or no permission.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_mask(np.eye(3, dtype=int), None, folder / "row-1", classes=("background", "lesion")).name
    'row-1.png'
    """
    labels = _as_labels(labels, len(classes))
    if format not in get_args(MaskFormat):
        raise SettingsError(
            "write_mask",
            f"a format ({', '.join(get_args(MaskFormat))})",
            f"got {format!r}",
            "Name one of these.",
        )
    file = None if reference is None else split_part(reference)[0]
    is_dicom, is_nifti = _is_dicom(file), _is_nifti(file)
    if format == "dicom_seg" and not is_dicom:
        raise SettingsError(
            "A DICOM segmentation", "a DICOM image to refer to",
            f"{'an image in memory' if file is None else reference} is none", "Write its mask as 'nifti' or 'png'.",
        )  # fmt: skip
    if reference is not None and is_dicom and format in ("auto", "dicom_seg"):
        try:
            write_segmentation(labels, reference, target := _with(".dcm", path), classes)
            return target
        except DataError as error:
            if format != "auto":
                raise
            _LOGGER.info("Another format is written. %s", error)
    if format == "npy":
        with written_whole(target := _with(".npy", path)) as temporary, temporary.open("wb") as opened:
            np.save(opened, labels, allow_pickle=False)
    elif format == "png" or (format == "auto" and labels.ndim == 2 and not is_nifti):
        write_png(labels, target := _with(".png", path))
    elif reference is not None and is_nifti:
        write_like_nifti(labels, reference, target := _with(".nii.gz", path))
    else:
        write_nifti(labels, _affine_of(reference), target := _with(".nii.gz", path))
    return target


def _with(suffix: str, path: str | Path) -> Path:
    """Behind the whole name: what follows a point in it is not a suffix."""
    return Path(path).with_name(Path(path).name + suffix)


def _as_labels(labels: np.ndarray, count: int) -> np.ndarray:
    """The smallest whole numbers that hold all classes."""
    if labels.ndim not in (2, 3) or labels.dtype.kind not in "bui" or labels.size == 0:
        raise ShapeError(
            "A mask", "whole numbers of shape (H, W) or (D, H, W)", f"got {labels.dtype} of shape {labels.shape}",
            "Pass one label per pixel.",
        )  # fmt: skip
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= count:
        raise ShapeError(
            "A mask", f"labels from 0 to {count - 1}, one per class", f"it holds {lowest} to {highest}",
            "Name all classes, background first.",
        )  # fmt: skip
    return labels.astype(np.uint8 if count <= 256 else np.uint16, copy=False)


def _affine_of(reference: str | Path | None) -> np.ndarray | None:
    try:
        return None if reference is None else read_geometry(reference).affine
    except DataError:  # a radiograph, a loop of ultrasound
        return None


def _is_dicom(file: Path | None) -> bool:
    if file is None or not file.exists():
        return False
    name = file.name.lower()
    if file.is_dir() or name.endswith((".dcm", ".dicom", ".zip", "dicomdir")):
        return True
    return not name.endswith(known_extensions()) and looks_like_dicom(file)


def _is_nifti(file: Path | None) -> bool:
    return file is not None and file.name.lower().endswith((".nii", ".nii.gz"))
