"""Path -> pixels and spacing, whatever the format; every failure is one sentence with the file's name."""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from PIL import UnidentifiedImageError

from medgraft.data.readers import arrays, dicom, nifti, png_jpeg_tiff, zipped
from medgraft.data.readers.dicomdir import is_dicomdir
from medgraft.data.readers.geometry import Geometry, no_place
from medgraft.data.readers.identity import warn_of_identity
from medgraft.data.readers.mask_labels import as_labels, renumber, split_numbering
from medgraft.data.readers.segments import is_segmentation, read_segments
from medgraft.data.readers.series import dicom_files, looks_like_series, read_series, read_series_geometry
from medgraft.data.readers.together import HEADER, expand_name, files_named, put_together
from medgraft.errors import DataError
from medgraft.types import Picture

Reader = Callable[[Path, str | None], Picture]
"""(file, part or None) -> Picture; the part is what stands behind '#' in a manifest's cell."""

Read = TypeVar("Read")

__all__ = [
    "Geometry",
    "Reader",
    "expand_name",
    "files_behind",
    "hash_of_file",
    "hash_reference",
    "known_extensions",
    "looks_like_series",
    "read_geometry",
    "read_image",
    "read_mask",
    "register_reader",
    "size_and_time",
    "split_part",
    "warn_of_header",
]

_READERS: dict[str, Reader] = {
    ".png": png_jpeg_tiff.read_photo,
    ".jpg": png_jpeg_tiff.read_photo,
    ".jpeg": png_jpeg_tiff.read_photo,
    ".bmp": png_jpeg_tiff.read_photo,
    ".tif": png_jpeg_tiff.read_tiff,
    ".tiff": png_jpeg_tiff.read_tiff,
    ".dcm": dicom.read_dicom,
    ".dicom": dicom.read_dicom,
    ".nii": nifti.read_nifti,
    ".nii.gz": nifti.read_nifti,
    ".mgh": nifti.read_nifti,
    ".mgz": nifti.read_nifti,
    ".mnc": nifti.read_nifti,
    ".npy": arrays.read_array,
    ".npz": arrays.read_array,
    ".zip": zipped.read_zip,
}


_MASK_READERS: dict[str, Reader] = {
    ".png": png_jpeg_tiff.read_photo_labels,
    ".bmp": png_jpeg_tiff.read_photo_labels,
    ".tif": png_jpeg_tiff.read_tiff_labels,
    ".tiff": png_jpeg_tiff.read_tiff_labels,
    ".dcm": dicom.read_dicom_labels,
    ".dicom": dicom.read_dicom_labels,
}
"""Where the same bytes mean something else in a mask than in a picture: palettes, single bits."""


_GEOMETRIES: dict[Reader, Callable[[Path, str | None], Geometry]] = {
    dicom.read_dicom: dicom.read_dicom_geometry,
    nifti.read_nifti: nifti.read_nifti_geometry,
    nifti.read_pair: nifti.read_pair_geometry,
    zipped.read_zip: zipped.read_zip_geometry,
}


HALVES = (".hdr", ".img", ".img.gz", ".par", ".rec", ".head", ".brik", ".brik.gz")
"""Of NIfTI, Analyze, Philips and AFNI pairs."""


def register_reader(extension: str, reader: Reader) -> None:
    """Teach medgraft a format.

    Args:
        extension: with its dot, in lower case.
        reader: called with the file and the part behind '#' (None without one).

    Raises:
        DataError: another reader has this extension; both are named.
    """
    owner = _READERS.get(extension)
    if owner is not None and owner is not reader:
        names = " and ".join(f"{one.__module__}.{one.__qualname__}" for one in (owner, reader))
        raise DataError(
            "register_reader", "an extension of its own for every reader", f"{extension} is claimed by {names}",
            "Uninstall one of the two packages.",
        )  # fmt: skip
    _READERS[extension] = reader


def known_extensions() -> tuple[str, ...]:
    """Extensions that some reader takes."""
    return tuple(_READERS)


def split_part(reference: str | Path) -> tuple[Path, str | None]:
    """A manifest's cell is a file, or a file and a part of it; a '#' within a file's own name is left alone.

    >>> split_part("crops.npz#images:17")
    (PosixPath('crops.npz'), 'images:17')
    >>> split_part("slide #3.png")
    (PosixPath('slide #3.png'), None)
    >>> split_part("patient_7#series:1")
    (PosixPath('patient_7'), 'series:1')
    """
    file, _, part = str(reference).rpartition("#")
    if file.lower().endswith((*known_extensions(), HEADER)) or (
        file and re.fullmatch(r"(series|frame):\d+", part)
    ):
        return Path(file), part or None
    return Path(reference), None


def _is_series(path: Path) -> bool:
    """What is read as a series: a folder, or the index of one."""
    return path.is_dir() or is_dicomdir(path)


