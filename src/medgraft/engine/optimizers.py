"""Optimisers by name, and their state by parameter name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from medgraft.engine.avagrad import AvaGrad, AvaGradW
from medgraft.engine.schedule import OptimizerName, Schedule
from medgraft.types import JSON


class ParamGroup(NamedTuple):
    """Parameters that are trained alike.

    lr_factor: multiplies the schedule's learning rate.
    weight_decay, optimizer: None takes the schedule's.
    """

    parameters: Sequence[nn.Parameter]
    lr_factor: float = 1.0
    weight_decay: float | None = None
    optimizer: OptimizerName | None = None


CLASSES: dict[OptimizerName, type[Optimizer]] = {
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "avagrad": AvaGrad,
    "avagradw": AvaGradW,
}


def build_optimizer(name: OptimizerName, groups: Sequence[dict[str, Any]], schedule: Schedule) -> Optimizer:
    """An optimiser over torch parameter groups, with the schedule's momentum or betas, and eps."""
    if name == "sgd":
        return torch.optim.SGD(groups, schedule.lr, schedule.momentum, nesterov=schedule.nesterov)
    eps: dict[str, Any] = {} if schedule.eps is None else {"eps": schedule.eps}
    if name == "rmsprop":
        return torch.optim.RMSprop(groups, schedule.lr, momentum=schedule.momentum, **eps)
    if name in ("avagrad", "avagradw"):
        kind = AvaGrad if name == "avagrad" else AvaGradW
        # groups differ in learning rate only: the equation's vector is that of all trained weights
        return kind(groups, schedule.lr, schedule.betas, across_groups=True, **eps)
    return CLASSES[name](groups, lr=schedule.lr, betas=schedule.betas, **eps)  # type: ignore[call-arg]


def collect_state(optimizer: Optimizer, names: Mapping[Tensor, str]) -> tuple[dict[str, Tensor], JSON]:
    """An optimiser's history as tensors keyed `parameter name/state name`, and what is not a tensor as JSON."""
    tensors: dict[str, Tensor] = {}
    facts: JSON = {}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{names[parameter]}/{key}"] = value.detach()
            else:
                facts[f"{names[parameter]}/{key}"] = value
    return tensors, facts


def restore_state(
    optimizer: Optimizer, names: Mapping[Tensor, str], tensors: Mapping[str, Tensor], facts: JSON
) -> None:
    """Put a collected history back; parameters without history start afresh."""
    by_name = {names[p]: p for group in optimizer.param_groups for p in group["params"]}
    for key, value in [*tensors.items(), *facts.items()]:
        name, state = key.rsplit("/", 1)
        parameter = by_name.get(name)
        if parameter is None:
            continue
        # the step counter stays on the CPU, as torch's own optimisers keep it
        on_device = isinstance(value, Tensor) and state != "step"
        optimizer.state[parameter][state] = value.to(parameter.device) if on_device else value
