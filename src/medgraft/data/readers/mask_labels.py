"""What the numbers of a mask are: whole ones, and, where a manifest says so, others than 0, 1, 2 in the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medgraft.errors import DataError
from medgraft.types import Picture

Numbering = tuple[tuple[int, ...], ...]
"""For each class the numbers that stand for it in the file."""
AS_TOLD = re.compile(r"([#&])labels:([^#&]*)$")


def as_labels(picture: Picture, path: Path) -> Picture:
    """A picture as labels: (..., 1) whole numbers.

    Raises:
        DataError: several channels that differ, or fractions.
    """
    array = picture.array
    if array.shape[-1] in (3, 4) and all(np.array_equal(array[..., 0], array[..., c]) for c in (1, 2)):
        array = array[..., :1]  # a grey mask saved as RGB
    if array.shape[-1] != 1:
        raise DataError(
            "A mask", "one channel of labels", f"{path} has {array.shape[-1]}",
            "Save it with one label number per pixel.",
        )  # fmt: skip
    if array.dtype.kind == "f":
        if not np.array_equal(array, np.rint(array)):
            raise DataError(
                "A mask", "whole-numbered labels", f"{path} holds fractions",
                "Save it without interpolation.",
            )  # fmt: skip
        array = array.astype(np.int64)
    elif array.dtype.kind == "b":
        array = array.astype(np.uint8)
    return Picture(array, picture.spacing)


def split_numbering(reference: str | Path) -> tuple[str, Numbering | None]:
    """A mask's cell without its part ``labels:``, and what that part says.

    Raises:
        DataError: something else than numbers, or one number for two classes.

    >>> split_numbering("tumour.nii.gz#labels:0,1,2,4")
    ('tumour.nii.gz', ((0,), (1,), (2,), (4,)))
    >>> split_numbering("zones.nii.gz#slice:12&labels:0,1+2")  # zones 1 and 2 are one class
    ('zones.nii.gz#slice:12', ((0,), (1, 2)))
    >>> split_numbering("mask.png")
    ('mask.png', None)
    """
    found = AS_TOLD.search(str(reference))
    if found is None:
        return str(reference), None
    if not re.fullmatch(r"\d+([,+]\d+)*", found[2]):
        raise _misfit(f"{reference} says {found[2]!r}")
    numbering = tuple(tuple(map(int, one.split("+"))) for one in found[2].split(","))
    every = [number for numbers in numbering for number in numbers]
    if len(set(every)) < len(every):
        raise _misfit(f"{reference} names one twice")
    return str(reference)[: found.start()], numbering


def renumber(labels: np.ndarray, numbering: Sequence[Sequence[int]], path: str) -> np.ndarray:
    """Stored numbers to numbers of classes.

    Args:
        labels: whole numbers of any shape.
        numbering: as `split_numbering` returns it.
        path: the mask, for messages.

    Returns: the same shape, int64 for more than 256 classes, else uint8.

    Raises:
        DataError: a number that no class has.

    >>> renumber(np.array([0, 250, 10]), ((0,), (10,), (150,), (250,)), "label.img").tolist()
    [0, 3, 1]
    """
    class_of = {number: index for index, numbers in enumerate(numbering) for number in numbers}
    stored, places = np.unique(labels, return_inverse=True)
    odd = [str(number) for number in stored.tolist() if number not in class_of]
    if odd:
        raise DataError(
            "A mask", f"the numbers {', '.join(map(str, sorted(class_of)))}, as its cell in the manifest says",
            f"{path} also holds {', '.join(odd[:5])}", "Correct the mask, or what stands behind 'labels:'.",
        )  # fmt: skip
    dtype = np.uint8 if len(numbering) <= 256 else np.int64
    return np.array([class_of[number] for number in stored.tolist()], dtype)[places].reshape(labels.shape)


def _misfit(got: str) -> DataError:
    return DataError(
        "The part labels: of a mask", "every stored number once, in the order of the classes", got,
        "Write for instance mask.nii.gz#labels:0,10,150 or, for two numbers of one class, #labels:0,1+2.",
    )  # fmt: skip
