"""DICOM files of one or many frames: values in the unit of the modality, colour as RGB."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medgraft.data.readers.dataset import read_dataset
from medgraft.data.readers.frames import arrange_frames, count_frames, tell_of_frame
from medgraft.data.readers.geometry import (
    Geometry,
    affine_of_planes,
    no_place,
    place_slices,
    place_volume,
    turn_spacing,
)
from medgraft.data.readers.room import refuse_size
from medgraft.errors import DataError
from medgraft.types import Picture

PALETTE = "PALETTE COLOR"
CONTOURS = "1.2.840.10008.5.1.4.1.1.481.3"
"""RT Structure Set Storage."""
HALVED = "YBR_FULL_422"
"""Stored with two colour values for two pixels."""
FLOATING = ("FloatPixelData", "DoubleFloatPixelData")


def looks_like_dicom(path: Path) -> bool:
    """True if the file carries the DICOM mark."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dicom(path: Path, part: str | None) -> Picture:
    """Read a file: rescaled to its unit (float32) where it says how, MONOCHROME1 turned bright-is-high, colour as RGB.

    Windows are left to a model's preparation, overlays are left out. Frames with positions are ordered along their
    normal, spaced by it and turned (see `Geometry`); frames without keep their order and have no spacing.

    Args:
        part: None for all frames, or "frame:12" for one, counted from 0 as stored.

    Returns: (H, W, C), or (D, H, W, C) for several frames, C 1, 3 or 4; spacing in millimetres in the same order.

    Raises:
        DataError: no pixels; a compression without plug-in; frames that are no stack of slices.
    """
    return _read(path, part, with_colours=True)


def read_dicom_labels(path: Path, part: str | None) -> Picture:
    """Read a mask in DICOM: palettes stay numbers."""
    return _read(path, part, with_colours=False)


def _read(path: Path, part: str | None, *, with_colours: bool) -> Picture:
    dataset = read_dataset(path, force=not looks_like_dicom(path))
    if not any(name in dataset for name in ("PixelData", *FLOATING)):
        raise _no_pixels(dataset, path)
    count = count_frames(dataset)
    refuse_announced(dataset, count, path)
    if part is not None:
        frame = _frame_named(part, count, path)
        array = _values(decode_frames(dataset, path, frame), dataset, [frame], path, with_colours)
        return Picture(array, _spacing(dataset, [frame]))
    if count == 1:
        return Picture(
            _values(decode_frames(dataset, path, 0), dataset, [0], path, with_colours), _spacing(dataset, [0])
        )
    order, stack = arrange_frames(dataset, str(path))
    array = _values(decode_frames(dataset, path, None), dataset, list(range(count)), path, with_colours)
    if not np.array_equal(order, np.arange(count)):
        array = array[order]
    if stack is None:
        return Picture(array)
    within = _spacing(dataset, list(range(count)))
    geometry = place_slices(stack, within or (1.0, 1.0), array.shape[1:3], str(path))
    return Picture(geometry.to_array(array), within and turn_spacing((stack.distance, *within), geometry))


def _no_pixels(dataset: Any, path: Path) -> DataError:
    if str(dataset.get("SOPClassUID", "")) == CONTOURS:
        return DataError(
            "A DICOM image", "pixels or voxels", f"{path} holds contours (RTSTRUCT)",
            "Convert them to a DICOM segmentation or NIfTI mask, for example with 3D Slicer.",
        )  # fmt: skip
    return DataError(
        "A DICOM image", "pixel data", f"{path} has none", "Leave this file out of the manifest."
    )


def read_dicom_geometry(path: Path, part: str | None) -> Geometry:
    """Where the array that `read_dicom` returns lies.

    Raises:
        DataError: the file does not tell; frames that are no stack of slices.
    """
    dataset = read_dataset(path, stop_before_pixels=True, force=not looks_like_dicom(path))
    count = count_frames(dataset)
    shape = int(dataset.Rows), int(dataset.Columns)
    if part is None and count > 1:
        order, stack = arrange_frames(dataset, str(path))
        within = _spacing(dataset, list(range(count)))
        if stack is None or within is None:
            raise no_place(str(path))
        placed = place_slices(stack, within, shape, str(path))
        return replace(placed, files=(path,), frames=tuple(order.tolist()))
    frame = 0 if part is None else _frame_named(part, count, path)
    return _geometry_of_frame(dataset, frame, shape, path, is_one_of_several=count > 1)


