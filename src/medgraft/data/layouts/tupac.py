"""TUPAC16, auxiliary mitosis data: cells of breast cancer from three centres, each a patch around its place."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from medgraft.data.layouts.published_files import names_in
from medgraft.data.opened import Opened
from medgraft.errors import DataError

IMAGES = ("", "mitoses*train*image*data*", "mitoses*train*image*data*/mitoses*train*image*data*")
"""Where folders of cases lie: at the top, in the parts of the download, or in these within one folder."""
TRUTHS = ("TUPAC_AL", "TUPAC_alternativeLabels*/TUPAC_AL", "")
"""Where the two folders of truth are looked for; the alternative labels first."""
FOLDERS = {"mitotic figure": "mitoses_ground_truth", "look-alike": "nonmitoses_ground_truth"}
CASE, IMAGE, CELLS = r"\d{2}", r"(?P<stem>\d{2})\.tiff?", r"(?P<stem>\d{2})\.csv"
SIDE = 128
"""Pixels of a patch, as published with these labels."""
FIRST_CASES = {"1": 1, "2": 24, "3": 49}
"""Centre -> its first case; 1 is UMC Utrecht (the cases of AMIDA13)."""
LAST_CASE = 73
CLASSES = ("look-alike", "mitotic figure")
NOTES = {
    "licence": "as agreed with the TUPAC16 challenge, https://tupac.grand-challenge.org",
    "source": "TUPAC16, auxiliary mitosis data (Veta et al. 2019), labels of Bertram et al. 2020",
    "patches": "128 x 128 pixels around each labelled cell; at an edge the patch is moved into the image.",
}


def recognises(path: Path) -> bool:
    """A folder with the truth of TUPAC16, or with the parts of its training images."""
    return path.is_dir() and (_truth_in(path) is not None or any(_has_cases(one) for one in _parts_in(path)))


def owns(file: Path) -> bool:
    """One of the two folders of truth, a case in it, or a part of the images."""
    if not file.is_dir():
        return False
    is_truth = any(one.absolute().name in FOLDERS.values() for one in (file, file.parent))
    return is_truth or (re.fullmatch(r"mitoses.*train.*image.*data.*", file.absolute().name) is not None)


def read(path: Path) -> Opened:
    """A row per labelled cell: mitotic figure or look-alike, centre as the site (1 to 3), case as the patient.

    Patches are regions of the images (`01/01.tif#x,y,128,128` in a manifest), with the cell in the middle, but for
    those within 64 pixels of an edge. An image without labelled cells has no row. No split is published.

    Args:
        path: the folder with the training images as unpacked (01/01.tif and so on, also in folders called
            mitoses_train_image_data_part_1), and TUPAC_AL with mitoses_ground_truth and nonmitoses_ground_truth.

    Raises:
        DataError: images or one of the two folders are missing; cells of an image that is not there, outside it, or
            told to be both; a case that is none of the 73.

    Source: Veta et al. 2019, Predicting breast tumor proliferation from whole-slide images: the TUPAC16 challenge;
    Bertram et al. 2020, Are pathologist-defined labels reproducible?, whose labels are in the original form, rows of
    y,x: the original ones (mitoses_ground_truth alone) tell no cells that are none. The cases of each centre and
    patches of 128 pixels: Raipuria et al. 2022, Stain-AgLr.
    """
    truth = _truth_in(path)
    for folder in FOLDERS.values():
        if truth is None or not (truth / folder).is_dir():
            raise DataError(
                f"The folder {path}", f"the labels of TUPAC16 in {' and '.join(FOLDERS.values())}",
                f"it has no {folder}",
                "Copy TUPAC_AL of the alternative labels (github.com/DeepMicroscopy/TUPAC_alternativeLabels) into it.",
            )  # fmt: skip
    assert truth is not None  # refused above
    images = _images_below(path)
    rows = []
    for case, stem in sorted(_labelled(truth)):
        if (case, stem) not in images:
            raise DataError(
                f"The folder {path}", "the image of every table of cells", f"{case}/{stem}.tif is not there",
                "Unpack all parts of the training images into it, or move the tables of this image away.",
            )  # fmt: skip
        rows += _rows_of(path, truth, images[case, stem], case, stem)
    if not rows:
        raise DataError(
            f"The folder {truth}", "tables such as 01/01.csv with a cell in each row", "it has none",
            "Take it from the download again.",
        )  # fmt: skip
    table = pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1), dtype=object)
    sidecar = {
        "kind": "classify", "classes": list(CLASSES), "name": path.resolve().name, "notes": dict(NOTES)
    }  # fmt: skip
    return Opened(table, path, sidecar)


def _truth_in(path: Path) -> Path | None:
    """The first folder that holds one of truth; one with both is preferred."""
    places = [place for pattern in TRUTHS for place in (sorted(path.glob(pattern)) if pattern else [path])]
    held = {place: sum((place / folder).is_dir() for folder in FOLDERS.values()) for place in places}
    return max((place for place in places if held[place]), key=lambda place: held[place], default=None)


def _parts_in(path: Path) -> Iterator[Path]:
    for pattern in IMAGES[1:]:
        yield from (place for place in sorted(path.glob(pattern)) if place.is_dir())


def _has_cases(folder: Path) -> bool:
    return any(names_in(folder / match[0], IMAGE) for match in names_in(folder, CASE)[:3])


def _images_below(path: Path) -> dict[tuple[str, str], str]:
    """(case, stem) -> path of the image below the folder."""
    found: dict[tuple[str, str], str] = {}
    for part in (path, *_parts_in(path)):
        for case in names_in(part, CASE):
            for match in names_in(part / case[0], IMAGE):
                place = (part / case[0] / match[0]).relative_to(path).as_posix()
                if found.setdefault((case[0], match["stem"]), place) != place:
                    raise DataError(
                        f"The folder {path}", "one copy of each image",
                        f"it has {found[case[0], match['stem']]} and {place}", "Move one away.",
                    )  # fmt: skip
    return found


def _labelled(truth: Path) -> set[tuple[str, str]]:
    """Images with a table in one of the two folders of truth."""
    found = set()
    for folder in FOLDERS.values():
        for case in names_in(truth / folder, r"[^.].*"):
            if not (truth / folder / case[0]).is_dir():
                continue
            if re.fullmatch(CASE, case[0]) is None or not 1 <= int(case[0]) <= LAST_CASE:
                raise DataError(
                    f"The folder {truth / folder}", f"the cases 01 to {LAST_CASE}", f"it has {case[0]}",
                    "Name it as in the download, or move it away.",
                )  # fmt: skip
            found |= {(case[0], match["stem"]) for match in names_in(truth / folder / case[0], CELLS)}
    return found


def _rows_of(path: Path, truth: Path, image: str, case: str, stem: str) -> list[dict[str, str]]:
    width, height = _size(path / image)
    label_of: dict[tuple[int, int], str] = {}
    for label, folder in FOLDERS.items():
        file = truth / folder / case / f"{stem}.csv"
        for number, (y, x) in enumerate(_cells(file, width, height), start=1):
            if label_of.setdefault((y, x), label) != label:
                raise DataError(
                    f"The table {file}", f"cells that {FOLDERS['mitotic figure']} does not have",
                    f"row {number} is in both", "Remove it from one of the two tables.",
                )  # fmt: skip
    center = max((name for name in FIRST_CASES if FIRST_CASES[name] <= int(case)), key=int)
    return [
        {
            "image": f"{image}#{_start(x, width)},{_start(y, height)},{SIDE},{SIDE}",
            "label": label,
            "patient": case,
            "site": center,
            "center": center,
            "field": stem,
            "x": str(x),
            "y": str(y),
        }
        for (y, x), label in label_of.items()
    ]


def _start(middle: int, length: int) -> int:
    """Where a patch around a place begins along an axis, moved into the image.

    >>> _start(100, 2000), _start(10, 2000), _start(1990, 2000)
    (36, 0, 1872)
    """
    return min(max(middle - SIDE // 2, 0), length - SIDE)


def _cells(file: Path, width: int, height: int) -> Iterator[tuple[int, int]]:
    """Row and column of each cell; none where there is no table."""
    if not file.is_file():
        return
    with file.open(encoding="utf-8-sig", newline="") as lines:
        for number, line in enumerate((line for line in csv.reader(lines) if line), start=1):
            try:
                y, x = (int(float(cell)) for cell in line)
            except (ValueError, OverflowError):
                y, x = -1, -1
            if not (0 <= y <= height and 0 <= x <= width):
                raise DataError(
                    f"The table {file}", f"y,x within {height} x {width} pixels in every row",
                    f"row {number} has {','.join(line)!r}", "Take it from the download again, or correct the row.",
                )  # fmt: skip
            yield y, x


def _size(file: Path) -> tuple[int, int]:
    """Width and height, from the header."""
    from tifffile import TiffFile

    try:
        with TiffFile(file) as image:
            page = image.pages.first
            height, width = int(page.imagelength), int(page.imagewidth)
    except Exception as error:  # a damaged header may raise anything
        raise DataError(
            f"The image {file}", "a readable TIFF", f"it cannot be read ({type(error).__name__})",
            "Take it out of the archive again.",
        ) from error  # fmt: skip
    if min(width, height) < SIDE:
        raise DataError(
            f"The image {file}", f"at least {SIDE} x {SIDE} pixels", f"it has {width} x {height}",
            "Take it out of the archive again.",
        )  # fmt: skip
    return width, height
