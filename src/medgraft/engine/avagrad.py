"""AvaGrad: an adaptive optimiser whose learning rate means the same whatever its epsilon."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from medgraft.errors import SettingsError


class AvaGrad(Optimizer):
    """Adapt each weight's step to its past gradients, the steps of all weights having root mean square `lr`.

    In step t, g being the gradient: m = b1 m + (1 - b1) g; eta = 1 / (sqrt(v) + eps), v before this gradient;
    w -= lr * gamma * eta * m with gamma = 1 / rms(eta); at last v = b2 v + (1 - b2) g^2. The first step only fills
    m and v: before it, nothing is known of v. Parameters without a gradient are left out of everything.

    Args:
        params: parameters, or dictionaries of them with settings of their own.
        lr: on the scale of SGD with momentum, which large `eps` gives; Sheikh et al. 2022 take 10 with eps 0.1.
        betas: b1 and b2, in [0, 1).
        eps: above 0; the smaller, the more steps adapt.
        weight_decay: L2, added to the gradient before it enters m and v.
        bias_correction: divide m by 1 - b1^t and v by 1 - b2^(t-1); False is the equation as printed.
        reference_lag: take gamma as the authors' code does, from the second moment of one step before; its first
            step that moves is too small, by eps over the root of v. For comparison with that code only.
        across_groups: one gamma for all groups, as for one parameter vector; False gives each group its own.

    Raises:
        SettingsError: a setting out of its range.

    Source: Savarese et al. 2021; as used by Sheikh et al. 2022 (fewer epochs for U-Nets), section 2.3. Differs:
        bias corrections and no step before there is a second moment, both as in the authors' code.

    >>> weight = nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> optimizer = AvaGrad([weight], lr=0.1, betas=(0.0, 0.999))
    >>> for _ in range(2):
    ...     weight.grad = torch.tensor([3.0, 0.0])
    ...     optimizer.step()
    >>> weight.data  # eta is 1/3.1 and 1/0.1: seldom used weights are those that can move far
    tensor([0.9863, 1.0000])
    """

    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 0.1,
        weight_decay: float = 0.0,
        *,
        bias_correction: bool = True,
        reference_lag: bool = False,
        across_groups: bool = False,
    ) -> None:
        for needs, holds, value in (
            ("lr of at least 0", lr >= 0, lr),
            ("betas in [0, 1)", all(0 <= beta < 1 for beta in betas), betas),
            ("eps above 0", eps > 0, eps),
            ("weight_decay of at least 0", weight_decay >= 0, weight_decay),
        ):
            if not holds:
                raise SettingsError(type(self).__name__, needs, f"it got {value}", "Correct it.")
        self.bias_correction, self.reference_lag = bias_correction, reference_lag
        self.across_groups = across_groups
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move all parameters that have a gradient once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        for together in [groups] if self.across_groups else [[group] for group in groups]:
            self._step_together([_Moving(p, g) for g in together for p in g["params"] if p.grad is not None])
        return loss

    def _step_together(self, moving: Sequence[_Moving]) -> None:
        """One step of the parameters that share a normaliser."""
        gradients = [self._remember(each) for each in moving]
        later = [each for each in moving if self.state[each.parameter]["step"] > 1]
        inverse_roots = [self._inverse_root(each, lag=0) for each in later]
        normaliser = None if self.reference_lag else _normaliser(inverse_roots)
        for each, inverse_root in zip(later, inverse_roots):
            self._move(each, inverse_root, normaliser)
        if self.reference_lag:
            normaliser = _normaliser([self._inverse_root(each, lag=1) for each in moving])
        for each, gradient in zip(moving, gradients):
            state, b2 = self.state[each.parameter], each.group["betas"][1]
            state["exp_avg_sq"].mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
            if self.reference_lag and normaliser is not None:
                state["normaliser"] = normaliser.clone()

    def _remember(self, each: _Moving) -> Tensor:
        """Count the step and let the gradient into the first moment; the gradient with its decay is returned."""
        parameter, group = each
        gradient = parameter.grad
        assert gradient is not None
        if group["weight_decay"] and not self.decoupled:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        state["step"] += 1
        state["exp_avg"].lerp_(gradient, 1 - group["betas"][0])
        return gradient

    def _inverse_root(self, each: _Moving, lag: int) -> Tensor:
        """1 / (sqrt(v) + eps), v before the current gradient; with lag 1 corrected as if it held it already."""
        state, group = self.state[each.parameter], each.group
        counted = state["step"].item() - 1 + lag
        correction = 1 - group["betas"][1] ** counted if self.bias_correction else 1.0
        root: Tensor = state["exp_avg_sq"].sqrt().div_(math.sqrt(correction))
        return root.add_(group["eps"]).reciprocal_()

    def _move(self, each: _Moving, inverse_root: Tensor, normaliser: Tensor | None) -> None:
        parameter, group = each
        state = self.state[parameter]
        b1 = group["betas"][0]
        correction = 1 - b1 ** state["step"].item() if self.bias_correction else 1.0
        scale = state["normaliser"] if normaliser is None else normaliser
        if self.decoupled:
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.addcmul_(inverse_root.mul_(scale), state["exp_avg"], value=-group["lr"] / correction)


class AvaGradW(AvaGrad):
    """AvaGrad with weight decay apart from the gradient: w *= 1 - lr * weight_decay before each step that moves.

    `lr` is not normalised there: with the large learning rates of AvaGrad take a small weight decay.

    Source: the authors' code of Savarese et al. 2021.
    """

    decoupled = True


class _Moving(NamedTuple):
    """A parameter that has a gradient, and its group."""

    parameter: nn.Parameter
    group: dict[str, Any]


def _normaliser(inverse_roots: Sequence[Tensor]) -> Tensor | None:
    """1 / root mean square over the elements of all tensors; summed in double, as there may be millions."""
    if not inverse_roots:
        return None
    elements = sum(each.numel() for each in inverse_roots)
    squares = torch.stack([each.square().sum(dtype=torch.float64) for each in inverse_roots]).sum()
    return (elements / squares).sqrt().to(inverse_roots[0].dtype)
