"""Where along the patient each slice lies, in millimetres."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medgraft.errors import DataError

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort

COLUMN = "position_mm"
"""Attribute of the manifest: one number per slice, in a frame that all scans share."""


def slice_positions(cohort: Cohort) -> np.ndarray | None:
    """What the column `position_mm` says.

    Returns: (N,) float64 in mm, or None where there is no such column.

    Raises:
        DataError: a cell holds no finite number.

    >>> from medgraft.testing import make_cohort
    >>> print(slice_positions(make_cohort("segment")))
    None
    """
    table = cohort.table
    if COLUMN not in table.columns:
        return None
    numbers = pd.to_numeric(table[COLUMN], errors="coerce").to_numpy(float)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        raise DataError(
            f"The column '{COLUMN}' of {cohort.name}", "a number of millimetres in every row",
            f"row {table.index[wrong[0]]} holds '{table[COLUMN].iloc[wrong[0]]}'", "Fill it in, or drop the column.",
        )  # fmt: skip
    return numbers
