"""Multi-frame DICOM: what holds for all frames, what for each, and where the frames lie."""

from __future__ import annotations

from typing import Any

import numpy as np

from medgraft.data.readers.stack import Stack, order_slices
from medgraft.errors import DataError


def count_frames(dataset: Any) -> int:
    """Frames of a file; 1 where it does not say."""
    return int(dataset.get("NumberOfFrames", 1) or 1)


def tell_of_frame(dataset: Any, frame: int, group: str, name: str) -> Any:
    """An attribute of a frame's functional groups, its own before the shared one; None where neither has it.

    Args:
        frame: counted from 0.
        group: the functional group's sequence, such as "PixelMeasuresSequence".
    """
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for holder in (*own[frame : frame + 1], *shared[:1]):
        items = holder.get(group) or []
        if items and items[0].get(name) is not None:
            return items[0].get(name)
    return None


def arrange_frames(dataset: Any, where: str) -> tuple[np.ndarray, Stack | None]:
    """The order of all frames, and how they lie.

    Frames with positions are ordered along their normal. Frames without (time, views) keep their order; their stack
    is None.

    Raises:
        DataError: tiles of a slide; several segments; several directions; frames at one place; gaps.
    """
    count = count_frames(dataset)
    _refuse_other_than_slices(dataset, count, where)
    frames = range(count)
    positions = [
        tell_of_frame(dataset, frame, "PlanePositionSequence", "ImagePositionPatient") for frame in frames
    ]
    turns = [
        tell_of_frame(dataset, frame, "PlaneOrientationSequence", "ImageOrientationPatient")
        for frame in frames
    ]
    if all(position is not None for position in positions) and all(turn is not None for turn in turns):
        if not np.allclose(np.asarray(turns, float), np.asarray(turns[0], float), atol=1e-3):
            raise DataError(
                "A DICOM volume", "frames in one direction", f"{where} has frames in several",
                "Name a single frame: FILE#frame:0.",
            )  # fmt: skip
        stack = order_slices(positions, turns[0], "A DICOM volume", where)
        return stack.order, stack
    offsets = dataset.get("GridFrameOffsetVector")
    if offsets is not None and len(offsets) == count:
        stack = _stack_of_dose(dataset, [float(offset) for offset in offsets], where)
        return stack.order, stack
    return np.arange(count), None


def _stack_of_dose(dataset: Any, offsets: list[float], where: str) -> Stack:
    """Radiotherapy dose: one position, and how far from it each frame lies along the normal."""
    turn = [float(value) for value in dataset.get("ImageOrientationPatient") or (1, 0, 0, 0, 1, 0)]
    first = np.asarray(dataset.get("ImagePositionPatient") or (0, 0, 0), dtype=np.float64)
    normal = np.cross(turn[:3], turn[3:])
    positions = [tuple((first + (offset - offsets[0]) * normal).tolist()) for offset in offsets]
    return order_slices(positions, turn, "A DICOM volume", where)


def _refuse_other_than_slices(dataset: Any, count: int, where: str) -> None:
    if dataset.get("TotalPixelMatrixRows") is not None:
        raise DataError(
            "A DICOM volume", "frames that are slices", f"{where} holds {count} tiles of a slide",
            "Name a single tile: FILE#frame:0.",
        )  # fmt: skip
    segments = len(dataset.get("SegmentSequence") or [])
    if segments > 1:
        raise DataError(
            "A DICOM volume", "frames of one segment", f"{where} holds {segments} segments",
            "Save each segment as a file of its own, or name a single frame: FILE#frame:0.",
        )  # fmt: skip
