"""Rows of a cohort as network input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from medgraft.data.readers import hash_reference
from medgraft.errors import DataError, MedgraftError
from medgraft.types import Batch, Picture

if TYPE_CHECKING:
    from torch import Tensor

    from medgraft.data.cohort import Cohort


class Prepare(Protocol):
    """Turns stored arrays into network input, as `medgraft.images.preparation.Preparer` does."""

    def image(self, array: np.ndarray, spacing: Sequence[float] | None = None) -> Tensor:
        """(H, W, C) to (C, h, w) float32."""
        ...

    def mask(self, array: np.ndarray, spacing: Sequence[float] | None = None) -> Tensor:
        """(H, W) to (h, w) int64."""
        ...


class PreparedRow(NamedTuple):
    """One row as network input.

    image: (C, h, w) float32.
    mask: (h, w) int64, where the cohort has masks.
    """

    image: Tensor
    mask: Tensor | None


def load_rows(cohort: Cohort, positions: Sequence[int] | np.ndarray, prepare: Prepare) -> Batch:
    """Read and prepare rows; see `Cohort.load`."""
    return stack_rows(cohort, positions, [load_row(cohort, int(position), prepare) for position in positions])


def load_row(cohort: Cohort, position: int, prepare: Prepare) -> PreparedRow:
    """Read and prepare one row, with its mask where the cohort has masks.

    Raises:
        DataError: as `Cohort.load`.
    """
    picture = cohort.picture(position)
    mask = cohort.mask(position) if has_masks(cohort) else None
    _refuse_misfit(cohort, position, picture, mask)
    try:
        image = prepare.image(picture.array, picture.spacing)
        return PreparedRow(image, None if mask is None else prepare.mask(mask.array[..., 0], picture.spacing))
    except MedgraftError as error:
        error.got += f" ({cohort.where('image', position)})"
        raise


def hash_row(cohort: Cohort, position: int) -> str | None:
    """What a row is read from: hashes of its image and mask files, and which part of them; None if in memory.

    Raises:
        DataError: a file is missing or has changed since it was first read.
    """
    hashes = {}
    for column in ("image", "mask") if has_masks(cohort) else ("image",):
        reference = cohort.reference(column, position)
        if reference is None:
            return None
        hashes[column] = hash_reference(reference)
        cohort.reference(column, position)  # the hash of a file that changed meanwhile is worth nothing
    return json.dumps(hashes)


def has_masks(cohort: Cohort) -> bool:
    """Whether a prepared row holds a mask."""
    return cohort.kind == "segment" and "truth" in cohort.fields


def stack_rows(
    cohort: Cohort, positions: Sequence[int] | np.ndarray, prepared: Sequence[PreparedRow]
) -> Batch:
    """Put prepared rows together, with the labels of the cohort where it has labels.

    Raises:
        DataError: prepared sizes differ.
    """
    import torch

    shapes = {row.image.shape for row in prepared}
    if len(shapes) > 1:
        raise DataError(
            "A batch", "images of one size", f"{cohort.name} has {sorted(tuple(shape[1:]) for shape in shapes)}",
            "Set a size to resize to, for instance --set size=[224,224].",
        )  # fmt: skip
    truth: Tensor | None = None
    if has_masks(cohort):
        truth = torch.stack([row.mask for row in prepared if row.mask is not None])
    elif cohort.kind in ("classify", "multilabel") and "truth" in cohort.fields:
        truth = torch.from_numpy(cohort.take(positions).labels)
    return Batch(torch.stack([row.image for row in prepared]), truth, np.asarray(positions))


def _refuse_misfit(cohort: Cohort, position: int, picture: Picture, mask: Picture | None) -> None:
    if picture.array.ndim != 3:
        raise DataError(
            "A row of a cohort", "one 2-D image",
            f"{cohort.where('image', position)} is a volume of {picture.array.shape[0]} slices",
            "Give each slice a file, or a row of its own (file.nii.gz#slice:12, file.npy#12).",
        )  # fmt: skip
    if mask is not None and mask.array.shape[:-1] != picture.array.shape[:-1]:
        raise DataError(
            "A mask", f"the size of its image, {picture.array.shape[:-1]}",
            f"it has {mask.array.shape[:-1]} ({cohort.where('mask', position)})", "Save both at the same size.",
        )  # fmt: skip
