"""The DICOM images that a mask was made from: which file and frame each of its slices shows, and where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medgraft.data.readers.dataset import read_dataset
from medgraft.data.readers.dicom import read_dicom_geometry
from medgraft.data.readers.dicomdir import is_dicomdir
from medgraft.data.readers.frames import count_frames, tell_of_frame
from medgraft.data.readers.geometry import Geometry
from medgraft.data.readers.series import find_series, read_series_geometry
from medgraft.data.readers.zipped import unpack
from medgraft.errors import DataError

UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
COPIED = (
    *UIDS, "FrameOfReferenceUID", "PositionReferenceIndicator", "Modality", "Rows", "Columns",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime",
)  # fmt: skip
"""What a segmentation must name but may leave empty; copied from the header only when all else is done."""


class DicomSource(NamedTuple):
    """What lies behind an image read from DICOM.

    headers: of its files, one per slice in the order of the first stored axis, or one of several frames; no pixels.
    geometry: where the image lies; None for a single image that lies nowhere, such as a radiograph.
    where: the file or folder, for messages.
    """

    headers: list[Any]
    geometry: Geometry | None
    where: str


def read_source(path: Path, part: str | None) -> DicomSource:
    """Read the headers of a file, or of a series in a folder, a zip or a DICOMDIR.

    Args:
        part: "frame:3" or "series:1", as in a manifest, or None.

    Raises:
        DataError: as `read_geometry`; but a single image of a single frame need not lie anywhere.
    """
    if path.suffix.lower() == ".zip" and path.is_file():
        with unpack(path) as folder:
            return read_source(folder, part)._replace(where=str(path))
    is_series = path.is_dir() or is_dicomdir(path)
    read_geometry = read_series_geometry if is_series else read_dicom_geometry
    try:
        geometry = read_geometry(path, part)
    except DataError:
        files = _files_of_series(path, part) if is_series else [path]
        headers = [read_dataset(file, stop_before_pixels=True) for file in files]
        if len(headers) != 1 or count_frames(headers[0]) != 1:
            raise
        return DicomSource(headers, None, str(path))
    return DicomSource(
        [read_dataset(file, stop_before_pixels=True) for file in geometry.files], geometry, str(path)
    )


def _files_of_series(folder: Path, part: str | None) -> list[Path]:
    chosen = find_series(folder)[int((part or "series:0").removeprefix("series:"))]
    return [slice.file for slice in chosen.slices]


def images_to_refer_to(source: DicomSource) -> list[Any]:
    """Identifiers, sizes and places of the files behind an image, without anything about the patient.

    Returns: one dataset per slice in the order of the first stored axis, or one of all its frames as stored.

    Raises:
        DataError: files without identifiers; frames without place; several frames of reference.
    """
    images = [_image_of(header, source.where) for header in source.headers]
    if len({image.get("FrameOfReferenceUID") for image in images}) > 1:
        raise _no_reference("one frame of reference", f"{source.where} has slices of several")
    geometry = source.geometry
    if geometry is None:
        images[0].pop("FrameOfReferenceUID", None)  # what lies nowhere lies in no frame of reference
    elif geometry.frames is not None or "SharedFunctionalGroupsSequence" in source.headers[0]:
        _put_frames(images[0], source.headers[0], geometry, source.where)
    else:
        # slices share a direction but for rounding, and highdicom allows none
        groups = _shared_groups(source.headers[0], 0, geometry)
        for image, header in zip(images, source.headers):
            image.ImagePositionPatient = list(header.ImagePositionPatient)
            image.update(groups["PlaneOrientationSequence"][0])
            image.update(groups["PixelMeasuresSequence"][0])
    return images


def position_of_frame(header: Any, frame: int) -> list[float] | None:
    """Where a frame lies, in DICOM's millimetres; None where the file does not tell."""
    position = tell_of_frame(header, frame, "PlanePositionSequence", "ImagePositionPatient")
    return None if position is None else list(position)


def _put_frames(image: Any, header: Any, geometry: Geometry, where: str) -> None:
    positions = [position_of_frame(header, frame) for frame in range(count_frames(header))]
    if None in positions:
        raise _no_reference("frames that tell where they lie", f"{where} has frames without position")
    image.NumberOfFrames = len(positions)
    first = (geometry.frames or (0,))[0]
    image.SharedFunctionalGroupsSequence = [_item(**_shared_groups(header, first, geometry))]
    image.PerFrameFunctionalGroupsSequence = [
        _item(PlanePositionSequence=[_item(ImagePositionPatient=position)]) for position in positions
    ]


def _image_of(header: Any, where: str) -> Any:
    missing = [name for name in UIDS if not header.get(name)]
    if missing:
        raise _no_reference("images that it can refer to", f"{where} has no {', '.join(missing)}")
    image = _item(**{name: header[name].value for name in COPIED if header.get(name)})
    for name in EMPTY:
        setattr(image, name, None)
    return image


def _no_reference(needs: str, got: str) -> DataError:
    return DataError("A DICOM segmentation", needs, got, "Write the masks as 'nifti' or 'png'.")


def _shared_groups(header: Any, frame: int, geometry: Geometry) -> dict[str, list[Any]]:
    """Direction and distances that all slices share; the distance between them is measured, since tags lie."""

    def tell(group: str, name: str) -> Any:
        found = tell_of_frame(header, frame, group, name)
        return header.get(name) if found is None else found

    orientation = list(tell("PlaneOrientationSequence", "ImageOrientationPatient"))
    normal = np.cross(np.asarray(orientation[:3], float), np.asarray(orientation[3:], float)) * [-1, -1, 1]
    distance = abs(float(geometry.stored_affine[:3, 0] @ normal))
    between = np.linalg.norm(geometry.stored_affine[:3, 1:3], axis=0).tolist()
    measures = _item(PixelSpacing=tell("PixelMeasuresSequence", "PixelSpacing") or list(map(_short, between)))
    if len(geometry.frames or geometry.files) > 1:
        measures.SpacingBetweenSlices = _short(distance)
    measures.SliceThickness = tell("PixelMeasuresSequence", "SliceThickness") or _short(distance)
    return {
        "PlaneOrientationSequence": [_item(ImageOrientationPatient=orientation)],
        "PixelMeasuresSequence": [measures],
    }


def _short(number: float) -> str:
    """A decimal string has at most 16 characters."""
    return format(number, ".10g")


def _item(**values: Any) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item
