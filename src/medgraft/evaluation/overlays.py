"""Pictures of images with the outlines of truth and prediction, and of a volume's worst slice."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medgraft.evaluation.examples import choose_examples, thumbnail
from medgraft.evaluation.measured import Example

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.types import JSON


class KeptSlice(NamedTuple):
    """Truth and prediction of one slice, compressed: predicting a volume again for a picture would take long.

    place, slices: which slice of how many; 0 of 0 for an image that is none of a volume.
    """

    packed: bytes
    shape: tuple[int, int]
    place: int
    slices: int

    def masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Truth and prediction, (H, W) each."""
        both = np.frombuffer(zlib.decompress(self.packed), np.uint16).reshape(2, *self.shape)
        return both[0], both[1]


def keep_worst_slice(truth: np.ndarray, predicted: np.ndarray) -> KeptSlice:
    """Keep an image's masks, or those of the slice of a volume in which most voxels are wrong.

    Args:
        truth: (H, W) or (D, H, W) integer labels.
        predicted: same shape.

    >>> truth, predicted = np.zeros((3, 4, 4), int), np.zeros((3, 4, 4), int)
    >>> predicted[1, 2] = 1
    >>> kept = keep_worst_slice(truth, predicted)
    >>> kept.place, kept.slices, int(kept.masks()[1].sum())
    (1, 3, 4)
    """
    wrong = np.count_nonzero(truth != predicted, axis=(-2, -1))
    return keep_slice(truth, predicted, int(np.argmax(wrong)) if truth.ndim == 3 else None)


def keep_slice(truth: np.ndarray, predicted: np.ndarray, place: int | None) -> KeptSlice:
    """Keep the masks of one slice of a volume, or of an image, whose place is None."""
    slices = 0 if place is None else len(truth)
    if place is not None:
        truth, predicted = truth[place], predicted[place]
    both = np.stack([truth, predicted]).astype(np.uint16)
    return KeptSlice(zlib.compress(both.tobytes(), 1), (truth.shape[0], truth.shape[1]), place or 0, slices)


def draw_examples(
    cohort: Cohort, kept: dict[int, KeptSlice], overlap: np.ndarray, said: list[str], count: int
) -> list[Example]:
    """The images with the lowest Dice and some others, outlines drawn on.

    Args:
        kept: of each row.
        overlap: (N,) Dice of each row, mean over the foreground.
        said: scores of each row, in words.
        count: how many at most.
    """
    wrongness = np.median(overlap) - overlap
    shown = []
    for row in choose_examples(wrongness, count):
        of_row = kept[row]
        truth, predicted = of_row.masks()
        array = cohort.picture(row).array
        line: JSON = {
            "row": int(cohort.table.index[row]),
            "slice": f"{of_row.place + 1} of {of_row.slices}" if of_row.slices else "",
            "truth": "green outline",
            "predicted": "magenta outline",
            "scores": said[row],
            "confidence": float(overlap[row]),
            "worst": bool(wrongness[row] > 0),
        }
        shown.append(
            Example(line, thumbnail(array[of_row.place] if of_row.slices else array, truth, predicted))
        )
    return shown
