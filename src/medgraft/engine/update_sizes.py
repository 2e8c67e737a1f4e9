"""How far each layer moves in a step: whether an optimiser trains all layers at the same speed."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor
from torch.optim import Optimizer

from medgraft.models.model import Model


class UpdateSizes:
    """Measure the mean absolute change of every weight tensor in a step, averaged over the steps of an epoch.

    Norms and biases are left out: layers are what is compared.

    Args:
        model: whose weights are watched.

    Source: Sheikh et al. 2022, figure 2.
    """

    def __init__(self, model: Model) -> None:
        self.tensors = {name: weight for name, weight in model.named_parameters() if weight.ndim > 1}
        self.group_of = {name: group for group, names in model.layer_groups().items() for name in names}
        self.epochs: list[dict[str, float]] = []
        """Means of the epochs that ended, by tensor; those that were frozen are left out."""
        self._sums: dict[str, Tensor] = {}
        self._steps: dict[str, int] = {}

    def step(self, optimizer: Optimizer) -> None:
        """Let an optimiser step, and note how far that moved what it trains."""
        trained = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        watched = {name: weight for name, weight in self.tensors.items() if id(weight) in trained}
        before = {name: weight.detach().clone() for name, weight in watched.items()}
        optimizer.step()
        for name, weight in watched.items():
            moved = (weight.detach() - before[name]).abs().mean(dtype=torch.float64)
            self._sums[name] = self._sums[name] + moved if name in self._sums else moved
            self._steps[name] = self._steps.get(name, 0) + 1

    def end_epoch(self) -> None:
        """Close an epoch."""
        self.epochs.append({name: (total / self._steps[name]).item() for name, total in self._sums.items()})
        self._sums, self._steps = {}, {}

    def resume(self, epochs: Sequence[dict[str, float]]) -> None:
        """Put back the epochs that were measured before."""
        self.epochs = list(epochs)

    def table(self) -> pd.DataFrame:
        """Columns epoch, group, tensor, update (mean absolute change per step); layers in the order of the model."""
        rows = [
            (epoch, self.group_of[name], name, means[name])
            for epoch, means in enumerate(self.epochs)
            for name in self.tensors
            if name in means
        ]
        return pd.DataFrame(rows, columns=["epoch", "group", "tensor", "update"])
