from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from medgraft.data.task import Task
from medgraft.engine.loop import fit
from medgraft.engine.method import adapt_verbosely
from medgraft.engine.randomness import generator
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.methods import FineTune
from medgraft.testing import make_cohort, make_model

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
    assert adapted.optimizer_history is not None
    assert set(adapted.optimizer_history.state) == {name for name, _ in adapted.model.named_parameters()}
