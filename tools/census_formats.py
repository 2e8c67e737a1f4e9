"""Open every file that other packages ship to test their readers; write docs/formats.md: how many open, why others not.

    pip install pydicom-data==1.0.0
    python tools/census_formats.py

An opened file counts only when its numbers equal those of the package's own reader, put into our order by other code
than ours. Anything but equal numbers or one of our sentences is a fault: it is printed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import pydicom
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from medgraft.data.readers import looks_like_series, read_geometry, read_image
from medgraft.errors import DataError

SOURCES = {
    "pydicom": ("pydicom", "data"),
    "pydicom-data": ("data_store", "data"),
    "nibabel": ("nibabel", "tests/data"),
}
"""Distribution -> the module it installs and the folder of test files within."""
PLUG_INS = {"pyjpegls": "jpeg_ls", "python-gdcm": "gdcm", "pylibjpeg-openjpeg": "openjpeg"}
"""Distribution -> the module it installs."""
BY_NIBABEL = {".nii": "NIfTI", ".gz": "NIfTI", ".mgz": "MGH", ".mgh": "MGH", ".mnc": "MINC"}
"""Endings of files that nibabel reads."""
HEAD = """# What medgraft opens

| format | names | read as |
|---|---|---|
| PNG, JPEG, BMP | `.png .jpg .jpeg .bmp` | (H, W, C), 8 or 16 bits; `#x,y,width,height` for a region |
| TIFF | `.tif .tiff` | (H, W, C), or (D, H, W, C) for several pages |
| DICOM, a file | `.dcm .dicom`, or any name with the DICOM mark | (H, W, C), or (D, H, W, C) for several frames; values in the modality's unit, colour as RGB; `#frame:12` for a frame |
| DICOM, many files | a folder with files of a series, a `.zip` of one, or a file named `DICOMDIR` | (D, H, W, C), ordered and spaced by ImagePositionPatient; `#series:1` where there are several |
| DICOM segmentation | as a mask: a file of binary, fractional or label-map segments | (D, H, W, 1) on the voxels of the image of its row; labels are the segments' numbers |
| NIfTI, MGH, MINC 1 | `.nii .nii.gz .mgh .mgz .mnc` | (D, H, W, 1); `#slice:12` for a slice; where there is a fourth axis, `#channels` if it holds sequences, `#frame:12` for a moment of a cine |
| Analyze, NIfTI in two files | `.hdr#radiological` | (D, H, W, 1) with `.img` beside it: Analyze does not say which side is left, the cell says that rows run from right to left |
| sequences in several files | `brain_{t1,t2}.nii.gz` | (D, H, W, 2): the files of one examination as channels, in this order |
| NumPy | `.npy .npz` | (H, W, C) or (D, H, W, C); `#key:index` for an item, `:volume` at the end where three axes are a volume |

A mask whose file holds other numbers than 0, 1, 2 is named with them, in the order of the classes: `mask.nii.gz#labels:0,10,150`,
`mask.png#labels:0,255`; `#labels:0,1+2` makes one class of two, and behind another part it is `#frame:3&labels:0,2`.

JPEG-LS is decoded by `pyjpegls`, which highdicom brings along. Lossless JPEG needs `python-gdcm`, JPEG 2000 beyond what
Pillow decodes `pylibjpeg` with `pylibjpeg-openjpeg`: all under permissive licences. Without them the file is refused in a
sentence that names them.
JPEG of 12 bits has no decoder under a permissive licence here: decompress it first, for example with DCMTK.

Contours (RTSTRUCT), segments that overlap, MINC 2 and pairs of header and voxel file (`.hdr .img` without `#radiological`,
`.PAR .REC`, `.HEAD .BRIK`) are refused in a sentence that says what to convert them to.

## How volumes lie

A volume has the same axes whatever file it comes from: D runs from the feet to the head, H from the front to the back, W
from the patient's right to the left, as nearly as whole axes allow; nothing is resampled. So an axial slice is what a
radiologist looks at, and an axial DICOM series stays as its files are; sagittal and coronal series and NIfTI are turned.
A single slice or image is not turned: axial ones then equal the slices of a volume. A mask in NIfTI therefore fits
an image in DICOM. `read_geometry(image)` tells where the array lies and turns masks back to the file's own axes.

## Census

Every file and folder that these packages ship to test their own readers, opened by `python tools/census_formats.py`,
which wrote this page ({plug_ins}). An opened file counts only when its numbers equal those of the package's own reader.
"""  # noqa: E501


class Outcome(NamedTuple):
    """What came of one file: opened, refused (with our sentence, its paths left out), or a fault."""

    what: str
    reason: str


def main() -> int:
    """Write the page; 1 where anything is at fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs/formats.md"))
    out = parser.parse_args().out
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    found_plug_ins = [name for name in PLUG_INS if importlib.util.find_spec(PLUG_INS[name])]
    page, faults = (
        [HEAD.replace("{plug_ins}", f"plug-ins installed: {', '.join(found_plug_ins) or 'none'}")],
        0,
    )
    for name, (module, folder) in SOURCES.items():
        try:
            title = f"{name} {version(name)}"
        except PackageNotFoundError:
            print(f"{name} is not installed and left out")
            continue
        spec = importlib.util.find_spec(module)
        assert spec is not None and spec.submodule_search_locations
        root = Path(spec.submodule_search_locations[0]) / folder
        found = take_census(root)
        page += table_of(title, found)
        for outcome, files in found.items():
            if outcome.what == "fault":
                faults += len(files)
                print(*(f"{root / file}: {outcome.reason}" for file in files), sep="\n")
    out.write_text("\n".join(page), encoding="utf-8")
    print(f"{out} is written; {faults} faults")
    return int(faults > 0)


