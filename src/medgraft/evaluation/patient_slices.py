"""One slice of every patient, the same whatever the model, so that two models can be compared by eye."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medgraft.evaluation.examples import thumbnail
from medgraft.evaluation.measured import Example
from medgraft.evaluation.overlays import KeptSlice, keep_slice

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort


class FullestSlice(NamedTuple):
    """The slice of a unit in which the truth has most foreground: its row, pixels of foreground, and masks."""

    row: int
    pixels: int
    masks: KeptSlice


def fullest_slice(
    known: FullestSlice | None, row: int, truth: np.ndarray, predicted: np.ndarray
) -> FullestSlice:
    """The fuller of what is known of a unit and an image or volume of it; of equal ones the first.

    Args:
        known: None for the unit's first row.
        row: of the cohort.
        truth, predicted: (H, W) or (D, H, W) integer labels, 0 the background.

    >>> truth = np.zeros((3, 4, 4), int)
    >>> truth[1, :2] = truth[2, 0] = 1
    >>> fullest_slice(None, 5, truth, truth).masks.place
    1
    """
    pixels = np.count_nonzero(truth, axis=(-2, -1))
    if known is not None and pixels.max() <= known.pixels:
        return known
    place = int(pixels.argmax()) if truth.ndim == 3 else None
    return FullestSlice(row, int(pixels.max()), keep_slice(truth, predicted, place))


def draw_patients(cohort: Cohort, fullest: dict[int, FullestSlice], said: list[str]) -> list[Example]:
    """The slice of every unit with the outlines of truth and prediction.

    Args:
        fullest: by unit. said: scores of each row, in words.

    Returns: pictures and their lines: unit, row, slice, scores.
    """
    drawn = []
    for unit, found in sorted(fullest.items()):
        kept = found.masks
        truth, predicted = kept.masks()
        array = cohort.picture(found.row).array
        line = {
            "unit": unit,
            "row": int(cohort.table.index[found.row]),
            "slice": f"{kept.place + 1} of {kept.slices}" if kept.slices else "",
            "scores": said[found.row],
        }
        drawn.append(Example(line, thumbnail(array[kept.place] if kept.slices else array, truth, predicted)))
    return drawn
