"""OCTL equals torch with an injected state.

tests/golden/mmtl_octl.npz: three given gradients and what the equations make of them, cross-checked against
torch.optim with injected state; tolerance 1e-12.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

import medgraft as mg
from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.loading import Loader
from medgraft.engine.loop import fit
from medgraft.engine.method import adapt
from medgraft.engine.objective import Objective
from medgraft.engine.randomness import generator
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import draw_batches
from medgraft.errors import ModelError
from medgraft.methods import OCTL, FineTune
from medgraft.methods.labelled.octl import continued
from medgraft.models.model import Model
from medgraft.models.optimizer_history import OptimizerHistory, record_history
from medgraft.models.regraft import regraft
from medgraft.models.spec import ModelSpec
from medgraft.models.storage import load_model
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Kind, Loss, Progress, Step

GOLDEN = dict(np.load(Path(__file__).parents[2] / "golden" / "mmtl_octl.npz"))
CONSTANT: dict[str, Any] = {
    "epochs": 1, "weight_decay": 0.0, "lr": 1e-3, "shape": "constant", "momentum": 0.99, "betas": (0.99, 0.999),
}  # fmt: skip


class Double(Model):
    """A tiny network in float64, or a point: whatever module it is given."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"encode"})

    def __init__(self, part: nn.Module) -> None:
        super().__init__(ModelSpec(kind="encode"))
        self.part = part.double()


def point() -> Double:
    part = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        part.weight.copy_(torch.from_numpy(GOLDEN["x0"])[None])
    model = Double(part)
    with torch.no_grad():
        model.part.weight.copy_(torch.from_numpy(GOLDEN["x0"])[None])
    return model


class GivenGradients(Objective):
    """Its gradient at every step is a given one, wherever the point is."""

    def __init__(self, model: Model, gradients: Tensor) -> None:
        super().__init__(model)
        self.gradients = gradients

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        return [Step({"gradient": row[None]}) for row in self.gradients]

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        return Loss((self.model.part.weight * step.tensors["gradient"]).sum())


class Regression(Objective):
    """Squared error of a tiny network on fixed rows."""

    def __init__(self, model: Model, inputs: Tensor, wanted: Tensor) -> None:
        super().__init__(model)
        self.inputs, self.wanted = inputs, wanted

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        return [Step({"inputs": x, "wanted": y}) for x, y in zip(self.inputs.split(4), self.wanted.split(4))]

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        return Loss((self.model.part(step.tensors["inputs"]) - step.tensors["wanted"]).square().mean())


def row(name: str) -> Tensor:
    return torch.from_numpy(GOLDEN[name])[None]


def run(folder: Path | None = None, **options: Any) -> Run:
    return Run(folder, device="cpu", progress=False, **options)


@pytest.mark.parametrize(
    ("expected", "settings", "history"),
    [
        (
            "sgd_mu0.99_lr0.001",
            {"optimizer": "sgd"},
            OptimizerHistory("SGD", {"part.weight": {"momentum_buffer": row("H0")}}),
        ),
        (
            "sgd_nesterov_mu0.99_lr0.001",
            {"optimizer": "sgd", "nesterov": True},
            OptimizerHistory("SGD", {"part.weight": {"momentum_buffer": row("H0")}}),
        ),
        (
            "adam_b.99_.999_t0100_lr0.001",
            {"optimizer": "adam"},
            OptimizerHistory(
                "Adam", {"part.weight": {"exp_avg": row("M0"), "exp_avg_sq": row("V0"), "step": 6000.0}}
            ),
        ),
    ],
)
def test_steps_are_those_of_the_equations(
    expected: str, settings: dict[str, Any], history: OptimizerHistory
) -> None:
    for steps in (1, 2, 3):
        model = point()
        objective = GivenGradients(model, torch.from_numpy(GOLDEN["grads"])[:steps])
        started = continued(history, ["part.weight"], 100)
        fit(objective, run(), Schedule(**CONSTANT | settings), started)
        found = model.part.weight.detach().numpy()[0]
        np.testing.assert_allclose(found, GOLDEN[expected][steps], rtol=0, atol=1e-12)


