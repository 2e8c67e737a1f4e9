from __future__ import annotations

import math

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


def plateau_of_torch(scores: list[float], patience: int, minimum: float) -> list[float]:
    """Learning rate of every epoch, the scheduler being told each epoch's score after it."""
    theirs = optimizer()
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        theirs, mode="max", factor=0.3, patience=patience, threshold=0.0, min_lr=minimum, eps=0.0
    )
    found = []
    for score in scores:
        found.append(theirs.param_groups[0]["lr"])
        scheduler.step(score)
    return found


@pytest.mark.parametrize(("epochs", "minimum"), [(1, 0.0), (3, 0.0), (2, 0.015)])
def test_plateau_equals_torch(epochs: int, minimum: float) -> None:
    scores = [
        0.5,
        0.6,
        0.6,
        0.55,
        math.nan,
        0.61,
        0.61,
        0.6,
        0.7,
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
        0.71,
        0.0,
        0.0,
        0.0,
    ]
    schedule = Schedule(
        epochs=len(scores), lr=0.2, shape="plateau", gamma=0.3, plateau_epochs=epochs, minimum_lr=minimum
    )
    found = [schedule.learning_rate(epoch, scores[:epoch]) for epoch in range(len(scores))]
    assert found == plateau_of_torch(scores, epochs - 1, minimum)
    assert len(set(found)) > 2
    assert found == [
        schedule.learning_rate(epoch, scores) for epoch in range(len(scores))
    ]  # later scores are not seen


def test_plateau_counts_from_the_end_of_the_warm_up() -> None:
    schedule = Schedule(epochs=9, lr=0.2, shape="plateau", gamma=0.5, plateau_epochs=2, warmup_epochs=3)
    scores = [0.9, 0.8, 0.7, 0.5, 0.5, 0.5, 0.5, 0.5]
    found = [schedule.learning_rate(epoch, scores) for epoch in range(9)]
    assert found == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2, 0.1, 0.1, 0.05])


def test_warm_up_rises_linearly_and_then_the_whole_curve_follows() -> None:
    found = ours(Schedule(epochs=10, lr=0.2, shape="cosine", warmup_epochs=3))
    assert found[:4] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert found[3:] == pytest.approx(ours(Schedule(epochs=7, lr=0.2, shape="cosine")))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"epochs": 3, "warmup_epochs": 3}, "warmup_epochs"),
        ({"clip_norm": 1.0, "clip_value": 1.0}, "exclude each other"),
        ({"lr": 0.1, "minimum_lr": 0.2}, "must not be above lr"),
        ({"plateau_epochs": 0}, "greater than or equal to 1"),
        ({"milestones": (1.5,)}, "shares of the epochs"),
        ({"lr": 0.0}, "greater than 0"),
        ({"learning_rate": 0.1}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Schedule(**settings)  # type: ignore[arg-type]


def test_presets_fill_what_is_not_named():
    nnunet = Schedule(preset="nnunet")
    assert (nnunet.epochs, nnunet.steps_per_epoch, nnunet.optimizer, nnunet.lr) == (1000, 250, "sgd", 0.01)
    assert nnunet.nesterov and nnunet.momentum == 0.99 and nnunet.weight_decay == 3e-5
    # the published rule: initial rate times (1 - epoch / epochs) ** 0.9
    assert nnunet.learning_rate(250) == pytest.approx(0.01 * 0.75**0.9)
    early = Schedule(preset="avagrad_25")
    assert (early.epochs, early.optimizer, early.lr, early.eps) == (25, "avagrad", 10.0, 0.1)
    assert Schedule(preset="avagrad_50").epochs == 50
    assert Schedule(preset="nnunet", epochs=25, lr=0.1) == nnunet.model_copy(update={"epochs": 25, "lr": 0.1})
    assert Schedule.model_validate(early.model_dump()) == early
    with pytest.raises(ValueError, match="preset"):
        Schedule(preset="nn")  # type: ignore[arg-type]