def _geometry_of_frame(
    dataset: Any, frame: int, shape: tuple[int, int], path: Path, *, is_one_of_several: bool
) -> Geometry:
    """A single frame, not turned; as thick as the file says, else 1 mm."""
    position = tell_of_frame(dataset, frame, "PlanePositionSequence", "ImagePositionPatient")
    turn = tell_of_frame(dataset, frame, "PlaneOrientationSequence", "ImageOrientationPatient")
    position = dataset.get("ImagePositionPatient") if position is None else position
    turn = dataset.get("ImageOrientationPatient") if turn is None else turn
    within = _spacing(dataset, [frame])
    if position is None or turn is None or within is None:
        raise no_place(str(path))
    thickness = tell_of_frame(dataset, frame, "PixelMeasuresSequence", "SliceThickness")
    thickness = float(thickness or dataset.get("SliceThickness") or 1)
    step = np.cross(np.asarray(turn[:3], float), np.asarray(turn[3:], float)) * thickness
    affine = affine_of_planes(position, step.tolist(), turn, within)
    placed = place_volume(affine, (1, *shape), "dicom", str(path), is_turned=False)
    return replace(placed, files=(path,), frames=(frame,) if is_one_of_several else None)


def refuse_announced(dataset: Any, count: int, path: Path) -> None:
    """Sizes that the file cannot hold, before frames are counted through and pixels allocated."""
    value = next(dataset[name].value for name in ("PixelData", *FLOATING) if name in dataset)
    stored = len(value) if isinstance(value, bytes) else 0
    bits = int(dataset.get("BitsAllocated", 8) or 8)
    samples = int(dataset.get("SamplesPerPixel", 1) or 1)
    pixels = count * int(dataset.get("Rows", 0) or 0) * int(dataset.get("Columns", 0) or 0) * samples
    if min(count, pixels) < 1:
        raise DataError(
            "A DICOM image", "frames, rows and columns", f"{path} announces {pixels} pixels in {count} frames",
            "It is damaged: replace it with an intact copy or remove its row.",
        )  # fmt: skip
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is not None and syntax.is_encapsulated:  # every frame has an item of at least 8 bytes
        refuse_size(8 * count, path, holds=stored)
    elif dataset.get("PhotometricInterpretation") != HALVED:
        refuse_size(pixels * bits // 8, path, holds=stored)
    refuse_size(pixels * max(8, bits) // 8, path)


def _frame_named(part: str, count: int, path: Path) -> int:
    number = part.removeprefix("frame:")
    if number.isdigit() and int(number) < count and part.startswith("frame:"):
        return int(number)
    raise DataError(
        "A part of a DICOM file", f"frame:N with N from 0 to {count - 1}", f"{path} is asked for {part!r}",
        "Correct what stands behind '#'.",
    )  # fmt: skip


def decode_frames(dataset: Any, path: Path, frame: int | None) -> np.ndarray:
    """Pixels as stored, (H, W) or (H, W, 3), with a first axis for all frames (None); YBR comes back as RGB.

    Raises:
        DataError: a compression without plug-in; damaged pixels.
    """
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:  # files older than the DICOM mark
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    stored = dataset.get("BitsStored", 0)
    low = _bits_below(dataset)
    if low:
        dataset.BitsStored = stored + low  # pydicom takes stored bits from the lowest on
    try:
        array: np.ndarray = pixel_array(dataset, index=frame)
    except (RuntimeError, NotImplementedError, ImportError) as error:
        raise _undecodable(dataset.file_meta.TransferSyntaxUID, path) from error
    if low:
        dataset.BitsStored = stored
        array = np.right_shift(array, low)
    return array


def _bits_below(dataset: Any) -> int:
    """Bits of a pixel below the stored ones, as in files of old; codecs give values, not bits."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated or "BitsStored" not in dataset:
        return 0
    high = int(dataset.get("HighBit", dataset.BitsStored - 1))
    return high + 1 - int(dataset.BitsStored) if dataset.BitsStored <= high < dataset.BitsAllocated else 0


def _undecodable(syntax: Any, path: Path) -> DataError:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import (
        JPEG2000TransferSyntaxes,
        JPEGExtended12Bit,
        JPEGLSTransferSyntaxes,
        JPEGTransferSyntaxes,
    )

    needs, got = (
        "a transfer syntax that can be decoded here",
        f"{path} uses {getattr(syntax, 'name', syntax)}",
    )
    # plug-ins under permissive licences only; none of them decodes JPEG of 12 bits
    packages = {
        "pyjpegls": JPEGLSTransferSyntaxes,
        "python-gdcm": [each for each in JPEGTransferSyntaxes if each != JPEGExtended12Bit],
        "pylibjpeg and pylibjpeg-openjpeg": [*JPEG2000TransferSyntaxes, *_high_throughput()],
    }
    for package, syntaxes in packages.items():
        if syntax in syntaxes:
            do = f"Install {package}, or decompress the file; if that is done, the file is damaged."
            return DataError("A DICOM image", needs, got, do)
    try:
        is_known = bool(get_decoder(syntax).is_available) and syntax != JPEGExtended12Bit
    except NotImplementedError:
        is_known = False
    if is_known:
        got, do = f"the pixels of {path} are damaged", "Replace the file with an intact copy."
    else:
        do = "Decompress the file, for example with DCMTK."
    return DataError("A DICOM image", needs, got, do)


def _high_throughput() -> list[Any]:
    from pydicom import uid

    return [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K]


def _values(array: np.ndarray, dataset: Any, frames: list[int], path: Path, with_colours: bool) -> np.ndarray:
    """Stored numbers to (..., H, W, C) in the unit of the modality, or RGB."""
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if int(dataset.get("SamplesPerPixel", 1) or 1) > 1:
        return array
    if photometric == PALETTE:
        return _coloured(array, dataset, path) if with_colours else array[..., None]
    if dataset.get("ModalityLUTSequence"):
        from pydicom.pixels.processing import apply_modality_lut

        bits = int(dataset.ModalityLUTSequence[0].LUTDescriptor[2])
        array = apply_modality_lut(array, dataset)
        return (_invert(array, bits) if photometric == "MONOCHROME1" else array)[..., None]
    # inverted before it is rescaled: the stored range is the same for every image of a device, its values are not
    if photometric == "MONOCHROME1" and array.dtype.kind in "ui":
        array = _invert(array, int(dataset.get("BitsStored", 8 * array.dtype.itemsize)))
    return _rescale(array, dataset, frames)[..., None]


def _coloured(array: np.ndarray, dataset: Any, path: Path) -> np.ndarray:
    from pydicom.pixels.processing import apply_color_lut

    try:
        coloured: np.ndarray = apply_color_lut(array, dataset)
    except (ValueError, AttributeError, KeyError, IndexError) as error:
        raise DataError(
            "A DICOM image", "the table of its palette colours", f"{path} has palette colour without a whole table",
            "Convert it to RGB.",
        ) from error  # fmt: skip
    return coloured


def _rescale(array: np.ndarray, dataset: Any, frames: list[int]) -> np.ndarray:
    scales = [_scale(dataset, frame) for frame in frames]
    if all(scale == (1.0, 0.0) for scale in scales):
        return array
    kind: type[np.floating[Any]] = (
        np.float64 if array.dtype.itemsize >= 4 else np.float32
    )  # 32-bit numbers do not fit into a float32
    slope, intercept = np.asarray(scales, dtype=kind).T.reshape(2, -1, 1, 1)
    if array.ndim == 2:
        slope, intercept = slope[0], intercept[0]
    rescaled: np.ndarray = (array.astype(kind) * slope + intercept).astype(np.float32, copy=False)
    return rescaled


def _scale(dataset: Any, frame: int) -> tuple[float, float]:
    """(slope, intercept) of a frame: its own, the file's, or the dose's."""
    group = "PixelValueTransformationSequence"
    slope = tell_of_frame(dataset, frame, group, "RescaleSlope")
    intercept = tell_of_frame(dataset, frame, group, "RescaleIntercept")
    if slope is None:
        slope, intercept = (
            dataset.get("RescaleSlope") or dataset.get("DoseGridScaling"),
            dataset.get("RescaleIntercept"),
        )
    return float(slope or 1), float(intercept or 0)


def _invert(array: np.ndarray, bits: int) -> np.ndarray:
    """Brightest becomes darkest, within the range the stored bits span."""
    total = -1 if array.dtype.kind == "i" else 2**bits - 1
    inverted: np.ndarray = (total - array.astype(np.int64)).astype(array.dtype)
    return inverted


def read_spacing(path: Path) -> tuple[float, ...] | None:
    """Millimetres between the rows and between the columns of a file of one frame; its pixels are not read."""
    return _spacing(read_dataset(path, stop_before_pixels=True), [0])


def _spacing(dataset: Any, frames: list[int]) -> tuple[float, ...] | None:
    """Millimetres between rows and between columns; None where the file does not tell, or frames differ."""
    found = {
        tuple(values)
        for frame in frames
        if (values := tell_of_frame(dataset, frame, "PixelMeasuresSequence", "PixelSpacing"))
    }
    if len(found) > 1:
        return None
    own = [dataset.get(name) for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")]
    for values in (*found, *own):
        if values and len(values) == 2 and all(0 < float(each) < math.inf for each in values):
            return float(values[0]), float(values[1])
    return None
