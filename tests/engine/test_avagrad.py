"""AvaGrad against recorded steps, a loop over numbers, and the invariances that define it.

tests/golden/avagrad.npz: trajectories of lolemacs/avagrad, optimizers.py, commit 343733151f26 (which lags one step),
and of the equation without the lag.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medgraft.engine.avagrad import AvaGrad, AvaGradW
from medgraft.engine.optimizers import build_optimizer, collect_state, restore_state
from medgraft.engine.schedule import Schedule
from medgraft.errors import SettingsError

GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden" / "avagrad.npz"))
RECORDED = [name.removesuffix("__traj") for name in GOLDEN if name.endswith("__traj")]
Make = Callable[[Sequence[nn.Parameter]], AvaGrad]


def settings_of(case: str) -> dict[str, Any]:
    """What a recorded case's name says."""
    found = re.search(r"_lr([\d.]+)_eps([\d.]+)(?:_b([\d.]+)_([\d.]+))?(?:_wd([\d.]+))?$", case)
    assert found is not None
    lr, eps, b1, b2, decay = (None if part is None else float(part) for part in found.groups())
    settings: dict[str, Any] = {"lr": lr, "eps": eps, "betas": (b1 or 0.9, b2 or 0.999)}
    return settings | {"weight_decay": decay or 0.0}


def descend(make: Make, steps: int = 20) -> tuple[np.ndarray, AvaGrad]:
    """The recorded objective: 0.5 p'Ap - b'p + 0.5 sum(weight (q - target)^2)."""
    a, b = torch.from_numpy(GOLDEN["A"]), torch.from_numpy(GOLDEN["b"])
    p, q = (nn.Parameter(torch.from_numpy(GOLDEN[name].copy())) for name in ("p0", "q0"))
    optimizer = make([p, q])
    path = [torch.cat([p, q.ravel()]).detach()]
    for _ in range(steps):
        optimizer.zero_grad()
        pull = torch.from_numpy(GOLDEN["weight_q"]) * (q - torch.from_numpy(GOLDEN["target_q"])) ** 2
        (0.5 * p @ a @ p - b @ p + 0.5 * pull.sum()).backward()
        optimizer.step()
        path.append(torch.cat([p, q.ravel()]).detach())
    return torch.stack(path).numpy(), optimizer


@pytest.mark.parametrize("case", RECORDED)
def test_steps_are_the_recorded_ones(case: str) -> None:
    kind = AvaGradW if case.startswith("avagradw") else AvaGrad
    lag = not case.startswith("paper")
    bias = "nobias" not in case
    path, optimizer = descend(
        lambda ps: kind(ps, **settings_of(case), reference_lag=lag, bias_correction=bias)
    )
    np.testing.assert_allclose(path, GOLDEN[f"{case}__traj"], rtol=0, atol=1e-10)
    if lag:
        stored = [state["normaliser"].item() for state in optimizer.state.values()]
        assert stored == pytest.approx([GOLDEN[f"{case}__gamma"][-1]] * 2, abs=1e-10)


def test_the_first_moving_step_of_the_authors_code_is_too_small() -> None:
    """Why it is not the default: its normaliser is eps there, not the mean of root and eps."""
    ours, _ = descend(AvaGrad, steps=2)
    theirs, _ = descend(lambda ps: AvaGrad(ps, reference_lag=True), steps=2)
    assert np.abs(theirs[2] - theirs[1]).max() < 0.5 * np.abs(ours[2] - ours[1]).max()


