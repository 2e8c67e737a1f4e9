"""The same patient or the same image on both sides: of a split, or of pre-training and what follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from medgraft.data.cohort import Cohort
from medgraft.errors import LeakError

if TYPE_CHECKING:
    import pandas as pd

    from medgraft.data.near_duplicates import NearDuplicate


class Leak(NamedTuple):
    """Two rows that stand on different sides and share what they must not.

    kind: "patient", "pixels", or "copy": an image that is not the same numbers but, to all appearance, the same image.
    row, other_row: manifest rows.
    reason: how a copy differs, such as "mirrored left to right"; empty for the other kinds.
    """

    kind: Literal["patient", "pixels", "copy"]
    row: int
    other_row: int
    reason: str = ""


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


def find_overlap(
    cohort: Cohort, pretraining: Cohort, *, advance: Callable[[], None] = lambda: None
) -> list[Leak]:
    """Rows of a cohort that a model has already seen in its pre-training: by patient, exact pixels, or as a copy.

    Args:
        cohort: the data at hand.
        pretraining: what the source model was trained on. Patients are compared by name where both tell them: names
            such as "1" may stand for two people.
        advance: called once per image of either, for a progress bar.

    Returns: every row of the cohort that overlaps, once per kind, with the row of the pre-training data; patients
        first, then pixels, then copies that are not the same pixels.

    Raises:
        DataError: an image of either cannot be read; `check` lists these.

    >>> images = np.random.default_rng(0).random((3, 8, 8, 1))
    >>> before = Cohort.from_arrays(images[:2], kind="encode", patients=["ann", "ben"])
    >>> now = Cohort.from_arrays(images[1:], kind="encode", patients=["eve", "ann"])
    >>> [tuple(leak[:3]) for leak in find_overlap(now, before)]
    [('patient', 2, 1), ('pixels', 1, 2)]
    """
    from medgraft.data.near_duplicates import find_near_duplicates  # which reads cohorts

    leaks = find_seen_patients(cohort, pretraining)
    rows, other_rows = cohort.table.index, pretraining.table.index
    pixels = _each("pixels", cohort.pixel_hashes(), pretraining.pixel_hashes(), rows, other_rows)
    told = {leak.row for leak in pixels}
    best: dict[int, NearDuplicate] = {}
    for pair in find_near_duplicates(cohort, pretraining, advance=advance):
        if pair.row not in told and (pair.row not in best or pair.similarity > best[pair.row].similarity):
            best[pair.row] = pair
    return leaks + pixels + [Leak("copy", pair.row, pair.other_row, pair.reason) for pair in best.values()]


def find_seen_patients(cohort: Cohort, pretraining: Cohort) -> list[Leak]:
    """The patients of `find_overlap` alone, for which no image is read; none where either does not tell them."""
    if "patients" not in cohort.fields or "patients" not in pretraining.fields:
        return []
    rows, other_rows = cohort.table.index, pretraining.table.index
    return _each("patient", cohort.patients, pretraining.patients, rows, other_rows)


def _each(
    kind: Literal["patient", "pixels"],
    mine: np.ndarray,
    theirs: np.ndarray,
    rows: pd.Index,
    other_rows: pd.Index,
) -> list[Leak]:
    where: dict[str, int] = {}
    for position, value in enumerate(theirs.tolist()):
        where.setdefault(value, position)
    return [
        Leak(kind, int(rows[position]), int(other_rows[where[value]]))
        for position, value in enumerate(mine.tolist())
        if value != "" and value in where
    ]


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
