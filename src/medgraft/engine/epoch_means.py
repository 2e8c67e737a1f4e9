"""Losses of an epoch, averaged over its steps and over processes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from medgraft.errors import RunError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def epoch_means(totals: Mapping[str, Tensor], steps: int, epoch: int, fabric: Fabric) -> dict[str, float]:
    """The mean of each part of the loss.

    Args:
        totals: sums over the steps of this process, scalars, or (2,) where the first is told over the second.
        steps: of the epoch.
        epoch: counted from 0, for the message.
        fabric: of the run.

    Raises:
        RunError: a mean is not finite.

    >>> from lightning_fabric import Fabric
    >>> epoch_means({"loss": torch.tensor(3.0), "accuracy": torch.tensor([1.0, 4.0])}, 2, 0, Fabric())
    {'loss': 1.5, 'accuracy': 0.25}
    """
    means = {name: (total / steps).flatten().tolist() for name, total in totals.items()}
    if fabric.world_size > 1:
        numbers = torch.tensor([number for mean in means.values() for number in mean])
        everywhere = iter(cast(Tensor, fabric.all_reduce(numbers, reduce_op="mean")).tolist())
        means = {name: [next(everywhere) for _ in mean] for name, mean in means.items()}
    bad = [name for name, mean in means.items() if not all(map(math.isfinite, mean))]
    if bad:
        raise RunError(
            "The training", "finite losses", f"'{bad[0]}' became {means[bad[0]][0]} in epoch {epoch}",
            "Lower the learning rate or set schedule.clip_norm=1.0.",
        )  # fmt: skip
    return {name: _ratio(*mean) for name, mean in means.items()}


def _ratio(part: float, whole: float = 1.0) -> float:
    return part / whole if whole else math.nan
