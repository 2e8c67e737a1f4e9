"""Problems that a row's files show, and what is kept of them for the checks of all rows together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from medgraft.data.boxes import parse_boxes
from medgraft.data.checks.problem import Checked, Problem
from medgraft.data.near_duplicates import smallest_side
from medgraft.data.pixels import hash_pixels
from medgraft.data.readers import read_geometry, warn_of_header
from medgraft.data.signatures import sign
from medgraft.errors import DataError
from medgraft.types import Picture

THREADS = 2
"""Images read at a time: files on a network disk arrive while others are looked at, and few are in memory."""
SAME_SPACING = 0.01
"""Share by which the voxels of a mask may differ from those of its image."""
AXES = ("LR", "PA", "IS")
"""Names of the two directions of each axis of the patient, against it and along it, x to the right."""
PLANES = ("sagittal", "coronal", "axial")
"""By the axis of the patient that stands on the plane."""


class Look(NamedTuple):
    """What is kept of a row once its files were read; everything but problems is None for an unreadable image.

    problems: of this row alone.
    headers: sentences about its header.
    shape, spacing: of the image, as `Picture`.
    orientation: of a single slice, such as "axial LP" (rows run to the left, columns to the back); None if not told.
    pixels: hash of the values.
    signature, side: as `medgraft.data.near_duplicates.Collector.add_signature` takes them.
    labels: those that the mask shows.
    """

    problems: list[Problem]
    headers: list[str] = []  # noqa: RUF012
    shape: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    orientation: str | None = None
    pixels: bytes | None = None
    signature: np.ndarray | None = None
    side: int = 0
    labels: tuple[int, ...] = ()


def look_at_all(checked: Checked) -> Iterator[Look]:
    """Read every row's files, in order; as many images as there are threads are in memory."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="check") as pool:
        waiting: deque[Future[Look]] = deque()
        try:
            for position in range(len(checked.rows)):
                waiting.append(pool.submit(look_at, checked, position))
                if len(waiting) > THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def look_at(checked: Checked, position: int) -> Look:
    """Read one row's image and mask."""
    cohort, problems = checked.cohort, list[Problem]()
    look = Look(problems)
    picture: Picture | None = None
    if checked.files[position] != "":  # told with the table
        try:
            picture = cohort.picture(position)
        except DataError as error:
            problems.append(checked.of_row(position, str(error)))
    if picture is not None:
        problems += _check_pixels(checked, position, picture.array)
        look = _describe(checked, position, picture, problems)
    if cohort.kind == "segment" and checked.has_truth:
        labels, found = _check_mask(checked, position, picture)
        look = look._replace(labels=labels)
        problems += found
    if cohort.kind == "detect" and checked.has_truth and picture is not None:
        problems += _check_boxes_inside(checked, position, picture.array.shape)
    return look


def _describe(checked: Checked, position: int, picture: Picture, problems: list[Problem]) -> Look:
    array = picture.array
    file = checked.cohort.root / checked.files[position]
    return Look(
        problems,
        headers=warn_of_header(file),
        shape=array.shape,
        spacing=picture.spacing,
        orientation=_orientation(str(file)) if array.ndim == 3 and picture.spacing else None,
        pixels=bytes.fromhex(hash_pixels(array)),
        signature=sign(array),
        side=smallest_side(array),
    )


def _orientation(file: str) -> str | None:
    """Volumes are turned when they are read, single slices are not."""
    try:
        affine = read_geometry(file).affine
    except DataError:
        return None  # a format that does not tell
    directions = affine[:3, :3]
    letters = [
        AXES[axis][int(directions[axis, column] > 0)]
        for column in (2, 1)
        for axis in [_main(directions[:, column])]
    ]
    return f"{PLANES[_main(directions[:, 0])]} {''.join(letters)}"


def _main(direction: np.ndarray) -> int:
    return int(np.abs(direction).argmax())


def _check_pixels(checked: Checked, position: int, array: np.ndarray) -> Iterator[Problem]:
    if array.ndim != 3 and checked.cohort.kind not in ("segment", "encode"):
        told = f"The image is a volume of {len(array)} slices: give each slice a row of its own."
        yield checked.of_row(position, told)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        yield checked.of_row(position, f"The image holds {bad} NaN or infinite values: repair or remove it.")
    elif array.min() == array.max():
        yield checked.of_row(position, "The image is constant: remove it.", "warning")


def _check_mask(
    checked: Checked, position: int, image: Picture | None
) -> tuple[tuple[int, ...], list[Problem]]:
    """The labels of a mask that classes exist for, and what is wrong; image is None where it cannot be read."""
    problems: list[Problem] = []
    cohort = checked.cohort
    if checked.table["mask"].iloc[position] == "":
        return (), problems  # told with the table
    try:
        mask = cohort.mask(position)
    except DataError as error:
        return (), [checked.of_row(position, str(error), column="mask")]

    def add(message: str) -> None:
        problems.append(checked.of_row(position, message, column="mask"))

    if image is not None and mask.array.shape[:-1] != image.array.shape[:-1]:
        what = f"The mask is {mask.array.shape[:-1]} and its image {image.array.shape[:-1]}"
        add(f"{what}: save them at the same size.")
    elif image is not None and _differ(mask.spacing, image.spacing):
        what = (
            f"The mask has voxels of {as_spacing(mask.spacing)} and its image of {as_spacing(image.spacing)}"
        )
        add(f"{what}: save the mask with the header of its image.")
    labels = np.unique(mask.array).tolist()
    wrong = [str(label) for label in labels if not 0 <= label < len(cohort.classes)]
    if wrong:
        what = f"The mask holds {', '.join(wrong[:5])}, but the classes ({', '.join(cohort.classes)})"
        do = "relabel it (white of a black-and-white mask: 1) or name more classes"
        add(f"{what} allow 0 to {len(cohort.classes) - 1}: {do}.")
    return tuple(int(label) for label in labels if 0 <= label < len(cohort.classes)), problems


def _differ(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    return one is not None and other is not None and not np.allclose(one, other, rtol=SAME_SPACING)


def _check_boxes_inside(checked: Checked, position: int, shape: tuple[int, ...]) -> Iterator[Problem]:
    try:
        boxes = parse_boxes(str(checked.table["boxes"].iloc[position]))
    except DataError:
        return  # told with the table
    height, width = shape[-3], shape[-2]
    if any(box.left < 0 or box.top < 0 or box.right > width or box.bottom > height for box in boxes):
        told = f"A box lies outside the image of {height} x {width} pixels: correct it."
        yield checked.of_row(position, told)


def as_spacing(spacing: tuple[float, ...] | None) -> str:
    """Words for millimetres along each axis.

    >>> as_spacing((3.0, 0.9765625, 0.9765625))
    '3 x 0.977 x 0.977 mm'
    """
    return f"{' x '.join(f'{length:.3g}' for length in spacing)} mm" if spacing else "unknown size"