def read_image(reference: str | Path) -> Picture:
    """Read an image with the numbers its file stores.

    Args:
        reference: a file, or ``slide.png#x,y,width,height`` for a region of it, ``file.npz#key:index`` for one item of
            an array, ``file.nii.gz#slice:12`` for one slice of a volume (counted along its first axis),
            ``file.dcm#frame:12`` for one frame, ``cine.nii.gz#frame:12`` for one of the volumes along a fourth axis;
            ``brain_{t1,t2}.nii.gz`` for several files as channels; ``file.hdr#radiological`` for an Analyze pair whose
            rows run from the right to the left; or a folder, a zip or a DICOMDIR of DICOM files, ``folder#series:1``
            where it holds several series.

    Returns: (H, W, C) or (D, H, W, C) and the spacing in millimetres, where the file tells.

    Raises:
        DataError: missing, of unknown format, unreadable, truncated.
    """
    return _read(reference, _READERS)


def _read(reference: str | Path, readers: Mapping[str, Reader]) -> Picture:
    path, part = split_part(reference)
    if len(files := expand_name(path)) > 1:
        cells = [f"{file}#{part}" if part else file for file in files]
        return put_together([_read(cell, readers) for cell in cells], path)
    reader = read_series if _is_series(path) else _reader_for(path, readers, part)
    return _told(lambda: _checked(reader(path, part), path), path)


def _told(read: Callable[[], Read], path: Path) -> Read:
    """What `read` returns; whatever it raises becomes one of our errors."""
    try:
        return read()
    except DataError:
        raise
    except Exception as error:  # whatever a format library raises, the user gets one sentence
        raise DataError(
            "Reading an image", "a whole, readable file", f"{path} cannot be read ({_brief(error)})",
            "Replace the file with an intact copy or remove its row.",
        ) from error  # fmt: skip


def read_geometry(reference: str | Path) -> Geometry:
    """Where an image lies in the patient, and how its file keeps it: what is needed to write a mask that fits.

    Args:
        reference: as for `read_image`: NIfTI (also ``#slice:12``), DICOM (also ``#frame:12``), a folder or zip; of
            several files the first.

    Returns: the geometry of the array that `read_image` returns; pixels are not read.

    Raises:
        DataError: as `read_image`; a format or a file that does not tell where it lies.
    """
    path, part = split_part(reference)
    path = expand_name(path)[0]
    if _is_series(path):
        read: Callable[[Path, str | None], Geometry] = read_series_geometry
    else:
        reader = _reader_for(path, _READERS, part)
        if reader not in _GEOMETRIES:
            raise no_place(str(path))
        read = _GEOMETRIES[reader]
    return _told(lambda: read(path, part), path)


def warn_of_header(reference: str | Path) -> list[str]:
    """What a readable file's header gives reason to look at: flags of identity (DICOM), affines that differ (NIfTI).

    Returns: sentences without names or values; for a folder those of its files together; empty where all is well.
    """
    path, part = split_part(reference)
    files = expand_name(path)
    if not all(file.exists() for file in files):
        return []  # in memory
    try:
        return list(dict.fromkeys(told for file in files for told in _ask_header(file, part)))
    except Exception as error:  # attributes that reading pixels does not need may be nonsense too
        return [f"The header is damaged ({type(error).__name__}): replace the file with an intact copy."]


def _ask_header(path: Path, part: str | None) -> list[str]:
    if _is_series(path):
        return list(dict.fromkeys(told for file in dicom_files(path) for told in warn_of_identity(file)))
    reader = _reader_for(path, _READERS, part)
    if reader is zipped.read_zip:
        with zipped.unpack(path) as folder:
            return _ask_header(folder, None)
    if reader is dicom.read_dicom:
        return warn_of_identity(path)
    return nifti.warn_of_conflict(path) if reader in (nifti.read_nifti, nifti.read_pair) else []


def read_mask(reference: str | Path, image: str | Path | None = None) -> Picture:
    """Read a mask of whole-numbered labels: (H, W, 1) or (D, H, W, 1).

    The numbers of a palette are the labels, whatever colours they stand for; a one-bit mask holds 0 and 1; those of a
    DICOM segmentation are the numbers of its segments.

    Args:
        reference: as for `read_image`; also a DICOM segmentation, or a folder that holds one and nothing else;
            ``mask.nii.gz#labels:0,10,150`` where the file holds these numbers instead of 0, 1, 2.
        image: the image it belongs to, where a DICOM segmentation is put.

    Raises:
        DataError: as `read_image`; more than one channel; labels that are not whole numbers; segments that overlap or
            lie elsewhere than the image.
    """
    reference, numbering = split_numbering(reference)
    path, part = split_part(reference)
    if part is None and (file := _segmentation_at(path)) is not None:
        mask = _told(lambda: _checked(read_segments(file, _place_of(image)), path), path)
    else:
        mask = as_labels(_read(reference, {**_READERS, **_MASK_READERS}), path)
    return mask if numbering is None else mask._replace(array=renumber(mask.array, numbering, str(path)))