def tiny(seed: int) -> Double:
    torch.manual_seed(seed)
    return Double(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))


def rows(seed: int) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(12, 3, generator=source).double(), torch.randn(12, 2, generator=source).double()


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_training_equals_torch_with_an_injected_state(name: str) -> None:
    model = tiny(0)
    asked = run(save_optimizer=True)
    source = Schedule(epochs=2, weight_decay=0.0, lr=1e-2, shape="constant", optimizer=name)
    fit(Regression(model, *rows(1)), asked, source)
    history = asked.shared.optimizer_history
    assert history is not None
    target = Schedule(**CONSTANT | {"epochs": 4, "optimizer": name})

    by_hand = tiny(0)
    by_hand.load_state_dict(model.state_dict())
    if name == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(by_hand.parameters(), 1e-3, momentum=0.99)
    else:
        optimizer = torch.optim.Adam(by_hand.parameters(), 1e-3, betas=(0.99, 0.999))
    for parameter_name, parameter in by_hand.named_parameters():
        slots = {
            slot: torch.as_tensor(value).clone() for slot, value in history.state[parameter_name].items()
        }
        if name == "adam":
            assert slots["step"] == 6
            slots["step"] = torch.tensor(100.0)
        optimizer.state[parameter] = slots
    inputs, wanted = rows(2)
    for _ in range(4):
        for x, y in zip(inputs.split(4), wanted.split(4)):
            optimizer.zero_grad()
            (by_hand.part(x) - y).square().mean().backward()
            optimizer.step()

    names = [parameter_name for parameter_name, _ in model.named_parameters()]
    forgetful = tiny(0)
    forgetful.load_state_dict(model.state_dict())
    fit(Regression(model, *rows(2)), run(), target, continued(history, names, 100))
    fit(Regression(forgetful, *rows(2)), run(), target)
    for parameter_name, expected in by_hand.state_dict().items():
        assert (model.state_dict()[parameter_name] - expected).abs().max() <= 1e-12
        assert (forgetful.state_dict()[parameter_name] - expected).abs().max() > 1e-4


