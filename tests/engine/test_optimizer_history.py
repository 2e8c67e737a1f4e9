from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from medgraft.data.task import Task
from medgraft.engine.loop import fit
from medgraft.engine.method import MethodSettings, Needs, adapt_verbosely
from medgraft.engine.randomness import generator
from medgraft.engine.run import Interrupted, Limit, Run, Shared
from medgraft.engine.schedule import Schedule
from medgraft.methods import FineTune
from medgraft.models.model import Model
from medgraft.models.optimizer_history import OptimizerHistory
from medgraft.testing import StopsAfter, make_cohort, make_model

from .conftest import OnFixedRows, make_line


def run(folder: Path | None = None, **options: object) -> Run:
    return Run(folder, device="cpu", progress=False, save_optimizer=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("finished_before", [False, True])
def test_history_is_that_of_the_same_training_written_by_hand(tmp_path: Path, finished_before: bool) -> None:
    schedule = Schedule(epochs=2, optimizer="adamw", lr=0.1, weight_decay=0.01, shape="constant")
    if finished_before:
        fit(OnFixedRows(make_line()), run(tmp_path), schedule)
    ours = run(tmp_path)
    fit(OnFixedRows(make_line()), ours, schedule)
    history = ours.shared.optimizer_history
    assert history is not None and history.optimizer == "AdamW"

    line = make_line()
    rows = OnFixedRows(line)
    optimizer = torch.optim.AdamW(line.parameters(), lr=0.1, weight_decay=0.01)
    for epoch in range(2):
        for chosen in torch.randperm(11, generator=generator(0, (), "order", epoch)).split(4):
            optimizer.zero_grad()
            nn.functional.cross_entropy(line(rows.inputs[chosen]), rows.truth[chosen]).backward()
            optimizer.step()
    assert set(history.state) == {name for name, _ in line.named_parameters()}
    for name, parameter in line.named_parameters():
        for slot, value in optimizer.state[parameter].items():
            assert torch.allclose(
                torch.as_tensor(history.state[name][slot]), torch.as_tensor(value), atol=1e-6
            )


def test_nothing_is_kept_unless_asked_for() -> None:
    quiet = Run(device="cpu", progress=False)
    fit(OnFixedRows(make_line()), quiet, Schedule(epochs=1))
    assert quiet.shared.optimizer_history is None


def test_adapt_hands_it_on_under_the_model_s_parameter_names() -> None:
    task = Task(target=make_cohort("classify", "B"))
    adapted = adapt_verbosely(
        make_model("classify"), task, FineTune(schedule=Schedule(epochs=1)), run(limit=Limit(1, 1))
    )
    history = adapted.model.optimizer_history
    assert history is not None
    assert set(history.state) == {name for name, _ in adapted.model.named_parameters()}


def test_a_model_does_not_inherit_the_history_of_its_source() -> None:
    source, task = make_model("classify"), Task(target=make_cohort("classify", "B"))
    source.optimizer_history = OptimizerHistory("Adam", {})
    shared = Shared()
    asked = run(limit=Limit(1, 1), shared=shared)
    method = FineTune(schedule=Schedule(epochs=1))
    assert adapt_verbosely(source, task, method, asked).model.optimizer_history != source.optimizer_history
    quiet = Run(device="cpu", progress=False, limit=Limit(1, 1))
    assert adapt_verbosely(source, task, Returned(), quiet).model.optimizer_history is None
    again = dataclasses.replace(quiet, shared=shared, path=("again",))
    assert adapt_verbosely(source, task, method, again).model.optimizer_history is None


class Returned(MethodSettings):
    """Gives back what it got."""

    name = "returned"
    kinds = frozenset({"classify"})

    @property
    def needs(self) -> Needs:
        return Needs.of(target=("images",))

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        return model


class FirstIsBest:
    """A selector that likes the first epoch best."""

    rule = "target_validation"

    def __init__(self) -> None:
        self.scores = [1.0, 0.5, 0.25]

    def score(self, model: Model) -> float:
        return self.scores.pop(0)


@pytest.mark.parametrize("stopped", [False, True])
def test_history_is_that_of_the_epoch_that_is_kept(tmp_path: Path, stopped: bool) -> None:
    schedule = Schedule(epochs=3, optimizer="adam", lr=0.1, shape="constant")
    selector = FirstIsBest()
    kept = make_line()
    if stopped:
        asked = run(tmp_path, checkpoint_seconds=0, selector=selector, shared=StopsAfter(4))
        with pytest.raises(Interrupted):
            fit(OnFixedRows(make_line()), asked, schedule)
    asked = run(tmp_path, checkpoint_seconds=0, selector=selector)
    fit(OnFixedRows(kept), asked, schedule)
    once = run()
    short = make_line()
    fit(OnFixedRows(short), once, schedule.model_copy(update={"epochs": 1}))
    found, expected = asked.shared.optimizer_history, once.shared.optimizer_history
    assert found is not None and expected is not None and found.optimizer == expected.optimizer == "Adam"
    assert found.flat().keys() == expected.flat().keys()
    for key, value in expected.flat().items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(found.flat()[key]))
    assert torch.equal(short.head.weight, kept.head.weight)
