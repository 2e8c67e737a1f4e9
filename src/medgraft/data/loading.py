"""Rows of a cohort as network input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

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


def load_rows(cohort: Cohort, positions: Sequence[int] | np.ndarray, prepare: Prepare) -> Batch:
    """Read and prepare rows; see `Cohort.load`."""
    import torch

    images, masks = [], []
    with_masks = cohort.kind == "segment" and "truth" in cohort.fields
    for position in map(int, positions):
        picture = cohort.picture(position)
        mask = cohort.mask(position) if with_masks else None
        _refuse_misfit(cohort, position, picture, mask)
        try:
            images.append(prepare.image(picture.array, picture.spacing))
            if mask is not None:
                masks.append(prepare.mask(mask.array[..., 0], picture.spacing))
        except MedgraftError as error:
            error.got += f" ({cohort.where('image', position)})"
            raise
    if len({image.shape for image in images}) > 1:
        raise DataError(
            "A batch", "images of one size", f"{cohort.name} has {sorted({tuple(i.shape[1:]) for i in images})}",
            "Set a size to resize to, for instance --set size=[224,224].",
        )  # fmt: skip
    truth: Tensor | None = None
    if masks:
        truth = torch.stack(masks)
    elif cohort.kind in ("classify", "multilabel") and "truth" in cohort.fields:
        truth = torch.from_numpy(cohort.take(positions).labels)
    return Batch(torch.stack(images), truth, np.asarray(positions))


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