def _segmentation_at(path: Path) -> Path | None:
    """The DICOM segmentation that a path names, itself or as the only file of a folder."""
    try:
        files = dicom_files(path) if _is_series(path) else [path]
        return files[0] if len(files) == 1 and _is_dicom(files[0]) and is_segmentation(files[0]) else None
    except Exception:  # whatever is wrong with the file is told by its reader
        return None


def _is_dicom(path: Path) -> bool:
    return _reader_for(path, _READERS) is dicom.read_dicom


def _place_of(image: str | Path | None) -> Geometry | None:
    """Where an image lies; None where it does not tell."""
    try:
        return None if image is None else read_geometry(image)
    except DataError:
        return None


@lru_cache(maxsize=200_000)
def _hash_of(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, or of the several that its name stands for; remembered while size and time stay.

    Raises:
        DataError: there is no such file; a folder without DICOM files.
    """
    if _is_series(path) and (files := dicom_files(path)):
        digest, root = hashlib.sha256(), path if path.is_dir() else path.parent
        for file in files:
            digest.update(f"{file.relative_to(root).as_posix()} {hash_of_file(file)}\n".encode())
        return digest.hexdigest()
    files = files_named(path)
    if len(files) == 1:
        return _hash_one(path)
    return hashlib.sha256(" ".join(_hash_one(file) for file in files).encode()).hexdigest()


def _hash_one(path: Path) -> str:
    _refuse_no_file(path)
    status = path.stat()
    return _hash_of(str(path), status.st_size, status.st_mtime_ns)


def hash_reference(reference: str | Path) -> str:
    """What decides the pixels of a manifest's cell: the hash of its file, the format, the part behind '#'.

    Raises:
        DataError: there is no such file.
    """
    path, part = split_part(reference)
    return f"{hash_of_file(path)}{path.suffix.lower()}#{part}"


def files_behind(path: Path) -> list[Path]:
    """The files that are read where a cell names this path: of a series, of a name with braces, of a pair."""
    return dicom_files(path) if _is_series(path) else files_named(path)


def size_and_time(path: Path) -> tuple[int, int]:
    """Bytes and last change (nanoseconds) of a file, or of all that its name stands for together."""
    statuses = [file.stat() for file in files_behind(path)]
    return sum(status.st_size for status in statuses), max(
        (status.st_mtime_ns for status in statuses), default=0
    )


def _refuse_no_file(path: Path) -> None:
    if not path.exists():
        got, do = f"{path} does not exist", "Correct the path."
    elif path.is_dir():
        got, do = f"{path} is a folder", "Name a file in it."
    elif path.stat().st_size == 0:
        got, do = f"{path} is empty (0 bytes)", "Replace the file with an intact copy or remove its row."
    else:
        return
    raise DataError("Reading an image", "an existing file", got, do)


def _checked(picture: Picture, path: Path) -> Picture:
    """Real numbers, at least one, in the byte order of this machine (torch takes no other)."""
    array = picture.array
    if array.dtype.kind not in "buif" or array.size == 0:
        raise DataError(
            "Reading an image", "at least one pixel of real numbers",
            f"{path} holds {array.dtype} of shape {array.shape}", "Convert the file or remove its row.",
        )  # fmt: skip
    if not array.dtype.isnative:
        return picture._replace(array=array.astype(array.dtype.newbyteorder("=")))
    return picture


def _reader_for(path: Path, readers: Mapping[str, Reader], part: str | None = None) -> Reader:
    _refuse_no_file(path)
    name = path.name.lower()
    if name.endswith(HEADER) and part == nifti.RADIOLOGICAL:
        return nifti.read_pair
    for extension in sorted(readers, key=len, reverse=True):
        if name.endswith(extension):
            return readers[extension]
    if dicom.looks_like_dicom(path):
        return readers[".dcm"]
    if name.endswith(HALVES):
        raise DataError(
            "Reading an image", "header and voxels in one file", f"{path} is half of a pair",
            "Convert the pair to NIfTI (.nii.gz), or name it FILE.hdr#radiological: Analyze tells no sides.",
        )  # fmt: skip
    raise DataError(
        "Reading an image", f"a known format ({', '.join(readers)})", f"{path} is none of these",
        "Convert it, or install a reader for it.",
    )  # fmt: skip


def _brief(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is no image of this format"
    text = str(error).strip().splitlines()
    if not text:
        return type(error).__name__
    return f"{type(error).__name__}: {textwrap.shorten(text[0], 100, placeholder=' ...')}"
