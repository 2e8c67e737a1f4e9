"""Tiny DICOM files for tests, written tag by tag."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

AXIAL = (1, 0, 0, 0, 1, 0)


def write_dicom(path: Path, array: np.ndarray, *, frames: bool = False, **tags: object) -> Path:
    """array: (H, W) or (H, W, 3), with a first axis where `frames` is true."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    one = array[0] if frames else array
    if frames:
        dataset.NumberOfFrames = len(array)
    dataset.Rows, dataset.Columns = one.shape[:2]
    dataset.SamplesPerPixel = 1 if one.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if one.ndim == 2 else "RGB"
    if one.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * array.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(array.dtype.kind == "i")
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = array.tobytes()
    if len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"
    dataset.save_as(path, enforce_file_format=True)
    return path


def item(**tags: Any) -> Dataset:
    """A sequence's item."""
    dataset = Dataset()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def groups(
    positions: Sequence[Sequence[float]] | None = None,
    spacing: Sequence[float] | None = (0.5, 0.25),
    orientation: Sequence[float] = AXIAL,
    scales: Sequence[tuple[float, float]] | None = None,
) -> dict[str, list[Dataset]]:
    """Functional groups of an enhanced file: spacing and orientation shared, positions and scales by frame."""
    shared = item(PlaneOrientationSequence=[item(ImageOrientationPatient=list(orientation))])
    if spacing is not None:
        shared.PixelMeasuresSequence = [item(PixelSpacing=list(spacing), SpacingBetweenSlices=99)]
    own = []
    for frame in range(len(positions or scales or ())):
        one = Dataset()
        if positions is not None:
            one.PlanePositionSequence = [item(ImagePositionPatient=list(positions[frame]))]
        if scales is not None:
            slope, intercept = scales[frame]
            one.PixelValueTransformationSequence = [item(RescaleSlope=slope, RescaleIntercept=intercept)]
        own.append(one)
    return {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": own}