def test_without_a_gradient_only_the_history_moves_the_weights() -> None:
    still = torch.zeros(5, 3, dtype=torch.float64)
    history = OptimizerHistory("SGD", {"part.weight": {"momentum_buffer": row("H0")}})
    moved, resting = point(), point()
    schedule = Schedule(**CONSTANT | {"optimizer": "sgd"})
    fit(GivenGradients(moved, still), run(), schedule, history)
    fit(GivenGradients(resting, still), run(), schedule)
    way = 1e-3 * sum(0.99**k for k in range(1, 6)) * GOLDEN["H0"]
    np.testing.assert_allclose(moved.part.weight.detach().numpy()[0], GOLDEN["x0"] - way, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(resting.part.weight.detach().numpy()[0], GOLDEN["x0"])


def test_a_new_head_has_no_history_even_where_its_shape_is_the_old_one_s() -> None:
    model = regraft(make_model("classify"), ("a", "b"))[0]
    optimizer = torch.optim.Adam(model.parameters())
    model.eval()(torch.randn(2, 1, 32, 32)).square().mean().backward()
    optimizer.step()
    grafted, plan = regraft(model, ("x", "y"))
    history = continued(record_history(optimizer, model), plan.names("loaded"), 7)
    head = set(grafted.blocks()["head"])
    assert head and history.state.keys() == {name for name, _ in grafted.named_parameters()} - head
    assert all(slots["step"] == 7 for slots in history.state.values())


# the method


def trained(optimizer: str = "adam", kind: Kind = "classify", folder: Path | None = None) -> Model:
    schedule = Schedule(epochs=2, batch_size=8, lr=1e-2, optimizer=optimizer)
    task = mg.Task(target=make_cohort(kind, "A"))
    source = make_model("classify") if kind == "classify" else make_model(kind)
    method = FineTune(schedule=schedule, augmentation=None)
    return mg.adapt(source, task, method, run(folder, save_optimizer=True, select="last"))


def octl(**schedule: Any) -> OCTL:
    return OCTL(
        schedule=Schedule(**CONSTANT | {"optimizer": "adam", "batch_size": 8} | schedule), augmentation=None
    )


def by_hand(model: Model, target: Cohort, name: str) -> Model:
    """The training of `octl(epochs=2)` in plain torch."""
    history = model.optimizer_history
    assert history is not None
    again = regraft(model, model.spec.classes)[0]
    if name == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(again.parameters(), 1e-3, momentum=0.99)
    else:
        optimizer = torch.optim.Adam(again.parameters(), 1e-3, betas=(0.99, 0.999))
    for parameter_name, parameter in again.named_parameters():
        optimizer.state[parameter] = {
            slot: torch.tensor(100.0) if slot == "step" else torch.as_tensor(value).clone()
            for slot, value in history.state[parameter_name].items()
        }
    loader = Loader(target.split("train"), again.spec.preparation)
    again.train()
    for epoch in range(2):
        for chosen in draw_batches(len(loader), 8, generator(0, (), "batches", epoch)):
            batch = loader(chosen)
            optimizer.zero_grad()
            nn.functional.cross_entropy(again(batch.images), batch.truth).backward()
            optimizer.step()
    return again.eval()


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_saved_source_is_continued_as_in_plain_torch(name: str, tmp_path: Path) -> None:
    trained(name, folder=tmp_path / "source")
    target = make_cohort("classify", "B")
    method = octl(epochs=2, optimizer=name)
    adapted = mg.adapt(tmp_path / "source", mg.Task(target=target), method, run(select="last"))
    expected = by_hand(load_model(tmp_path / "source" / "model"), target, name).state_dict()
    for tensor_name, tensor in adapted.state_dict().items():
        # Adam divides by the root of tiny second moments: rounding may move a weight by a part of a step of 1e-3
        torch.testing.assert_close(tensor, expected[tensor_name], rtol=1e-4, atol=5e-5)


def test_a_source_in_memory_is_continued_too() -> None:
    model, task = trained(), Task(target=make_cohort("classify", "B"))
    first = adapt(model, task, octl(), run(limit=Limit(1, 2))).state_dict()
    plain = FineTune(schedule=octl().schedule, augmentation=None)
    second = adapt(model, task, plain, run(limit=Limit(1, 2))).state_dict()
    head = model.blocks()["head"][0]
    assert not torch.equal(first[head], second[head])


def test_a_missing_history_is_explained() -> None:
    task = Task(target=make_cohort("classify", "B"))
    with pytest.raises(
        ModelError, match=r"--save-optimizer .*schedule.optimizer=adam, then adapt from its folder"
    ):
        adapt(make_model("classify"), task, octl(), run())
    with pytest.raises(ModelError, match=r"what SGD remembered .*, but that was done by Adam"):
        adapt(trained("adam"), task, octl(optimizer="sgd"), run())
    source = make_model("classify")
    name = next(name for name, _ in source.named_parameters())
    source.optimizer_history = OptimizerHistory("SGD", {name: {}})
    with pytest.raises(ModelError, match="it remembered nothing, as SGD does without momentum"):
        adapt(source, task, octl(optimizer="sgd"), run())


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [("adamw", "part of the gradient"), ("rmsprop", "these two only"), ("avagrad", "take nearly all")],
)
def test_other_optimisers_are_refused_with_a_reason(optimizer: str, reason: str) -> None:
    unchecked = Schedule().model_copy(update={"optimizer": optimizer})
    with pytest.raises(ValidationError, match=rf"not {optimizer}: .*{reason}"):
        OCTL(schedule=unchecked)
    with pytest.raises(ValidationError, match="without momentum sgd continues nothing"):
        OCTL(schedule=Schedule(optimizer="sgd", momentum=0.0))


def test_keeps_the_promises_of_a_method() -> None:
    assert len(check_method(octl(epochs=2))) == 3 * 8


@pytest.mark.slow
def test_keeps_its_promises_in_two_processes() -> None:
    assert "two processes" in check_method(octl(epochs=2), processes=True)[-1]
