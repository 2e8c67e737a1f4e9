from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medgraft.data.task import Task
from medgraft.engine.method import adapt
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.methods import L2SP
from medgraft.methods.labelled.l2_sp import DistanceFromSource
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.models.regraft import regraft
from medgraft.models.spec import ModelSpec
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Kind

ALL_ROWS = Schedule(
    epochs=3, batch_size=64, optimizer="sgd", lr=0.05, momentum=0.0, weight_decay=0.0, shape="constant"
)


def quiet() -> Run:
    return Run(device="cpu", progress=False)


def source(kind: Kind) -> Model:
    with seeded("source"):
        return make_model(kind)


class OldAndNew(Model):
    """Three weights that were learned and one that is new."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify"})

    def __init__(self) -> None:
        super().__init__(ModelSpec(classes=("a", "b")))
        self.old, self.new = nn.Parameter(torch.tensor([0.5, 2.5, -1.0])), nn.Parameter(torch.tensor([3.0]))


@pytest.mark.parametrize(
    ("half", "beta", "expected"),
    [
        (True, 0.0, 0.025),  # 0.1 / 2 * (0.5^2 + 0.5^2): the original's first term
        (True, 0.01, 0.025 + 0.045),  # and 0.01 / 2 * 3^2
        (False, 0.0, 0.05),  # the published code of MMTL
        (False, 0.01, 0.05 + 0.09),
    ],
)
def test_both_forms_are_those_worked_by_hand(half: bool, beta: float, expected: float) -> None:
    model = OldAndNew()
    penalty = DistanceFromSource(model, ["new"], alpha=0.1, beta=beta, half=half)
    with torch.no_grad():
        model.old.copy_(torch.tensor([1.0, 2.0, -1.0]))
    assert penalty(model).item() == pytest.approx(expected, rel=1e-6)
    old, new = torch.autograd.grad(penalty(model), [model.old, model.new], materialize_grads=True)
    factor = 1 if half else 2
    assert old.tolist() == pytest.approx([factor * 0.05, factor * -0.05, 0.0])
    assert new.item() == pytest.approx(factor * beta * 3)


def test_nothing_is_added_at_the_source_and_the_anchor_is_no_part_of_a_checkpoint() -> None:
    model = OldAndNew()
    penalty = DistanceFromSource(model, [], alpha=0.1, beta=0.01)
    assert penalty(model).item() == 0
    assert penalty.state_dict() == {} and list(penalty.parameters()) == []


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("kind", ["classify", "segment"])
def test_equals_a_loop_written_by_hand(kind: Kind, half: bool) -> None:
    """Three steps on all rows, the pull being added to each gradient by hand. The classifier's head is new."""
    target = make_cohort(kind, "B").split("train")
    method = L2SP(
        alpha=2.0, beta=0.5, half=half, schedule=ALL_ROWS, augmentation=None, freeze_batch_stats=True
    )
    run = quiet()
    with seeded("here"):
        model, plan = regraft(source(kind), target.classes, kind=kind)
    with seeded("here"):
        tuned = method.adapt(source(kind), Task(target=target), run)

    images, truth = run.loader(target, model.spec.preparation)(np.arange(len(target)))[:2]
    criterion = build_loss(LossSettings.default(kind), kind)
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    new = set(plan.names("new"))
    assert bool(new) == (kind == "classify")
    for _ in range(3):
        model.zero_grad()
        criterion(model.eval()(images), truth).backward()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                pull = 0.5 * parameter if name in new else 2.0 * (parameter - start[name])
                assert parameter.grad is not None
                parameter -= 0.05 * (parameter.grad + pull * (1 if half else 2))
    moved = 0.0
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tuned.state_dict()[name], tensor, rtol=1e-3, atol=1e-6)
        moved = max(moved, float((tensor - start[name]).abs().max()) if name in start else 0.0)
    assert moved > 1e-3


def distance(model: Model, kind: Kind = "segment") -> float:
    start = source(kind).state_dict()
    squares: list[Tensor] = [
        (tensor.detach() - start[name]).square().sum() for name, tensor in model.named_parameters()
    ]
    return float(torch.stack(squares).sum())


def test_the_stronger_the_pull_the_nearer_the_source() -> None:
    task = Task(target=make_cohort("segment", "B"))
    schedule = Schedule(epochs=4, batch_size=8, lr=1e-2, optimizer="sgd")
    near, middle, far = (
        distance(adapt(source("segment"), task, L2SP(alpha=alpha, schedule=schedule), quiet()))
        for alpha in (30.0, 1.0, 0.0)
    )
    assert near < 0.5 * middle < 0.5 * far


def test_the_penalty_stands_in_the_history() -> None:
    run = quiet()
    method = L2SP(schedule=Schedule(epochs=2, batch_size=8))
    adapt(source("segment"), Task(target=make_cohort("segment", "B")), method, run)
    history = run.shared.records.tables["history"]
    assert (history["penalty"] > 0).all() and history["penalty"].iloc[1] > history["penalty"].iloc[0]


def test_the_head_that_is_trained_first_does_not_move_its_own_anchor() -> None:
    """Anchors are the source's, also of a head that keeps its classes."""
    target = make_cohort("classify", "B")
    with seeded("source"):
        model = regraft(make_model("classify"), target.classes)[0]
    head = [name for name in model.blocks()["head"] if name.endswith("weight")]
    start = {name: model.state_dict()[name].clone() for name in head}
    hard = Schedule(epochs=20, batch_size=8, lr=1e-2, optimizer="sgd", weight_decay=0.0, momentum=0.0)
    first = Schedule(epochs=20, batch_size=8, lr=0.1)
    method = L2SP(scope="head_then_all", alpha=50.0, schedule=hard, head_schedule=first)
    run = Run(device="cpu", progress=False, select="last")
    tuned = adapt(model, Task(target=target), method, run)
    assert run.shared.records.tables["head/history"]["loss"].iloc[-1] < 0.69
    for name in head:
        assert torch.allclose(tuned.state_dict()[name], start[name], atol=0.02)


def test_weight_decay_is_off_unless_named() -> None:
    assert L2SP().schedule.weight_decay == 0
    assert L2SP(schedule=Schedule(epochs=3)).schedule == Schedule(epochs=3, weight_decay=0.0)
    assert L2SP(schedule=Schedule(weight_decay=0.1)).schedule.weight_decay == 0.1
    assert L2SP.model_validate(L2SP().model_dump()) == L2SP()


@pytest.mark.parametrize("scope", ["head", "from_scratch"])
def test_scopes_without_a_source_to_stay_near_are_refused(scope: str) -> None:
    with pytest.raises(ValueError, match="'all', 'last', 'first' or 'head_then_all'"):
        L2SP(scope=scope)  # type: ignore[arg-type]


def test_keeps_the_promises_of_a_method() -> None:
    assert len(check_method(L2SP(schedule=Schedule(epochs=2, batch_size=8)))) == 3 * 8


@pytest.mark.slow
def test_keeps_its_promises_in_two_processes() -> None:
    method = L2SP(schedule=Schedule(epochs=2, batch_size=8), layer_rates="auto_rgn")
    assert "two processes equal one" in check_method(method, processes=True)[-1]
