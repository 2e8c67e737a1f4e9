"""Prepared rows of a cohort, kept in memory while they fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.images.preparation import Preparer
from medgraft.types import Batch, Preparation


class Loader:
    """Give any rows of a cohort as network input; each row is read and prepared once while memory lasts.

    Args:
        cohort: the rows; its truth is passed on only where the cohort has it.
        preparation: the model's own, from its spec.
        memory: bytes of prepared images to keep.
    """

    def __init__(self, cohort: Cohort, preparation: Preparation, memory: int = 2**30) -> None:
        self.cohort = cohort
        self.preparer = Preparer(preparation)
        self._room = memory
        self._kept: dict[int, tuple[Tensor, Tensor | None]] = {}

    def __len__(self) -> int:
        return len(self.cohort)

    def __call__(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """Rows by position: images (B, C, *spatial) float32, truth as in `Batch`."""
        positions = [int(row) for row in rows]
        missing = [position for position in dict.fromkeys(positions) if position not in self._kept]
        fresh: dict[int, tuple[Tensor, Tensor | None]] = {}
        if missing:
            batch = self.cohort.load(missing, self.preparer)
            for index, position in enumerate(missing):
                item = batch.images[index], None if batch.truth is None else batch.truth[index]
                fresh[position] = item
                self._keep(position, item)
        items = [
            self._kept[position] if position in self._kept else fresh[position] for position in positions
        ]
        images = torch.stack([image for image, _ in items])
        truths = [truth for _, truth in items if truth is not None]
        return Batch(images, torch.stack(truths) if truths else None, np.asarray(positions))

    def _keep(self, position: int, item: tuple[Tensor, Tensor | None]) -> None:
        size = sum(tensor.nbytes for tensor in item if tensor is not None)
        if size <= self._room:
            self._room -= size
            # clones, so that a kept row does not hold its whole batch in memory
            self._kept[position] = item[0].clone(), None if item[1] is None else item[1].clone()
