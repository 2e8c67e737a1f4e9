"""DICOM segmentations as masks: frames of segments put together where their image lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medgraft.data.readers.dataset import read_dataset
from medgraft.data.readers.dicom import decode_frames, looks_like_dicom, refuse_announced
from medgraft.data.readers.frames import count_frames, tell_of_frame
from medgraft.data.readers.geometry import Geometry, affine_of_planes, place_slices
from medgraft.data.readers.stack import SAME_PLACE, Stack, distances_along_normal
from medgraft.errors import DataError
from medgraft.types import Picture

STORAGES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage and Label Map Segmentation Storage."""
OFF_GRID = 0.25
"""Voxels by which a segmentation may miss the voxels of its image: places are written with few decimals."""
WHO = "A DICOM segmentation"


class Plane(NamedTuple):
    """Where a frame lies, as DICOM tells it."""

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]


def is_segmentation(path: Path) -> bool:
    """True for a DICOM file that says it is one."""
    if not (path.suffix.lower() in (".dcm", ".dicom") or looks_like_dicom(path)):
        return False
    header = read_dataset(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    return str(header.get("SOPClassUID", "")) in STORAGES


def read_segments(path: Path, image: Geometry | None = None) -> Picture:
    """Read a segmentation as a mask whose labels are the numbers of its segments.

    Binary, fractional (more than half of a voxel belongs to it) and label maps; frames that were left out are
    background.

    Args:
        path: the file.
        image: where the image of this mask lies: the mask has its shape. Of a single slice, the other frames are left
            out. None puts the frames themselves together, as far as they reach.

    Returns: (D, H, W, 1), or (H, W, 1) for one slice; uint8, or uint16 for numbers above 255.

    Raises:
        DataError: segments that overlap; frames without place where one is needed; a segmentation of another image.

    Source: DICOM PS3.3, C.8.20 (segmentation), C.7.6.16.2.4 (plane position).
    """
    dataset = read_dataset(path)
    if not any(name in dataset for name in ("PixelData", "FloatPixelData")):
        raise DataError(WHO, "pixel data", f"{path} has none", "Leave this file out of the manifest.")
    count = count_frames(dataset)
    refuse_announced(dataset, count, path)
    numbers = [_segment_of(dataset, frame) for frame in range(count)]
    planes = [_plane_of(dataset, frame) for frame in range(count)]
    size = int(dataset.Rows), int(dataset.Columns)
    if all(plane is None for plane in planes):
        return _without_place(dataset, numbers, size, path, image)
    placed = [plane for plane in planes if plane is not None]
    if len(placed) < count:
        raise DataError(WHO, "a place of every frame", f"{path} has frames without", "Export it again.")
    _refuse_other_space(dataset, image, path)
    target = image or _own_geometry(placed, size, path)
    mask = np.zeros(target.shape, dtype=_dtype_of(dataset, numbers))
    outside = 0
    for frame, plane in enumerate(placed):
        outside += _put(_labels_of(dataset, frame, numbers[frame], path), plane, target, mask, path)
    if outside and target.shape[0] > 1:
        raise DataError(
            WHO, "an image that holds all of it", f"{outside} labelled pixels of {path} lie outside",
            "Name the segmentation of this image.",
        )  # fmt: skip
    return _as_picture(mask, target)


def _as_picture(mask: np.ndarray, target: Geometry) -> Picture:
    if target.shape[0] == 1:
        return Picture(mask[0][..., None], target.spacing[1:])
    return Picture(mask[..., None], target.spacing)


def _segment_of(dataset: Any, frame: int) -> int | None:
    """The number of a frame's segment; None in a label map, whose values are the numbers."""
    number = tell_of_frame(dataset, frame, "SegmentIdentificationSequence", "ReferencedSegmentNumber")
    if str(dataset.get("SegmentationType", "")) == "LABELMAP":
        return None
    segments = dataset.get("SegmentSequence") or []
    if number is None and len(segments) == 1:
        number = segments[0].get("SegmentNumber")
    return int(number or 1)


def _plane_of(dataset: Any, frame: int) -> Plane | None:
    position = tell_of_frame(dataset, frame, "PlanePositionSequence", "ImagePositionPatient")
    turn = tell_of_frame(dataset, frame, "PlaneOrientationSequence", "ImageOrientationPatient")
    within = tell_of_frame(dataset, frame, "PixelMeasuresSequence", "PixelSpacing")
    if position is None or turn is None or within is None:
        return None
    one, other, third = (tuple(map(float, values)) for values in (position, turn, within))
    return Plane(one, other, third)


def _dtype_of(dataset: Any, numbers: Sequence[int | None]) -> type[np.unsignedinteger[Any]]:
    highest = max(
        (number for number in numbers if number is not None), default=2 ** int(dataset.BitsAllocated) - 1
    )
    return np.uint8 if highest < 256 else np.uint16


def _labels_of(dataset: Any, frame: int, number: int | None, path: Path) -> np.ndarray:
    """(rows, columns) of segment numbers, 0 where there is none."""
    values = _decode(dataset, frame, path)
    if number is None:
        background = int(dataset.get("PixelPaddingValue", 0) or 0)
        return values if background == 0 else np.where(values == background, 0, values)
    if str(dataset.get("SegmentationType", "")) == "FRACTIONAL":
        whole = int(dataset.get("MaximumFractionalValue", 255) or 255)
        values = 2 * values.astype(np.int64) > whole
    return np.where(values, number, 0)


def _decode(dataset: Any, frame: int, path: Path) -> np.ndarray:
    """One frame; bits are unpacked here, because pydicom finds frames only where they begin with a byte."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if int(dataset.BitsAllocated) != 1 or (syntax is not None and syntax.is_encapsulated):
        return decode_frames(dataset, path, frame)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    first, size = frame * rows * columns, rows * columns
    packed = np.frombuffer(dataset.PixelData, dtype=np.uint8)[first // 8 : -(-(first + size) // 8)]
    bits = np.unpackbits(packed, bitorder="little")[first % 8 :]
    return bits[:size].reshape(rows, columns)


def _put(labels: np.ndarray, plane: Plane, target: Geometry, mask: np.ndarray, path: Path) -> int:
    """Write a frame into the mask; how many of its labelled pixels lie outside."""
    rows, columns = np.nonzero(labels)
    if len(rows) == 0:
        return 0
    step = np.cross(plane.orientation[:3], plane.orientation[3:]).tolist()
    own = affine_of_planes(plane.position, step, plane.orientation, plane.spacing)
    to_index = np.linalg.inv(target.affine) @ own
    exact = to_index[:3, [3, 1, 2]]  # first pixel, step to the next row, step to the next column
    whole = np.rint(exact)
    corners = np.array(
        [(1, row, column) for row in (0, labels.shape[0] - 1) for column in (0, labels.shape[1] - 1)]
    )
    missed = np.abs((exact - whole) @ corners.T).max(axis=1)
    if (
        np.abs(whole[:, 1:]).sum() != 2
        or (np.abs(whole[:, 1:]).sum(axis=0) != 1).any()
        or missed.max() > OFF_GRID
    ):
        # a frame between two slices of the image, or pixels of another size
        if target.shape[0] == 1 and np.abs(exact[0, 0]) > OFF_GRID and (missed[1:] <= OFF_GRID).all():
            return len(rows)  # of a single slice, frames elsewhere are left out
        raise DataError(
            WHO, "the voxels of its image", f"the frames of {path} lie between them or are of another size",
            "Name the segmentation of this image, or resample it.",
        )  # fmt: skip
    first, down, across = whole.astype(np.int64).T
    places = first[:, None] + down[:, None] * rows + across[:, None] * columns
    inside = ((places >= 0) & (places < np.array(target.shape)[:, None])).all(axis=0)
    at, values = tuple(places[:, inside]), labels[rows, columns][inside]
    there = mask[at]
    clash = (there != 0) & (there != values)
    if clash.any():
        pair = sorted({int(there[clash][0]), int(values[clash][0])})
        raise DataError(
            WHO, "one segment for every voxel", f"in {path} segments {pair[0]} and {pair[1]} overlap",
            "Save one segment per file, or decide which covers which.",
        )  # fmt: skip
    mask[at] = values
    return int((~inside).sum())


def _own_geometry(planes: Sequence[Plane], size: tuple[int, int], path: Path) -> Geometry:
    """The volume that the frames reach over; places without a frame are empty."""
    first = planes[0]
    if not all(
        np.allclose(plane.orientation, first.orientation, atol=1e-3)
        and np.allclose(plane.spacing, first.spacing, rtol=1e-3)
        for plane in planes
    ):
        raise _uneven(path)
    along = distances_along_normal([plane.position for plane in planes], first.orientation)
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order])
    steps = steps[steps > SAME_PLACE]
    distance = float(steps.min()) if len(steps) else 1.0
    count = int(np.rint((along.max() - along.min()) / distance)) + 1
    if len(steps) and np.abs(steps / distance - np.rint(steps / distance)).max() > OFF_GRID:
        raise _uneven(path)
    start, end = (np.asarray(planes[order[at]].position) for at in (0, -1))
    step = (
        (end - start) / (count - 1) if count > 1 else np.cross(first.orientation[:3], first.orientation[3:])
    )
    stack = Stack(np.arange(count), distance, tuple(start.tolist()), tuple(step.tolist()), first.orientation)
    return place_slices(stack, first.spacing, size, str(path), is_turned=count > 1)


def _uneven(path: Path) -> DataError:
    return DataError(
        WHO, "frames in one direction at even distances", f"those of {path} are not",
        "Name it as the mask of its image, which tells where voxels lie.",
    )  # fmt: skip


def _without_place(
    dataset: Any, numbers: Sequence[int | None], size: tuple[int, int], path: Path, image: Geometry | None
) -> Picture:
    """Of a single image, whose pixels are the segmentation's."""
    if len(set(numbers)) < len(numbers) or (image is not None and image.shape != (1, *size)):
        raise DataError(
            WHO, "frames that tell where they lie", f"{path} has {len(numbers)} without a place",
            "Export it with the place of every frame.",
        )  # fmt: skip
    mask = np.zeros((1, *size), dtype=_dtype_of(dataset, numbers))
    still = Plane((0, 0, 0), (1, 0, 0, 0, 1, 0), (1, 1))
    stack = Stack(np.arange(1), 1.0, still.position, (0, 0, 1), still.orientation)
    target = place_slices(stack, still.spacing, size, str(path), is_turned=False)
    for frame, number in enumerate(numbers):
        _put(_labels_of(dataset, frame, number, path), still, target, mask, path)
    return Picture(mask[0][..., None])


def _refuse_other_space(dataset: Any, image: Geometry | None, path: Path) -> None:
    """Millimetres of two frames of reference are not the same places."""
    if image is None or image.format != "dicom":
        return
    header = read_dataset(image.files[0], stop_before_pixels=True, specific_tags=["FrameOfReferenceUID"])
    spaces = {str(each.get("FrameOfReferenceUID", "") or "") for each in (dataset, header)} - {""}
    if len(spaces) > 1:
        raise DataError(
            WHO, "the frame of reference of its image", f"{path} has another",
            "Name the segmentation of this image.",
        )  # fmt: skip
