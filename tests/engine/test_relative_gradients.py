from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from medgraft.engine.loop import fit
from medgraft.engine.objective import Objective
from medgraft.engine.optimizers import ParamGroup
from medgraft.engine.relative_gradients import (
    RelativeGradientRates,
    relative_gradient_norms,
    relative_rates,
)
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import RunError, SettingsError
from medgraft.models.model import Model
from medgraft.models.spec import ModelSpec
from medgraft.testing import make_model
from medgraft.types import Kind, Loss, Progress, Step

from .conftest import OnFixedRows, make_line


class TwoNumbers(Model):
    """The product of two numbers, a = 2 and b = 1."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify"})

    def __init__(self) -> None:
        super().__init__(ModelSpec(classes=("a", "b")))
        self.a, self.b = nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.tensor([1.0]))

    def forward(self, images: Tensor) -> Tensor:
        return images * self.a * self.b


class HalfSquare(Objective):
    """Half the square of the product, one step an epoch."""

    def __init__(self, model: Model, lr_factors: dict[str, float]) -> None:
        super().__init__(model)
        self.rates = RelativeGradientRates(model, lr_factors)

    def groups(self, phase: str) -> list[ParamGroup]:
        return self.rates.groups()

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        step = Step({"images": torch.ones(1)})
        self.rates.measure(self.loss(step, "main", progress).total for _ in range(2))
        return [step]

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        return Loss(self.model(step.tensors["images"]).square().sum() / 2)


def test_rates_and_weights_of_two_steps_are_those_worked_by_hand() -> None:
    # the gradient of (ab)^2/2 is (ab^2, a^2b); beside (a, b) it is (b^2, a^2): (1, 4), then (0.36, 3.8025)
    model = TwoNumbers()
    objective = HalfSquare(model, {"a": 1.0, "b": 1.0})
    schedule = Schedule(
        epochs=2, optimizer="sgd", lr=0.1, momentum=0, weight_decay=0, shape="step", milestones=(0.5,)
    )
    history = fit(objective, Run(device="cpu", progress=False), schedule)
    b = 1 - 0.1 * 4
    a = 2 - 0.1 * 0.25 * 2
    assert (a, b) == (1.95, 0.6)
    second = 0.36 / 3.8025
    expected = a - 0.01 * second * a * b**2, b - 0.01 * a**2 * b
    assert (model.a.item(), model.b.item()) == pytest.approx(expected, rel=1e-6)

    table = objective.rates.table([row["lr"] for row in history.rows])
    assert table["relative_gradient_norm"].tolist() == pytest.approx([1, 4, 0.36, 3.8025], rel=1e-6)
    assert table["factor"].tolist() == pytest.approx([0.25, 1, second, 1], rel=1e-6)
    assert table["lr"].tolist() == pytest.approx([0.025, 0.1, 0.01 * second, 0.01], rel=1e-6)
    assert table[["epoch", "block", "tensor"]].to_numpy().tolist() == [
        [0, "a", "a"], [0, "b", "b"], [1, "a", "a"], [1, "b", "b"],
    ]  # fmt: skip


def test_a_block_s_factor_multiplies_its_tensors_rates() -> None:
    rates = RelativeGradientRates(model := TwoNumbers(), {"a": 3.0, "b": 0.5})
    rates.measure([model(torch.ones(1)).square().sum() / 2])
    assert [group.lr_factor for group in rates.groups()] == pytest.approx([0.75, 0.5])


def test_norms_are_means_over_batches() -> None:
    line, rows = make_line(), OnFixedRows(make_line())
    cuts = [slice(0, 4), slice(4, 11)]
    tensors = [*line.parameters()]
    ours = relative_gradient_norms(
        (nn.functional.cross_entropy(line(rows.inputs[cut]), rows.truth[cut]) for cut in cuts), tensors
    )
    naive = torch.zeros(len(tensors), dtype=torch.float64)
    for cut in cuts:
        line.zero_grad()
        nn.functional.cross_entropy(line(rows.inputs[cut]), rows.truth[cut]).backward()
        for index, tensor in enumerate(tensors):
            assert tensor.grad is not None
            naive[index] += tensor.grad.norm().item() / tensor.norm().item() / 2
    assert torch.allclose(ours, naive, rtol=1e-6)
    assert (ours > 0).all()


def test_a_tensor_of_zeros_gets_the_full_rate_and_decides_nothing() -> None:
    weights = [torch.tensor([value], requires_grad=True) for value in (0.0, 1.0, 2.0, 5.0)]
    norms = relative_gradient_norms(
        [100 * weights[0].sum() + 2 * weights[1].sum() + weights[2].sum()], weights
    )
    assert norms.tolist() == [torch.inf, 2, 0.5, 0]  # the last one is not used
    assert relative_rates(norms).tolist() == [1, 1, 0.25, 0]
    assert relative_rates(torch.zeros(3)).tolist() == [1, 1, 1]


def test_batch_norm_is_left_alone_and_a_new_head_is_not_measured() -> None:
    model = make_model("classify").eval()
    head = model.blocks()["head"]
    rates = RelativeGradientRates(model, dict.fromkeys(model.blocks(), 1.0) | {"head": 2.0}, head)
    rates.measure([model(torch.rand(2, 1, 32, 32)).square().mean()])
    table = rates.table([0.1])
    norms = {
        f"{path}.{name}"
        for path, layer in model.named_modules()
        if isinstance(layer, nn.BatchNorm2d)
        for name, _ in layer.named_parameters()
    }
    assert norms and set(table["tensor"]) == {name for name, _ in model.named_parameters()} - norms
    unmeasured = table[table["tensor"].isin(head)]
    assert unmeasured["factor"].tolist() == [2.0, 2.0] and unmeasured["relative_gradient_norm"].isna().all()
    rest = table[~table["tensor"].isin(head)]
    assert rest["factor"].max() == 1 and rest["factor"].nunique() > 5
    with pytest.raises(SettingsError, match="besides a new head"):
        RelativeGradientRates(model, {"head": 1.0}, head)


def test_gradients_that_are_not_finite_are_named() -> None:
    rates = RelativeGradientRates(model := TwoNumbers(), {"a": 1.0, "b": 1.0})
    with pytest.raises(RunError, match="that of 'a' is not in epoch 0"):
        rates.measure([model.a.sum() * torch.nan + model.b.sum()])


def test_measurements_survive_saving() -> None:
    rates = RelativeGradientRates(model := TwoNumbers(), {"a": 1.0, "b": 1.0})
    rates.measure([model(torch.ones(1)).sum()])
    again = RelativeGradientRates(model, {"a": 1.0, "b": 1.0})
    again.load_state(rates.state())
    pd.testing.assert_frame_equal(again.table([1.0]), rates.table([1.0]))
    assert len(again.table([1.0])) == 2
    again.load_state(RelativeGradientRates(model, {"a": 1.0}).state())
    assert again.table([1.0]).empty
