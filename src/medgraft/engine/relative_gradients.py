"""Learning rates that follow how large each tensor's gradient is beside the tensor itself (auto-RGN)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from medgraft.engine.checkpoint import Saved
from medgraft.engine.optimizers import ParamGroup
from medgraft.errors import RunError, SettingsError
from medgraft.models.model import Model

BATCHES = 5
"""How many batches an epoch's gradients are measured on."""


class RelativeGradientRates:
    """Give every tensor of a model a learning rate in proportion to its relative gradient norm, anew each epoch.

    Batch norm's weights get none, so they stay. A new head learned nothing that its gradient could be compared with:
    its tensors are not measured and keep their block's learning rate.

    Args:
        model: whose tensors are trained.
        lr_factors: learning-rate factor per trained block, see `Model.blocks`; multiplies that of its tensors.
        unmeasured: names of tensors that keep their block's factor.

    Raises:
        SettingsError: no tensor is left to measure.

    Source: Lee et al. 2023 (surgical fine-tuning), auto-RGN. Differs: the optimiser's history is kept from epoch to
        epoch; batch norm is known by its statistics, not by its name; a new head, which they do not have.
    """

    def __init__(
        self, model: Model, lr_factors: Mapping[str, float], unmeasured: Collection[str] = ()
    ) -> None:
        parameters = dict(model.named_parameters())
        batch_norm = _batch_norm_tensors(model)
        blocks = model.blocks()
        self.block_of = {
            name: block for block in lr_factors for name in blocks[block] if name not in batch_norm
        }
        self.lr_factors = dict(lr_factors)
        self.parameters = {name: parameters[name] for name in self.block_of}
        self.measured = [name for name in self.block_of if name not in unmeasured]
        if not self.measured:
            raise SettingsError(
                "auto_rgn", "trained tensors besides a new head and batch norm", "the scope leaves none",
                "Choose a wider scope, or leave layer_rates out.",
            )  # fmt: skip
        self._norms: list[Tensor] = []  # one (measured tensors,) per epoch

    def measure(self, losses: Iterable[Tensor]) -> None:
        """Measure an epoch's relative gradient norms.

        Args:
            losses: scalars, each of one batch; at most one of their graphs is held at a time.

        Raises:
            RunError: a gradient is not finite.
        """
        norms = relative_gradient_norms(losses, [self.parameters[name] for name in self.measured])
        bad = [name for name, norm in zip(self.measured, norms.tolist()) if norm != norm]
        if bad:
            raise RunError(
                "auto_rgn", "finite gradients", f"that of '{bad[0]}' is not in epoch {len(self._norms)}",
                "Lower the learning rate or set schedule.clip_norm=1.0.",
            )  # fmt: skip
        self._norms.append(norms)

    def groups(self) -> list[ParamGroup]:
        """One group per tensor, with the learning-rate factors measured last."""
        shares = self._shares(self._norms[-1])
        return [
            ParamGroup([parameter], self.lr_factors[self.block_of[name]] * shares.get(name, 1.0))
            for name, parameter in self.parameters.items()
        ]

    def table(self, learning_rates: Sequence[float]) -> pd.DataFrame:
        """What was used: epoch, block, tensor, relative_gradient_norm (NaN where not measured), factor, lr.

        Args:
            learning_rates: the schedule's, one per epoch; `lr` is it times `factor`.
        """
        rows = []
        for epoch, (norms, lr) in enumerate(zip(self._norms, learning_rates)):
            measured, shares = dict(zip(self.measured, norms.tolist())), self._shares(norms)
            for name, block in self.block_of.items():
                factor = self.lr_factors[block] * shares.get(name, 1.0)
                norm = measured.get(name, float("nan"))
                rows.append((epoch, block, name, norm, factor, lr * factor))
        columns = ["epoch", "block", "tensor", "relative_gradient_norm", "factor", "lr"]
        return pd.DataFrame(rows, columns=columns)

    def state(self) -> Saved:
        """All measurements so far."""
        return Saved({"relative_gradient_norms": torch.stack(self._norms)} if self._norms else {})

    def load_state(self, saved: Saved) -> None:
        """Put back what `state` gave."""
        self._norms = list(saved.tensors.get("relative_gradient_norms", ()))

    def _shares(self, norms: Tensor) -> dict[str, float]:
        return dict(zip(self.measured, relative_rates(norms).tolist()))


def relative_gradient_norms(losses: Iterable[Tensor], tensors: Sequence[Tensor]) -> Tensor:
    """How large each tensor's gradient is beside the tensor, in the mean over batches.

    Args:
        losses: scalars, one per batch, at least one.
        tensors: T tensors that the losses may depend on.

    Returns: (T,) float64 on the CPU, in [0, inf]; inf for a tensor of zeros; NaN where a gradient is not finite.

    >>> weights = [torch.tensor([3.0, 4.0], requires_grad=True), torch.tensor([2.0], requires_grad=True)]
    >>> relative_gradient_norms([10 * weights[0].sum() + weights[1].sum()], weights)
    tensor([2.8284, 0.5000], dtype=torch.float64)
    """
    sizes = torch.stack([tensor.detach().double().norm() for tensor in tensors])
    batches = []
    for loss in losses:
        gradients = torch.autograd.grad(loss, tensors, allow_unused=True, materialize_grads=True)
        batches.append(torch.stack([gradient.double().norm() for gradient in gradients]))
    gradient_norms = torch.stack(batches).mean(0)
    relative = torch.where(sizes > 0, gradient_norms / sizes, torch.inf)
    return torch.where(gradient_norms.isfinite(), relative, torch.nan).cpu()


def relative_rates(norms: Tensor) -> Tensor:
    """Relative gradient norms as shares of the largest finite one.

    Args:
        norms: (T,) in [0, inf].

    Returns: (T,) in [0, 1]; 1 where the norm is infinite, and everywhere if no finite one is above 0.

    >>> relative_rates(torch.tensor([0.2, 0.8, 0.0, torch.inf]))
    tensor([0.2500, 1.0000, 0.0000, 1.0000])
    """
    finite = norms[norms.isfinite()]
    if not finite.numel() or finite.max() == 0:
        return torch.ones_like(norms)
    return (norms / finite.max()).clamp(max=1.0)


def _batch_norm_tensors(model: Model) -> frozenset[str]:
    """Parameters of layers that keep running statistics."""
    return frozenset(
        f"{path}.{name}" if path else name
        for path, layer in model.named_modules()
        if getattr(layer, "running_mean", None) is not None
        for name, _ in layer.named_parameters(recurse=False)
    )
