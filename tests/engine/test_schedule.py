from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from medgraft.engine.schedule import Schedule


def rates(
    scheduler: torch.optim.lr_scheduler.LRScheduler, optimizer: torch.optim.Optimizer, epochs: int
) -> list[float]:
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)


def ours(schedule: Schedule) -> list[float]:
    return [schedule.learning_rate(epoch) for epoch in range(schedule.epochs)]


def test_cosine_equals_torch() -> None:
    theirs = optimizer()
    expected = rates(torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=12), theirs, 12)
    assert ours(Schedule(epochs=12, lr=0.2, shape="cosine")) == pytest.approx(expected)


def test_polynomial_equals_torch() -> None:
    theirs = optimizer()
    expected = rates(torch.optim.lr_scheduler.PolynomialLR(theirs, total_iters=12, power=0.9), theirs, 12)
    assert ours(Schedule(epochs=12, lr=0.2, shape="polynomial", power=0.9)) == pytest.approx(expected)


def test_steps_equal_torch() -> None:
    theirs = optimizer()
    expected = rates(torch.optim.lr_scheduler.MultiStepLR(theirs, milestones=[6, 9], gamma=0.1), theirs, 12)
    assert ours(Schedule(epochs=12, lr=0.2, shape="step", milestones=(0.5, 0.75))) == pytest.approx(expected)


def test_warm_up_rises_linearly_and_then_the_whole_curve_follows() -> None:
    found = ours(Schedule(epochs=10, lr=0.2, shape="cosine", warmup_epochs=3))
    assert found[:4] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert found[3:] == pytest.approx(ours(Schedule(epochs=7, lr=0.2, shape="cosine")))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"epochs": 3, "warmup_epochs": 3}, "warmup_epochs"),
        ({"clip_norm": 1.0, "clip_value": 1.0}, "exclude each other"),
        ({"milestones": (1.5,)}, "shares of the epochs"),
        ({"lr": 0.0}, "greater than 0"),
        ({"learning_rate": 0.1}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Schedule(**settings)  # type: ignore[arg-type]
