"""The one feature extractor: a single forward pass per image feeds whoever needs features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.engine.loading import Loader
from medgraft.engine.memory_order import channels_last
from medgraft.engine.predict import batch_rows, placed
from medgraft.engine.progress import progress_bar
from medgraft.models.model import Model, evaluation_mode


def extract_features(
    model: Model,
    cohort: Cohort,
    *,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    shown: bool | None = False,
) -> Tensor:
    """Features of every image of a cohort, in its order, in evaluation mode and without gradient.

    Args:
        model: any; left in the mode and on the device it was found in.
        cohort: N rows, of which only the images are used.

    Returns: (N, D) float32 on the CPU.
    """
    loader = Loader(cohort.only({"images", "patients"}), model.spec.preparation, memory=0)
    groups = batch_rows(model, cohort, batch_size)
    parts: list[Tensor] = []
    bar = progress_bar("extracting features", len(groups), shown)
    with placed(model, device), evaluation_mode(model), torch.no_grad(), bar as advance:
        for batch in loader.batches(groups):
            parts.append(model.features(channels_last(batch.images.to(device))).float().cpu())
            advance(None)
    order = torch.from_numpy(np.argsort(np.concatenate(groups), kind="stable"))
    return torch.cat(parts)[order]