def take_census(root: Path) -> dict[Outcome, list[str]]:
    """Outcome -> files below `root` with this outcome; folders count where DICOM files lie right in them."""
    found: dict[Outcome, list[str]] = defaultdict(list)
    for path in sorted(root.rglob("*")):
        if "__pycache__" in path.parts or path.stat().st_size == 0:
            continue
        if path.is_file() or looks_like_series(path):
            found[try_to_open(path)].append(str(path.relative_to(root)))
    return found


def try_to_open(path: Path) -> Outcome:
    """Open one file and compare its numbers with those of another reader."""
    try:
        picture = read_image(path)
    except DataError as error:
        if "\n" in str(error) or not error.do.endswith("."):
            return Outcome("fault", f"no sentence: {error}")
        return Outcome("refused", shorten(error, path))
    except Exception as error:
        return Outcome("fault", repr(error))
    if path.is_dir() or path.name == "DICOMDIR":
        if not same_as_files(path, picture.array):
            return Outcome("fault", "the numbers differ from those of its files")
        return Outcome("opened", "a series of DICOM files")
    is_same = same_as_nibabel if path.name.endswith(tuple(BY_NIBABEL)) else same_as_pydicom
    if not is_same(path, picture.array):
        return Outcome("fault", "the numbers differ from those of the package's own reader")
    return Outcome("opened", f"{'a volume' if picture.array.ndim == 4 else 'an image'} of {path_kind(path)}")


def path_kind(path: Path) -> str:
    """What the name tells."""
    return BY_NIBABEL.get(path.suffix, "DICOM")


def same_as_files(path: Path, array: np.ndarray) -> bool:
    """Whether each slice of a series holds what its file does alone."""
    if array.ndim == 3:
        return True  # of one file, which is compared itself
    geometry = read_geometry(path)
    slices = geometry.to_stored(array)
    return all(np.array_equal(slice, read_image(file).array) for slice, file in zip(slices, geometry.files))


def same_as_pydicom(path: Path, array: np.ndarray) -> bool:
    """Whether pydicom's own steps give these numbers; frames in any order."""
    dataset = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    expected = dataset.pixel_array
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        expected = apply_color_lut(expected, dataset)
    elif dataset.PhotometricInterpretation == "MONOCHROME1":
        expected = 2**dataset.BitsStored - 1 - expected.astype(np.int64)
    if dataset.get("SamplesPerPixel", 1) == 1:
        if "DoseGridScaling" in dataset:
            expected = expected * float(dataset.DoseGridScaling)
        expected = apply_modality_lut(expected, dataset)
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
        own = dataset.get("PerFrameFunctionalGroupsSequence") or []
        for group in [shared, *own[:1]]:  # scales that differ by frame are left to the tests
            for scale in group.get("PixelValueTransformationSequence", []):
                expected = expected * float(scale.RescaleSlope) + float(scale.RescaleIntercept)
        if dataset.PhotometricInterpretation != "PALETTE COLOR":
            expected = expected[..., None]
    if array.ndim == 4:  # in the axes of the file, its frames in whatever order
        with suppress(DataError):
            array = read_geometry(path).to_stored(array)
    if array.shape != expected.shape:
        return False
    if array.ndim == 4:
        array, expected = (np.sort(each.reshape(len(each), -1), axis=0) for each in (array, expected))
    return bool(np.allclose(array, expected, rtol=1e-5))


def same_as_nibabel(path: Path, array: np.ndarray) -> bool:
    """Whether nibabel's own numbers, turned and flipped in some way, are these."""
    expected = np.squeeze(nibabel.load(path).get_fdata())
    array = np.squeeze(array)
    signs = (slice(None), slice(None, None, -1))
    return any(
        turned.shape == array.shape and bool(np.allclose(turned[flips], array, equal_nan=True))
        for order in permutations(range(expected.ndim))
        for turned in [np.transpose(expected, order)]
        for flips in np.array(np.meshgrid(*[[0, 1]] * expected.ndim)).reshape(expected.ndim, -1).T.tolist()
        for flips in [tuple(signs[flip] for flip in flips)]
    )


def shorten(error: DataError, path: Path) -> str:
    """The sentence without paths and numbers, so that like cases count together."""
    got = error.got.replace(str(path), "it")
    got = re.sub(r" [(]0: .*", "", got)  # lists of series
    got = re.sub(r"\b\d[\d.]*\b", "N", got) if "uses" not in got else got
    return f"needs {re.sub(r' [(].*', '', error.needs)}, but {got[:140]}"


def table_of(title: str, found: dict[Outcome, list[str]]) -> Iterable[str]:
    """Lines of one package's part of the page."""
    counts = {
        what: sum(len(files) for outcome, files in found.items() if outcome.what == what)
        for what in ("opened", "refused", "fault")
    }
    yield f"\n### {title}\n"
    yield f"{counts['opened']} opened, {counts['refused']} refused in one sentence, {counts['fault']} faults.\n"
    yield "| outcome | files | for example |\n|---|---|---|"
    for outcome, files in sorted(found.items(), key=lambda pair: (pair[0].what, -len(pair[1]))):
        reason = outcome.reason.replace("|", "/")
        yield f"| {outcome.what}: {reason} | {len(files)} | `{Path(files[0]).name}` |"
    yield ""


if __name__ == "__main__":
    raise SystemExit(main())
