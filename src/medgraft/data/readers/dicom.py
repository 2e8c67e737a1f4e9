"""Plain DICOM files: one frame, uncompressed or with a plug-in that is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medgraft.errors import DataError
from medgraft.types import Picture


def looks_like_dicom(path: Path) -> bool:
    """True if the file carries the DICOM mark."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dicom(path: Path, part: str | None) -> Picture:
    """Read one frame: rescaled to its unit (float32) where the file says how, MONOCHROME1 turned to bright-is-high.

    Returns: (H, W, 1) or (H, W, 3), and the pixel spacing (rows, columns) in millimetres.

    Raises:
        DataError: no pixels, several frames, palette colour, a compression without plug-in.
    """
    import pydicom

    if part is not None:
        raise DataError(
            "A DICOM image",
            "to be named without a part",
            f"{path} is asked for {part!r}",
            "Remove what follows '#'.",
        )
    dataset = pydicom.dcmread(path, force=not looks_like_dicom(path))
    if "PixelData" not in dataset:
        raise DataError(
            "A DICOM image", "pixel data", f"{path} has none", "Leave this file out of the manifest."
        )
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        raise DataError(
            "A DICOM image", "a single frame", f"{path} has {frames}",
            "Save each frame as a file of its own.",
        )  # fmt: skip
    colours = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if colours == "PALETTE COLOR":
        raise DataError(
            "A DICOM image", "grey or RGB pixels", f"{path} has palette colour", "Convert it to RGB."
        )
    array = _pixels(dataset, path)
    if array.ndim == 2:
        # inverted before it is rescaled: the stored range is the same for every image of a device, its values are not
        if colours == "MONOCHROME1":
            array = _invert(array, dataset)
        array = _rescale(array, dataset)[..., None]
    return Picture(array, _spacing(dataset))


def _pixels(dataset: Any, path: Path) -> np.ndarray:
    """As stored; YBR comes back as RGB."""
    from pydicom.uid import ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:  # files older than the DICOM mark
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    try:
        array: np.ndarray = dataset.pixel_array
    except (RuntimeError, NotImplementedError, ImportError) as error:
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", "unknown")
        raise DataError(
            "A DICOM image", "a transfer syntax that can be decoded here",
            f"{path} uses {getattr(syntax, 'name', syntax)}",
            "Install pylibjpeg with pylibjpeg-openjpeg or pylibjpeg-rle, or decompress the file.",
        ) from error  # fmt: skip
    return array


def _rescale(array: np.ndarray, dataset: Any) -> np.ndarray:
    slope = float(dataset.get("RescaleSlope", 1) or 1)
    intercept = float(dataset.get("RescaleIntercept", 0) or 0)
    if (slope, intercept) == (1.0, 0.0):
        return array
    return (array.astype(np.float32) * slope + intercept).astype(np.float32)


def _invert(array: np.ndarray, dataset: Any) -> np.ndarray:
    """Brightest becomes darkest, within the range the stored bits span."""
    bits = int(dataset.get("BitsStored", 8 * array.dtype.itemsize))
    if int(dataset.get("PixelRepresentation", 0)):
        return (-1 - array.astype(np.int64)).astype(array.dtype)
    inverted: np.ndarray = (2**bits - 1 - array.astype(np.int64)).astype(array.dtype)
    return inverted


def _spacing(dataset: Any) -> tuple[float, ...] | None:
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        values = dataset.get(name)
        if values and len(values) == 2 and min(values) > 0:
            return float(values[0]), float(values[1])
    return None