def gradients(step: int, sizes: Sequence[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]


def parameters(sizes: Sequence[int]) -> list[nn.Parameter]:
    return [nn.Parameter(torch.linspace(-1, 1, size, dtype=torch.float64)) for size in sizes]


def run(optimizer: AvaGrad, steps: int = 6, scale: float = 1.0) -> Tensor:
    """All weights after some steps, one beneath the other."""
    held = [p for group in optimizer.param_groups for p in group["params"]]
    path = []
    for step in range(steps):
        for parameter, gradient in zip(held, gradients(step, [len(p) for p in held])):
            parameter.grad = scale * gradient
        optimizer.step()
        path.append(torch.cat([p.detach() for p in held]).clone())
    return torch.stack(path)


def test_equals_a_loop_over_numbers() -> None:
    sizes, lr, b1, b2, eps, decay = (3, 2), 0.2, 0.8, 0.9, 0.05, 0.1
    w = [number for p in parameters(sizes) for number in p.tolist()]
    m, v = [0.0] * 5, [0.0] * 5
    for t in range(1, 7):
        g = torch.cat(gradients(t - 1, sizes)).tolist()
        g = [number + decay * weight for number, weight in zip(g, w)]
        m = [b1 * old + (1 - b1) * new for old, new in zip(m, g)]
        if t > 1:
            eta = [1 / (math.sqrt(old / (1 - b2 ** (t - 1))) + eps) for old in v]
            size = math.sqrt(sum(number**2 for number in eta)) / math.sqrt(5)
            w = [a - lr * e / size * b / (1 - b1**t) for a, e, b in zip(w, eta, m)]
        v = [b2 * old + (1 - b2) * new**2 for old, new in zip(v, g)]
    ours = run(AvaGrad(parameters(sizes), lr, (b1, b2), eps, decay))
    assert ours[-1].tolist() == pytest.approx(w, rel=1e-12)


def test_decay_apart_from_the_gradient_starts_with_the_first_moving_step() -> None:
    optimizer = AvaGradW(parameters([3]), lr=0.5, weight_decay=0.1)
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.zeros_like(parameter)
    start = parameters([3])[0].detach()
    for expected in (start, 0.95 * start, 0.95**2 * start):
        optimizer.step()
        assert torch.allclose(optimizer.param_groups[0]["params"][0], expected, rtol=1e-12)


def test_the_rates_of_all_weights_have_a_root_mean_square_of_lr() -> None:
    held = parameters((4, 3))
    optimizer = AvaGrad(held, lr=0.3, betas=(0.0, 0.9), eps=0.01)
    for step in range(5):
        before = torch.cat([p.detach().clone() for p in held])
        for parameter, gradient in zip(held, gradients(step, (4, 3))):
            parameter.grad = gradient
        optimizer.step()
        if step:
            rates = (before - torch.cat([p.detach() for p in held])) / torch.cat(gradients(step, (4, 3)))
            assert rates.square().mean().sqrt().item() == pytest.approx(0.3, rel=1e-9)
            assert rates.max() > 1.2 * rates.min()


def test_scaling_gradients_and_eps_scales_the_steps() -> None:
    start = torch.cat([p.detach() for p in parameters((3, 2))])
    small = run(AvaGrad(parameters((3, 2)), eps=0.1)) - start
    large = run(AvaGrad(parameters((3, 2)), eps=0.7), scale=7.0) - start
    assert torch.allclose(large, 7 * small, rtol=1e-9)
    assert small[-1].abs().max() > 0.01


def test_a_huge_eps_gives_sgd_with_momentum() -> None:
    ours = run(AvaGrad(parameters([5]), lr=0.1, betas=(0.9, 0.999), eps=1e6))
    w, m = parameters([5])[0].detach().clone(), torch.zeros(5, dtype=torch.float64)
    for t in range(1, 7):
        m = 0.9 * m + 0.1 * gradients(t - 1, [5])[0]
        if t > 1:
            w -= 0.1 * m / (1 - 0.9**t)
        assert torch.allclose(ours[t - 1], w, rtol=1e-5)


def test_groups_are_normalised_apart_unless_told() -> None:
    def groups() -> list[dict[str, Any]]:
        return [{"params": [p]} for p in parameters((3, 2))]

    apart, alone = run(AvaGrad(groups())), AvaGrad(parameters((3, 2))[:1])
    for step in range(6):
        alone.param_groups[0]["params"][0].grad = gradients(step, (3, 2))[0]
        alone.step()
    assert torch.allclose(apart[-1, :3], alone.param_groups[0]["params"][0], rtol=1e-12)
    together, one = run(AvaGrad(groups(), across_groups=True)), run(AvaGrad(parameters((3, 2))))
    assert torch.equal(together, one)
    assert not torch.allclose(together, apart)


def test_weights_without_a_gradient_are_left_out() -> None:
    held, idle = parameters([3])[0], nn.Parameter(torch.full((4,), 0.5, dtype=torch.float64))
    with_idle, without = AvaGrad([held, idle]), AvaGrad(parameters([3]))
    for step in range(4):
        gradient = gradients(step, [3])[0]
        for parameter in (held, without.param_groups[0]["params"][0]):
            parameter.grad = gradient.clone()
            kept = parameter.grad
        with_idle.step()
        without.step()
        assert torch.equal(kept, gradient)
    assert torch.equal(held, without.param_groups[0]["params"][0])
    assert (idle == 0.5).all() and idle not in with_idle.state


@pytest.mark.parametrize("lag", [False, True])
def test_its_memory_goes_on_by_name(lag: bool) -> None:
    whole = run(AvaGrad(parameters((3, 2)), reference_lag=lag, weight_decay=0.1), steps=6)
    first = parameters((3, 2))
    optimizer = AvaGrad(first, reference_lag=lag, weight_decay=0.1)
    run(optimizer, steps=3)
    tensors, facts = collect_state(optimizer, dict(zip(first, ("a", "b"))))
    second = [nn.Parameter(p.detach().clone()) for p in reversed(first)]
    fresh = AvaGrad(second, reference_lag=lag, weight_decay=0.1)
    restore_state(fresh, dict(zip(second, ("b", "a"))), {k: t.clone() for k, t in tensors.items()}, facts)
    for step in range(3, 6):
        for parameter, gradient in zip(reversed(second), gradients(step, (3, 2))):
            parameter.grad = gradient
        fresh.step()
    assert torch.allclose(torch.cat([second[1], second[0]]), whole[-1], rtol=1e-12)


@pytest.mark.parametrize("name", ["avagrad", "avagradw"])
def test_a_schedule_builds_it_over_all_its_groups_at_once(name: Any) -> None:
    groups = [{"params": [p], "lr": 0.3, "weight_decay": 0.01} for p in parameters((3, 2))]
    schedule = Schedule(optimizer=name, lr=0.3, betas=(0.8, 0.99), eps=0.02)
    built = build_optimizer(name, groups, schedule)
    assert type(built) is {"avagrad": AvaGrad, "avagradw": AvaGradW}[name]
    one = type(built)(parameters((3, 2)), 0.3, (0.8, 0.99), 0.02, 0.01)
    assert torch.equal(run(built), run(one))


def test_eps_reaches_every_optimiser_that_has_one_and_stays_its_own_otherwise() -> None:
    for name, own in (("adamw", 1e-8), ("rmsprop", 1e-8), ("nadam", 1e-8), ("avagrad", 0.1)):
        for eps in (None, 0.5):
            schedule = Schedule(optimizer=name, eps=eps)  # type: ignore[arg-type]
            built = build_optimizer(name, [{"params": parameters([2])}], schedule)  # type: ignore[arg-type]
            assert built.defaults["eps"] == (eps or own)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"lr": -1}, "lr"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"eps": 0}, "eps"),
        ({"weight_decay": -1}, "decay"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError, match=f"AvaGrad needs .*{reason}"):
        AvaGrad(parameters([2]), **wrong)
