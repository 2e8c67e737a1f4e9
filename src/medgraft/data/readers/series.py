"""A folder of DICOM files as one volume: slices ordered and spaced by where they lie in the patient."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medgraft.data.readers.dataset import read_dataset
from medgraft.data.readers.dicom import looks_like_dicom, read_dicom, read_dicom_geometry, read_spacing
from medgraft.data.readers.dicomdir import files_of_dicomdir, is_dicomdir
from medgraft.data.readers.geometry import Geometry, no_place, place_slices, turn_spacing
from medgraft.data.readers.stack import Stack, order_slices
from medgraft.errors import DataError
from medgraft.types import Picture

TAGS = [
    "SeriesInstanceUID", "SeriesNumber", "Modality", "NumberOfFrames", "Rows", "Columns",
    "ImagePositionPatient", "ImageOrientationPatient",
]  # fmt: skip
MOST = 100_000
"""Files in a folder beyond which it is no examination, but perhaps the whole disk."""
SEGMENTATION = "SEG"
TOLD = 8
"""Series listed in a message."""


Key = tuple[int, str, str]
"""Series number, series UID, and the file where it holds several frames."""


class Slice(NamedTuple):
    """One file of a series: its place and direction are None where it does not tell."""

    file: Path
    shape: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None


class Series(NamedTuple):
    """Files that belong together, in the order of their names."""

    modality: str
    slices: tuple[Slice, ...]

    def __str__(self) -> str:
        rows, columns = self.slices[0].shape
        count = len(self.slices)
        return f"{self.modality}, {count} file{'s' * (count != 1)} of {rows} x {columns}"


def looks_like_series(folder: Path) -> bool:
    """True if a DICOM file lies in the folder itself."""
    return folder.is_dir() and any(
        entry.is_file() and not entry.name.startswith(".") and _is_dicom(entry) for entry in folder.iterdir()
    )


def read_series(folder: Path, part: str | None) -> Picture:
    """Read the DICOM files in a folder and the folders in it, or those that a DICOMDIR names, as one volume.

    Slices are ordered along their normal by ImagePositionPatient and spaced by it; SpacingBetweenSlices and
    SliceThickness are not asked, since files lie in them. Sagittal and coronal series are turned (see `Geometry`).

    Args:
        part: "series:1" where the folder holds several series, counted from 0 by series number; else None.

    Returns: as `read_dicom` for a series of one file; else (D, H, W, C) and the spacing in millimetres.

    Raises:
        DataError: no series or several; no such series; sizes, directions or pixel spacings differ; slices without a
            place, at the same place, or at uneven distances.
    """
    chosen = _choose(find_series(folder), folder, part)
    where = str(folder) if part is None else f"{folder}#{part}"
    if len(chosen.slices) == 1:
        return read_dicom(chosen.slices[0].file, None)
    stack = _stack(chosen, where)
    first = read_dicom(chosen.slices[stack.order[0]].file, None)
    volume = np.empty((len(stack.order), *first.array.shape), first.array.dtype)
    for position, index in enumerate(stack.order):
        picture = read_dicom(chosen.slices[index].file, None)
        if picture.spacing != first.spacing or picture.array.shape != first.array.shape:
            raise _mixed("one pixel spacing and one number of channels", where)
        if picture.array.dtype != volume.dtype:  # scales that only some slices have
            volume = volume.astype(np.result_type(volume, picture.array), copy=False)
        volume[position] = picture.array
    within = first.spacing
    geometry = place_slices(stack, within or (1.0, 1.0), volume.shape[1:3], where)
    return Picture(geometry.to_array(volume), within and turn_spacing((stack.distance, *within), geometry))


def read_series_geometry(folder: Path, part: str | None) -> Geometry:
    """Where the array that `read_series` returns lies; headers are read, pixels are not.

    Raises:
        DataError: as `read_series`; files that do not tell.
    """
    chosen = _choose(find_series(folder), folder, part)
    where = str(folder) if part is None else f"{folder}#{part}"
    if len(chosen.slices) == 1:
        return read_dicom_geometry(chosen.slices[0].file, None)
    stack = _stack(chosen, where)
    files = tuple(chosen.slices[index].file for index in stack.order)
    within = read_spacing(files[0])
    if within is None:
        raise no_place(where)
    return replace(place_slices(stack, within, chosen.slices[0].shape, where), files=files)


def find_series(folder: Path) -> list[Series]:
    """Every series of images in a folder or DICOMDIR, by series number; a multi-frame file is one of its own.

    Segmentations beside images are left out: they are masks.

    Headers are read, pixels are not.
    """
    found: dict[Key, list[Slice]] = {}
    modality: dict[Key, str] = {}
    for file in dicom_files(folder):
        try:
            header = read_dataset(file, stop_before_pixels=True, specific_tags=TAGS)
            if "Rows" not in header or "Columns" not in header:
                continue  # reports, structures, directories
            key, slice = _place_in_series(file, header)
        except Exception as error:  # whatever a header of nonsense raises
            raise DataError(
                "A DICOM folder", "files that can be read", f"{file} has a header that cannot ({type(error).__name__})",
                "Replace the file with an intact copy or take it out.",
            ) from error  # fmt: skip
        found.setdefault(key, []).append(slice)
        modality[key] = str(header.get("Modality", "") or "unknown modality")
    images = [key for key in sorted(found) if modality[key] != SEGMENTATION]
    return [Series(modality[key], tuple(found[key])) for key in images or sorted(found)]


def _place_in_series(file: Path, header: Any) -> tuple[Key, Slice]:
    frames = int(header.get("NumberOfFrames", 1) or 1)
    number = int(header.get("SeriesNumber", 0) or 0)
    key = (number, str(header.get("SeriesInstanceUID", "")), str(file) if frames > 1 else "")
    return key, Slice(
        file,
        (int(header.Rows), int(header.Columns)),
        _numbers(header.get("ImagePositionPatient"), 3),
        _numbers(header.get("ImageOrientationPatient"), 6),
    )


def dicom_files(place: Path) -> list[Path]:
    """DICOM files in a folder and the folders in it, by name, hidden ones left out; or those a DICOMDIR names.

    Raises:
        DataError: more files than any examination has; files of a DICOMDIR that are not there.
    """
    if is_dicomdir(place):
        return files_of_dicomdir(place)
    return [file for file in sorted(_files_below(place)) if _is_dicom(file)]


def _files_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for place, _, names in os.walk(folder):
        found += [Path(place, name) for name in names if not name.startswith(".")]
        if len(found) > MOST:
            raise DataError(
                "A DICOM folder",
                f"at most {MOST} files",
                f"{folder} holds more",
                "Name the folder of one examination.",
            )
    return [file for file in found if file.is_file()]


def _is_dicom(file: Path) -> bool:
    return file.suffix.lower() in (".dcm", ".dicom") or looks_like_dicom(file)


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    return tuple(float(each) for each in value) if value is not None and len(value) == count else None


def _choose(found: list[Series], folder: Path, part: str | None) -> Series:
    if not found:
        raise DataError(
            "Reading an image", "a file, or a folder of DICOM images",
            f"{folder} is {'a folder without' if folder.is_dir() else 'an index of no'} DICOM images",
            "Name a file in it.",
        )  # fmt: skip
    if part is None and len(found) == 1:
        return found[0]
    told = "; ".join(f"{index}: {series}" for index, series in enumerate(found[:TOLD]))
    told += f"; and {len(found) - TOLD} more" if len(found) > TOLD else ""
    if part is None:
        raise DataError(
            "A DICOM folder", "one series, or to be told which", f"{folder} holds {len(found)} series ({told})",
            "Name one: FOLDER#series:0.",
        )  # fmt: skip
    number = part.removeprefix("series:")
    if not (part.startswith("series:") and number.isdigit() and int(number) < len(found)):
        raise DataError(
            "A part of a DICOM folder", f"series:N with N from 0 to {len(found) - 1}",
            f"{folder} is asked for {part!r} ({told})", "Correct what stands behind '#'.",
        )  # fmt: skip
    return found[int(number)]


def _stack(series: Series, where: str) -> Stack:
    """How the slices lie."""
    slices = series.slices
    positions = [slice.position for slice in slices if slice.position is not None]
    orientations = [slice.orientation for slice in slices if slice.orientation is not None]
    without = len(slices) - min(len(positions), len(orientations))
    if without:
        raise DataError(
            "A DICOM series", "ImagePositionPatient and ImageOrientationPatient in every file",
            f"{where} holds {without} of {len(slices)} files without", "Name single files.",
        )  # fmt: skip
    if len({slice.shape for slice in slices}) > 1:
        raise _mixed("slices of one size", where)
    if not np.allclose(orientations, orientations[0], atol=1e-3):
        raise _mixed("slices in one direction", where)
    return order_slices(positions, orientations[0], "A DICOM series", where)


def _mixed(needs: str, where: str) -> DataError:
    return DataError(
        "A DICOM series", needs, f"{where} holds several", "Take out localisers, or name single files."
    )
