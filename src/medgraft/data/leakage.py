"""The same patient or the same pixels on both sides of a split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from medgraft.errors import LeakError

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort


class Leak(NamedTuple):
    """Two rows that stand on different sides and share what they must not.

    kind: "patient" or "pixels".
    row, other_row: manifest rows.
    """

    kind: Literal["patient", "pixels"]
    row: int
    other_row: int


def find_leaks(train: Cohort, other: Cohort) -> list[Leak]:
    """Rows of two cohorts that share a patient (or split unit) or exact pixels; one leak per shared thing.

    Where both name split units (blocks of one slide with a guard band between them), these replace the patient.
    """
    if len(train) == 0 or len(other) == 0:
        return []
    rows, other_rows = train.table.index, other.table.index
    leaks: list[Leak] = []
    if "patients" in train.fields and "patients" in other.fields:
        by_unit = "split_unit" in train.table.columns and "split_unit" in other.table.columns
        mine = train.units if by_unit else train.patients
        theirs = other.units if by_unit else other.patients
        leaks += [Leak("patient", int(rows[i]), int(other_rows[j])) for i, j in _shared(mine, theirs)]
    pixels = _shared(train.pixel_hashes(), other.pixel_hashes())
    return leaks + [Leak("pixels", int(rows[i]), int(other_rows[j])) for i, j in pixels]


def refuse_leaks(train: Cohort, other: Cohort, *, allow: bool = False) -> list[str]:
    """Raise on the first kind of leak, or, where they are allowed, return a warning for each kind.

    Raises:
        LeakError: names rows, never patients.
    """
    leaks = find_leaks(train, other)
    warnings = []
    for kind, what in (("patient", "the same patient"), ("pixels", "the same pixels")):
        found = [leak for leak in leaks if leak.kind == kind]
        if not found:
            continue
        first = found[0]
        if not allow:
            raise LeakError(
                "A fair split", f"{what} on one side only",
                f"{len(found)} {'is' if len(found) == 1 else 'are'} on both, the first in row {first.row} of "
                f"{train.name} and row {first.other_row} of {other.name}",
                "Mend the split, or pass --allow-leak (allow_leak=True) and live with scores that are too good.",
            )  # fmt: skip
        warnings.append(
            f"Leaks were allowed: {what} on both sides of the split, {len(found)} times, the first in rows "
            f"{first.row} and {first.other_row}. Scores are too good."
        )
    return warnings


def _shared(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    """First positions, in both, of each value that both hold."""
    where: dict[str, int] = {}
    for position, value in enumerate(second.tolist()):
        where.setdefault(value, position)
    pairs, seen = [], set()
    for position, value in enumerate(first.tolist()):
        if value in where and value not in seen:
            seen.add(value)
            pairs.append((position, where[value]))
    return pairs
