"""How far apart are the pixels of each row, in millimetres?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from medgraft.errors import DataError

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.types import Picture

COLUMN = "spacing_mm"
"""Attribute of the manifest for images whose files do not tell: one number, or one per axis, blanks between."""

Spacing = tuple[float, ...]


def manifest_spacings(cohort: Cohort) -> list[Spacing | None]:
    """What the column `spacing_mm` says of each row; None where it says nothing.

    Raises:
        DataError: a cell holds something else than positive numbers.
    """
    table = cohort.table
    if COLUMN not in table.columns:
        return [None] * len(cohort)
    return [_read(str(cell), cohort, row) for row, cell in enumerate(table[COLUMN])]


def spacing_of(cohort: Cohort, row: int, mask: Picture, stated: Spacing | None) -> Spacing | None:
    """Spacing of a row's mask in the order of its axes: as its file tells, or the image's, or the manifest.

    Args:
        mask: (H, W, 1) or (D, H, W, 1), of this row.
        stated: what the manifest says of the row; one number holds for all axes.

    Returns: two or three positive numbers, mm; None where nobody tells.

    Raises:
        DataError: the manifest states another number of axes.
    """
    told = mask.spacing or cohort.picture(row).spacing
    axes = mask.array.ndim - 1
    if told is None and stated is not None:
        if len(stated) not in (1, axes):
            raise _refused(cohort, row, f"it holds {len(stated)} for {axes} axes")
        told = stated * axes if len(stated) == 1 else stated
    return told


def _read(cell: str, cohort: Cohort, row: int) -> Spacing | None:
    if cell.strip() in ("", "nan", "None"):
        return None
    try:
        numbers = tuple(float(word) for word in cell.split())
    except ValueError:
        numbers = ()
    if not numbers or not all(math.isfinite(number) and number > 0 for number in numbers):
        raise _refused(cohort, row, f"it holds '{cell}'")
    return numbers


def _refused(cohort: Cohort, row: int, got: str) -> DataError:
    return DataError(
        f"The column {COLUMN}", "one positive number of mm, or one per axis, separated by blanks",
        f"{got} ({cohort.where('image', row)})", "Correct the cell, or empty it.",
    )  # fmt: skip
