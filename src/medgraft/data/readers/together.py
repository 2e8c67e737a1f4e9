"""Names that stand for several files: sequences of one examination read as channels, header and voxels of a pair."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medgraft.errors import DataError
from medgraft.types import Picture

HEADER, VOXELS = ".hdr", ".img"
SEVERAL = re.compile(r"\{([^{}]*,[^{}]*)\}")
SAME_SPACING = 0.01
"""Share by which the voxels of sequences may differ."""


def expand_name(path: Path) -> list[Path]:
    """The files of a name with alternatives in braces, in their order; a name without, or a file so called, is itself.

    >>> [file.name for file in expand_name(Path("brain_{t1,t2}.nii.gz"))]
    ['brain_t1.nii.gz', 'brain_t2.nii.gz']
    >>> [file.name for file in expand_name(Path("brain_t1.nii.gz"))]
    ['brain_t1.nii.gz']
    """
    found = SEVERAL.search(path.name)
    if found is None or path.exists():
        return [path]
    before, after = path.name[: found.start()], path.name[found.end() :]
    return [path.with_name(f"{before}{one.strip()}{after}") for one in found[1].split(",")]


def files_named(path: Path) -> list[Path]:
    """All files whose bytes decide what is read: those in braces, and the voxels beside a header.

    >>> [file.name for file in files_named(Path("subject-1-{T1,T2}.hdr"))]
    ['subject-1-T1.hdr', 'subject-1-T1.img', 'subject-1-T2.hdr', 'subject-1-T2.img']
    """
    halves = [[file, voxels_of(file)] if is_header(file) else [file] for file in expand_name(path)]
    return [file for half in halves for file in half]


def is_header(path: Path) -> bool:
    """Whether a name is that of a header whose voxels lie in another file."""
    return path.suffix.lower() == HEADER


def voxels_of(header: Path) -> Path:
    """The other half of a pair."""
    return header.with_suffix(VOXELS)


def put_together(pictures: Sequence[Picture], path: Path) -> Picture:
    """Sequences of one examination as channels of one image.

    Args:
        pictures: (..., C) each, of one size and spacing.
        path: the name with braces, for messages.

    Returns: (..., sum of C) in the smallest type that holds all, and the spacing of the first.

    Raises:
        DataError: sizes or spacings differ.
    """
    first = pictures[0]
    for picture, file in zip(pictures, expand_name(path)):
        if picture.array.shape[:-1] != first.array.shape[:-1]:
            got = f"{file} is {picture.array.shape[:-1]} and the first {first.array.shape[:-1]}"
        elif not _agree(picture.spacing, first.spacing):
            got = f"{file} has voxels of {_in_words(picture)} and the first of {_in_words(first)}"
        else:
            continue
        do = "Resample them alike, or name one alone."
        raise DataError("An image of several files", "one size and one spacing", got, do)
    return Picture(np.concatenate([picture.array for picture in pictures], axis=-1), first.spacing)


def _agree(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    return one is None or other is None or bool(np.allclose(one, other, rtol=SAME_SPACING, atol=0))


def _in_words(picture: Picture) -> str:
    return f"{' x '.join(f'{length:.3g}' for length in picture.spacing or ())} mm"
