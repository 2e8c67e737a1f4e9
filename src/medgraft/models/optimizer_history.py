"""What an optimiser remembers about each parameter, by name, so that a later training can go on from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from medgraft.errors import ModelError

if TYPE_CHECKING:
    from medgraft.models.model import Model


class OptimizerHistory(NamedTuple):
    """What an optimiser remembers.

    optimizer: its class name, e.g. ``"AdamW"``.
    state: by parameter name, then by slot (``"exp_avg"``): tensors and numbers.
    """

    optimizer: str
    state: Mapping[str, Mapping[str, Tensor | float]]

    def flat(self) -> dict[str, Tensor | float]:
        """Every value by ``"parameter name/slot"``."""
        return {
            f"{name}/{slot}": value for name, slots in self.state.items() for slot, value in slots.items()
        }

    @classmethod
    def of_flat(cls, optimizer: str, values: Mapping[str, Tensor | float]) -> OptimizerHistory:
        """The inverse of `flat`.

        >>> OptimizerHistory.of_flat("Adam", {"head.weight/step": 3.0}).state
        {'head.weight': {'step': 3.0}}
        """
        state: dict[str, dict[str, Tensor | float]] = {}
        for key, value in values.items():
            name, slot = key.rsplit("/", 1)
            state.setdefault(name, {})[slot] = value
        return cls(optimizer, state)


def record_history(optimizer: torch.optim.Optimizer, model: Model) -> OptimizerHistory:
    """What an optimiser remembers about a model's parameters, copied; those it never stepped are left out."""
    state: dict[str, dict[str, Tensor | float]] = {}
    for name, parameter in model.named_parameters():
        slots = optimizer.state.get(parameter)
        if slots:
            state[name] = {
                slot: value.detach().cpu().clone() if isinstance(value, Tensor) else value
                for slot, value in slots.items()
                if isinstance(value, Tensor | int | float)
            }
    return OptimizerHistory(type(optimizer).__name__, state)


def restore_history(
    history: OptimizerHistory, optimizer: torch.optim.Optimizer, model: Model
) -> tuple[str, ...]:
    """Give an optimiser its memory back, in place, for every parameter it holds by that name and shape.

    Returns: names of recorded parameters that found no place, such as those of a replaced head.

    Raises:
        ModelError: the history is of another kind of optimiser.
    """
    if type(optimizer).__name__ != history.optimizer:
        raise ModelError(
            "restore_history", f"an optimiser of class {history.optimizer}",
            f"got {type(optimizer).__name__}",
            "Train with the same optimiser, or without its history.",
        )  # fmt: skip
    held = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    parameters = dict(model.named_parameters())
    skipped: list[str] = []
    for name, slots in history.state.items():
        parameter = parameters.get(name)
        shapes = {value.shape for value in slots.values() if isinstance(value, Tensor) and value.ndim > 0}
        if parameter is None or parameter not in held or not shapes <= {parameter.shape}:
            skipped.append(name)
            continue
        optimizer.state[parameter] = {
            slot: value.to(parameter.device if value.ndim else value.device, copy=True)
            if isinstance(value, Tensor) else value
            for slot, value in slots.items()
        }  # fmt: skip
    return tuple(skipped)
